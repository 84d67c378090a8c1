"""The operator's way to a browser: its tools, called through the kernel's gate, with the page as it was left.

Every action is a system call, so that a run resumes and replays. Knows no browser, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from llmos.agents.operator import preferring
from llmos.agents.operator.page import Page, Part, origin_of, read_page
from llmos.errors import BadArguments, RunError
from llmos.kernel.calls import Provenance, Result
from llmos.kernel.process import Process

YOURS = "your request"
TOOLS = (
    "browser_back", "browser_click", "browser_close", "browser_commit", "browser_fill", "browser_fill_form",
    "browser_find", "browser_goto", "browser_look", "browser_open", "browser_press", "browser_scroll",
    "browser_select", "browser_tab",
)  # fmt: skip
_SAME = 3
"""So many times the same action on the same state of a page, and the run stops."""

Action = Literal["click", "fill", "select", "press"]
Wants = Literal["change", "value", "chosen", "unchosen", "nothing"]


class Stuck(RunError):
    """The operator can't go on: it went in circles, or its steps are used up."""


@dataclass(frozen=True, slots=True)
class Move:
    """An action that could be taken.

    Attributes:
        part: On what; None for the page as a whole.
        text: What is typed, pressed or chosen.
        options: What is chosen, where that is more than one thing.
        weight: How well it fits, a natural logarithm against the others.
        origin: Where the text came from, if that is known.
        wants: What must hold afterwards for it to count.
    """

    action: Action
    part: Part | None = None
    text: str = ""
    options: tuple[str, ...] = ()
    weight: float = 0.0
    origin: Provenance | None = None
    wants: Wants = "change"

    @property
    def title(self) -> str:
        """It in words, for the model and for people."""
        on = f" {self.part.called}" if self.part is not None else ""
        said = ", ".join(self.options) or self.text
        match self.action:
            case "fill":
                return f"type “{said}” into{on}"
            case "select":
                return f"choose “{said}” in{on}"
            case "press":
                return f"press {said}" + (f" in{on}" if on else "")
            case _:
                return f"click{on}"


@dataclass(frozen=True, slots=True)
class Done:
    """What an action came to.

    Attributes:
        reason: In a word, why it was not done; empty if it was.
        text: What the tool said.
        commit: With the reason `commit`: what is to be proposed instead.
    """

    page: Page
    changes: tuple[str, ...] = ()
    reason: str = ""
    text: str = ""
    commit: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def ok(self) -> bool:
        """Whether it was done."""
        return not self.reason


@dataclass(slots=True)
class Hands:
    """One run's tools.

    Attributes:
        page: As it was left.
        steps: How many actions were taken, and how many may be.
        done: What was done, in words.
        choices: What was chosen, by the list or group that it was chosen for (see `preferring`).
    """

    process: Process
    page: Page = field(default_factory=Page)
    steps: int = 0
    most: int = 40
    done: list[str] = field(default_factory=list[str])
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    _seen: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    async def open(self, url: str, **options: Any) -> Done:  # noqa: ANN401  # what browser_open takes besides
        """Open a browser at an address.

        Raises:
            Denied: See `Branch.act`, as of all these methods.
        """
        given = {name: value for name, value in options.items() if value}
        return await self._call("browser_open", {"url": url, **given}, f"open {url}")

    async def look(self) -> Done:
        """See the page anew."""
        return await self._call("browser_look", {}, "")

    async def goto(self, url: str) -> Done:
        """Go to an address."""
        return await self._call("browser_goto", {"url": url}, f"go to {url}")

    async def back(self) -> Done:
        """Go back."""
        return await self._call("browser_back", {}, "go back")

    async def scroll(self, to: str) -> Done:
        """Scroll: `down`, `up`, `top`, `bottom`, or to a part."""
        return await self._call("browser_scroll", {"to": to}, f"scroll {to}")

    async def tab(self, number: int) -> Done:
        """Turn to another tab."""
        return await self._call("browser_tab", {"number": number}, f"turn to tab {number}")

    async def do(self, move: Move, *, commit: bool = True) -> Done:
        """Take an action; what can't be taken back is proposed as such.

        Args:
            commit: Whether that may be proposed for this one.
        """
        part = move.part
        arguments: dict[str, Any] = {} if part is None else {"origin": part.origin, "ref": part.ref}
        known = {} if move.origin is None else {"text": move.origin}
        match move.action:
            case "fill":
                arguments["text"] = move.text
            case "select":
                arguments["options"] = list(move.options) or [move.text]
                known = {} if move.origin is None else {"options": move.origin}
            case "press":
                arguments = {"origin": self._origin(part), "keys": move.text, "ref": part.ref if part else ""}
                known = {}
            case "click":
                known = {}
        before = self.page
        done = await self._call(f"browser_{move.action}", arguments, move.title, known)
        if done.reason == "commit" and commit:
            return await self._commit(move, done)
        if done.ok and part is not None and move.action in ("select", "click"):
            options = (move.options or (move.text,)) if move.action == "select" else ()
            if (made := preferring.choice(part, options, before, self.page)) is not None:
                others = self.choices.get(made.name, ()) if made.several else ()
                self.choices[made.name] = tuple(dict.fromkeys((*others, made.value)))
        return done

    async def _commit(self, move: Move, refused: Done) -> Done:
        """Propose what can't be taken back: a person agrees to exactly this, or it is not done."""
        arguments = dict(refused.commit)
        if not arguments and move.part is not None:
            part = move.part
            values = self._values(part)
            arguments = {
                "origin": part.origin, "action": move.action, "ref": part.ref, "values": values, "total": "",
            }  # fmt: skip
        return await self._call("browser_commit", arguments, f"{move.title}, which can't be taken back")

    def _values(self, part: Part) -> dict[str, str]:
        """What stands in the fields of a part's form."""
        fields: Sequence[str] = self.page.forms.get(part.form, {}).get("fields", ()) if part.form else ()
        return {ref: self.page.parts[ref].value for ref in fields if ref in self.page.parts}

    def _origin(self, part: Part | None) -> str:
        return part.origin if part is not None else origin_of(self.page.url)

    async def _call(
        self, tool: str, arguments: Mapping[str, Any], title: str, known: Mapping[str, Provenance] | None = None
    ) -> Done:
        """Call a tool, and keep the page that it leaves.

        Raises:
            Stuck: It was done three times on the same state of the page, or no step is left.
        """
        if title:
            self._count(title)
        try:
            result = await self.process.act(tool, arguments, provenance=known)
        except BadArguments as error:
            return Done(self.page, (), "unfit", error.message)
        page = read_page(result.value)
        if page is not None:
            self.page = page
        if title and not (result.failed or result.retry):
            self.done.append(title)
        changes = page.changes if page is not None else ()
        return Done(self.page, changes, _reason(result), result.text, _commit_of(result.value))

    def _count(self, title: str) -> None:
        self.steps += 1
        if self.steps > self.most:
            raise Stuck(f"The steps are used up: {self.most} were taken.", hint="Allow more with --max-steps.")
        key = (title, self.page.state)
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._seen[key] >= _SAME:
            raise Stuck(
                f"The same was done {_SAME} times and nothing came of it: {title}.",
                hint="Say more exactly what is meant, or do this step by hand (--headed).",
            )


def _reason(result: Result) -> str:
    if not (result.failed or result.retry):
        return ""
    value: Any = result.value
    named = str(value.get("reason", "")) if isinstance(value, Mapping) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return named or ("commit" if "browser_commit" in result.text else "failed")


def _commit_of(value: Any) -> Mapping[str, Any]:  # noqa: ANN401  # JSON data of a tool
    """What a tool says is to be proposed in place of a click that can't be taken back."""
    asked: Any = value.get("commit") if isinstance(value, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return asked if isinstance(asked, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]


def spanned(text: str, start: int, end: int) -> Provenance:
    """Where a value stands in the user's words."""
    return Provenance("span", "user", YOURS, start, end)
