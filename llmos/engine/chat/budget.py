"""How much work one rendering of a template may do.

Jinja has no time limit, so work is counted instead of seconds: a template gets the same verdict on a slow machine. One
unit is about 100 ns: a step of the template, or eight characters of text. Whatever a template does is paid for before
or while it is done, so that the limit bounds time and memory together. Knows no Jinja.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, cast

BASE = 2_000_000
"""Units that every rendering may use: a second at most."""
PER_ITEM = 5_000
"""Units added for each message and each tool."""
PER_CHARACTER = 2
"""Units added for each character of the conversation."""

_CHARACTERS = 8
_PER_CHILD = 4
_MAX_BITS = 1024
_EMPTY: dict[object, object] = {}
_VIEWS = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))
_CONTAINERS = cast("tuple[type, ...]", (list, tuple, dict, *_VIEWS))  # quicker to tell than abstract classes


class Exceeded(Exception):
    """A template did something that no honest template does; the text says what."""


class Refused(Exception):
    """The template can't or won't render these messages; the text is its reason."""


class Budget:
    """Counts the work of one rendering.

    Args:
        limit: Units; going over it raises `Exceeded`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit
        self._weights: dict[int, tuple[object, int]] = {}  # the object is kept, so that its id stays its own

    def charge(self, units: int) -> None:
        """Pay for work."""
        self.left -= units
        if self.left < 0:
            raise Exceeded(f"needs more than {self.limit:,} steps")

    def text(self, characters: int) -> None:
        """Pay for handling that many characters."""
        self.charge(1 + characters // _CHARACTERS)

    def weigh(self, value: object) -> None:
        """Pay for a walk over a whole value: comparing, hashing or printing it."""
        self.charge(self.weight(value))

    def weight(self, value: object) -> int:
        """The units a walk over a value costs; finding out is paid for once per list or mapping.

        Raises:
            Exceeded: The value is too big, which happens when lists hold the same list again and again.
        """
        simple = self._simple(value)
        if simple is not None:
            return simple
        stack = [value]
        while stack:
            node = stack[-1]
            waiting = [child for child in _children(node) if self._simple(child) is None]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if id(node) not in self._weights:
                self._settle(node)
        return self._weights[id(value)][1]

    def _simple(self, value: object) -> int | None:
        """The weight where it is known already."""
        if isinstance(value, str):
            return 1 + len(value) // _CHARACTERS
        if isinstance(value, _CONTAINERS):
            known = self._weights.get(id(value))
            return None if known is None else known[1]
        return 1 + len(value) if isinstance(value, range) else 1

    def _settle(self, node: object) -> None:
        children = _children(node)
        self.charge(1 + _PER_CHILD * len(children))
        weight = 1 + sum(self._simple(child) or 0 for child in children)
        if weight > self.limit:
            raise Exceeded(f"builds a value of more than {self.limit:,} parts")
        self._weights[id(node)] = (node, weight)

    def metered(self, items: Iterator[Any]) -> Iterator[Any]:
        """The same items, each paid for when it is taken."""
        for item in items:
            self.charge(2)
            yield item

    @staticmethod
    def number(bits: int) -> None:
        """Refuse whole numbers of more than 1,024 bits."""
        if bits > _MAX_BITS:
            raise Exceeded(f"computes a number of more than {_MAX_BITS:,} bits")


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return [*cast("dict[object, object]", node), *cast("dict[object, object]", node).values()]
    return list(cast("Iterable[object]", node)) if isinstance(node, _CONTAINERS) else []


_current: ContextVar[Budget] = ContextVar("budget")


def current() -> Budget:
    """The budget of the rendering that runs now.

    Raises:
        Exceeded: None runs: the template wants work done before it is asked for any.
    """
    try:
        return _current.get()
    except LookupError:
        raise Exceeded("wants to compute while it is compiled") from None


class Spending:
    """Makes a budget the current one inside a `with` block."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def __enter__(self) -> Budget:
        self._token = _current.set(self._budget)
        return self._budget

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
