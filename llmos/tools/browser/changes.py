"""What is different between two observations of a tab, in a few sentences. Pure code; `observation.difference` has all.

Also says nothing where nothing changed, which is how an action that did nothing is noticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from llmos.errors import BrowserError
from llmos.tools.browser.elements import Element, Node, Observation, Outcome

_MOST = 8
_SHOWN = 80
_OPPOSITES = {
    "checked": "not checked",
    "selected": "not selected",
    "pressed": "not pressed",
    "disabled": "enabled",
    "invalid": "valid",
    "required": "not required",
    "readonly": "editable",
    "filled": "empty",
    "expanded": "collapsed",
    "collapsed": "expanded",
}
_TAKE_TEXT = frozenset({"textbox", "searchbox", "combobox", "spinbutton"})
_SILENT = frozenset({"focused"})


def changes(before: Observation, after: Observation, *, clicked: Collection[str] = ()) -> tuple[str, ...]:
    """What is different, most telling first; empty where nothing is.

    Args:
        before, after: The page.
        clicked: References of what was clicked. That it has the focus now is no change, unless it takes text.
    """
    if before.url != after.url and _document(before.url) != _document(after.url):
        return (f"opened {after.url}", *_renamed(before, after))
    found = list(_renamed(before, after))
    if before.url != after.url:
        found.insert(0, f"the address is now {after.url}")
    if before.tab != after.tab:
        found.insert(0, f"tab {after.tab} is the current one now")
    found += _limited(_altered(before, after))
    found += _came_and_went(before, after)
    found += _texts(before, after)
    if before.above != after.above:
        found.append(f"scrolled {'down' if after.above > before.above else 'up'}")
    return tuple(found) or tuple(_focus(before, after, clicked))


def check_values(outcome: Outcome, values: Mapping[str, str]) -> Outcome:
    """Fields hold something else now than before, or held what they should.

    Args:
        outcome: Of filling them in.
        values: What they were filled in with, by reference.

    Returns:
        The outcome.

    Raises:
        BrowserError: `unchanged`: one does not.
    """
    for ref, text in values.items():
        was, now = outcome.before.elements.get(ref), outcome.after.elements.get(ref)
        if was is None or now is None or now.tag not in ("input", "textarea") or now.role in ("checkbox", "radio"):
            continue
        if now.value == was.value != text and "filled" not in now.states and now.kind not in ("password", "file"):
            raise BrowserError(
                f"{ref} still says {now.value[:80]!r}: the page did not take {text[:80]!r}.",
                reason="unchanged",
                hint="Look what kind of value it wants.",
            )
    return outcome


def named(element: Element) -> str:
    """An element for a sentence: `e4 (button 'Send')`."""
    name = element.name or element.label
    said = f" {name[:_SHOWN]!r}" if name else ""
    return f"{element.ref} ({element.role}{said})"


def _document(url: str) -> str:
    return url.partition("#")[0]


def _renamed(before: Observation, after: Observation) -> Iterator[str]:
    if before.title != after.title and after.title:
        yield f"the title is now {after.title[:_SHOWN]!r}"


def _altered(before: Observation, after: Observation) -> Iterator[str]:
    for ref, now in after.elements.items():
        was = before.elements.get(ref)
        if was is None:
            continue
        if was.value != now.value:
            yield f"{ref} is now {now.value[:_SHOWN]!r}" if now.value else f"{ref} is now empty"
        for state in sorted(now.states - was.states - _SILENT):
            yield f"{ref} is now {state}"
        for state in sorted(was.states - now.states - _SILENT):
            if _OPPOSITES.get(state) in now.states:
                continue
            yield f"{ref} is now {_OPPOSITES.get(state, f'not {state}')}"
        if was.name != now.name:
            yield f"{ref} is now named {now.name[:_SHOWN]!r}"


def _came_and_went(before: Observation, after: Observation) -> Iterator[str]:
    new = [element for ref, element in after.elements.items() if ref not in before.elements]
    gone = [element for ref, element in before.elements.items() if ref not in after.elements]
    if new:
        yield f"new: {_listed(new)}"
    if gone:
        yield f"gone: {_listed(gone)}"


def _texts(before: Observation, after: Observation) -> Iterator[str]:
    was, now = Counter(_said(before.root)), Counter(_said(after.root))
    if came := list((now - was).elements()):
        yield f"it says now: {_joined(came)}"
    if went := list((was - now).elements()):
        yield f"it does not say any more: {_joined(went)}"


def _focus(before: Observation, after: Observation, clicked: Collection[str]) -> Iterator[str]:
    for ref, now in after.elements.items():
        was = before.elements.get(ref)
        if ref in clicked and now.role not in _TAKE_TEXT:
            continue
        if was is not None and "focused" in now.states and "focused" not in was.states:
            yield f"{ref} has the focus now"


def _said(nodes: tuple[Node, ...]) -> Iterator[str]:
    """Texts that belong to no element: those have their names and values."""
    for node in nodes:
        if node.text and not node.ref:
            yield node.text
        yield from _said(node.children)


def _limited(sentences: Iterator[str]) -> list[str]:
    found = list(sentences)
    if len(found) <= _MOST:
        return found
    return [*found[:_MOST], f"{len(found) - _MOST} more elements are different"]


def _listed(elements: list[Element]) -> str:
    more = f" and {len(elements) - _MOST} more" if len(elements) > _MOST else ""
    return ", ".join(map(named, elements[:_MOST])) + more


def _joined(texts: list[str]) -> str:
    more = f" … and {len(texts) - _MOST} more" if len(texts) > _MOST else ""
    return " · ".join(repr(text[:_SHOWN]) for text in texts[:_MOST]) + more
