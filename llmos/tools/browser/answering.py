"""What browser tools give back: the page in a box that it can't get out of, as text and as data; evidence of each step.

Knows no tool and no rule.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from llmos.errors import BrowserError
from llmos.kernel.protocols import Access
from llmos.tools.browser.checking import Committing
from llmos.tools.browser.elements import Observation, Outcome
from llmos.tools.browser.held import Held
from llmos.tools.browser.observation import difference, write
from llmos.tools.browser.plain import as_data
from llmos.tools.output import Output, visible

_BOX = re.compile(r"<(/?\s*page)", re.IGNORECASE)
_ANEW = frozenset({"browser_open", "browser_goto", "browser_back", "browser_tab"})
"""Their results show the whole page."""


async def acted(here: Held, name: str, title: str, act: Callable[[], Awaitable[Outcome]]) -> Output:
    """Carry out an action, keep what it did as evidence, and say it."""
    began = time.monotonic()
    here.busy += 1
    try:
        outcome = await act()
    except Committing as refused:
        return _committing(refused)
    except BrowserError as error:
        await _keep(here, name, title, None, error.message, began)
        return failed(here, error)
    finally:
        here.busy -= 1
        here.used = time.monotonic()
    await _keep(here, name, title, outcome, "", began)
    return _changed(here, name, outcome)


async def _keep(here: Held, name: str, title: str, outcome: Outcome | None, problem: str, began: float) -> None:
    seconds = time.monotonic() - began
    await here.keep(tool=name, title=title, outcome=outcome, problem=problem, seconds=seconds)


def _committing(refused: Committing) -> Output:
    terms = refused.terms
    text = (
        f"{terms['ref']} was left alone: it can't be taken back ({refused.found.kind}: {refused.found.why})."
        " Propose it with browser_commit."
    )
    return Output(boxed("", text), {"reason": "commit", "commit": terms, "kind": refused.found.kind}, failed=True)


def failed(here: Held, error: BrowserError) -> Output:
    """Why an action was not carried out."""
    value: dict[str, Any] = {"reason": error.reason}
    return Output(boxed("", str(error)), value, failed=True)


def whole(here: Held, page: Observation) -> Output:
    """A page as it is."""
    return output(here, page, write(page), {"page": _data(here, page)})


def _changed(here: Held, name: str, outcome: Outcome) -> Output:
    """What an action did; a page of another origin as a whole, so that nothing of the one before stands there."""
    before, after = outcome.before, outcome.after
    moved = here.origin(before) != here.origin(after)
    if moved or name in _ANEW:
        text, changes = write(after), [f"opened {after.url}"]
    else:
        text, changes = difference(before, after), list(outcome.changes)
    return output(here, after, text, {"page": _data(here, after), "changes": changes})


def output(here: Held, page: Observation, text: str, value: Mapping[str, Any]) -> Output:
    """Something that a page shows, without the secrets that were typed there; as data together with the page's URL."""
    origin = here.only_origin(page)
    return Output(
        here.mask.text(boxed(page.url, text)), here.mask.data({"url": page.url, **value}) or None, origin=origin
    )


def _data(here: Held, page: Observation) -> dict[str, Any]:
    return as_data(page, origin=lambda element: here.origin_of(element, page))


def boxed(url: str, text: str) -> str:
    """What a page says, marked as such; it can't write the end of the box itself."""
    inside = _BOX.sub(lambda found: f"\u2039{found[1]}", visible(text))
    address = re.sub(r"[\"<>\s]", "", visible(url))[:300]
    return f'<page url="{address}">\n{inside}\n</page>'


def called(here: Held, ref: str) -> str:
    """An element for people."""
    page = here.session.seen
    element = page.elements.get(ref) if page is not None else None
    if element is None:
        return ref
    name = " ".join((element.name or element.label).split())[:80]
    return f"{element.role} \u201c{name}\u201d" if name else f"{element.role} {ref}"


def written(text: str, access: Access) -> str:
    """What is typed, for the evidence: secrets by their handles."""
    said = access.put_in.get(text, text)
    return said if len(said) <= 200 else f"{said[:199]}…"
