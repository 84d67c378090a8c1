"""What is checked between a call on a page and its effect: where an element is, what it does, what may be typed there.

Looks at the page as it is now. Knows no tool by name.
"""

from __future__ import annotations

from typing import Any

from llmos.errors import BrowserError
from llmos.kernel.protocols import Access
from llmos.tools.browser import controls, failures, origins
from llmos.tools.browser.controls import Commit
from llmos.tools.browser.elements import Element, Observation
from llmos.tools.browser.held import Held
from llmos.tools.browser.origins import Origin

SENT_TO = "sent to"
"""Among the values of a form: where it goes, if that is another origin."""

_TYPED = frozenset({"textbox", "searchbox", "spinbutton", "combobox", "slider"})
_TICKED = frozenset({"checkbox", "radio", "switch"})
_SECRET_KINDS = frozenset({"", "email", "number", "password", "tel", "text", "url"})


class Committing(Exception):
    """A control can't be taken back; what is to be proposed instead."""

    def __init__(self, found: Commit, terms: dict[str, Any]) -> None:
        super().__init__(found.why)
        self.found, self.terms = found, terms


async def target(here: Held, origin: str, ref: str) -> tuple[Observation, Element]:
    """An element as it is now, in a document of the origin that was named.

    Raises:
        BrowserError: `stale`: it is gone; `origin`: it is elsewhere.
    """
    page = await here.session.observe()
    return page, checked(here, page, origin, ref)


def checked(here: Held, page: Observation, origin: str, ref: str) -> Element:
    """As `target`, of a page that was just looked at."""
    element = page.elements.get(ref)
    if element is None:
        raise failures.stale(repr(ref))
    frame = here.session.eyes.frame(ref)
    same(origins.origin_of_frame(frame) if frame is not None else None, origin, f"{ref!r}")
    return element


def same(is_on: Origin | None, named: str, what: str) -> None:
    """The origin that was named, in the one form it has, is the one that it is on.

    Raises:
        BrowserError: `origin`: it is not.
    """
    if is_on is None or str(is_on) != named:
        raise BrowserError(
            f"{what} is on {str(is_on) if is_on else 'no origin'}, and the call was for {named!r}.",
            reason="origin",
            hint="Look at the page, and name the origin that it is on.",
        )


def free(here: Held, page: Observation, element: Element, commit: Commit | None) -> None:
    """A control can be taken back.

    Raises:
        Committing: It can't.
    """
    if commit is not None:
        origin = here.origin_of(element, page)
        raise Committing(commit, {"ref": element.ref, **terms_of(here, page, element, origin)})


def terms_of(here: Held, page: Observation, element: Element, origin: str) -> dict[str, Any]:
    """What hangs on a control: by these an approval is bound to it."""
    values = controls.contents(page, element.ref, known=here.handles)
    goes = origins.origin_or_none(controls.goes_to(page, element.ref))
    if goes is not None and str(goes) != origin:
        values[SENT_TO] = str(goes)
    return {
        "origin": here.origin_of(element, page),
        "action": " ".join((element.name or element.value or element.label).split())[:300],
        "values": {name[:100]: " ".join(value.split())[:500] for name, value in values.items()},
        "total": controls.total(page, element.ref)[:40],
    }


def may_hold(here: Held, page: Observation, element: Element, text: str, access: Access, origin: str) -> bool:
    """Whether a text is a secret, which may be typed here.

    Raises:
        BrowserError: `unfit`: this is no field, or none for a secret.
        Committing: Filling it in agrees to something.
    """
    if element.kind == "file" or not is_field(element):
        raise failures.unfit(f"{element.ref} is no field to type into.", hint="Click it, or upload a file to it.")
    if element.role in _TICKED or element.kind in ("checkbox", "radio"):
        free(here, page, element, controls.clicking(page, element.ref))
    handle = access.put_in.get(text)
    if handle is None:
        here.handles.pop(element.ref, None)
        return False
    _may_hold_secret(here, page, element, handle, access, origin)
    here.mask.add(text, handle)
    here.handles[element.ref] = handle
    return True


def _may_hold_secret(here: Held, page: Observation, element: Element, handle: str, access: Access, origin: str) -> None:
    """A secret goes into one line of a form, over TLS, and to hosts that it is bound to.

    Raises:
        BrowserError: `unfit`: this field is not such.
        Denied: The form sends it to another host.
    """
    at = origins.origin_of(origin)
    if element.tag != "input" or element.kind not in _SECRET_KINDS or element.role == "searchbox":
        raise failures.unfit(f"{element.ref} is no field for a secret.", hint="Take the field for the password.")
    if at.scheme != "https" and at not in here.allow:
        raise failures.unfit(f"{origin} is not encrypted: a secret is not typed there.", hint="Open it with https.")
    goes = origins.origin_or_none(controls.goes_to(page, element.ref)) if element.form else None
    if goes is not None and goes != at:
        if goes.scheme != "https" and goes not in here.allow:
            raise failures.unfit(f"The form sends what is typed to {goes}, which is not encrypted.")
        access.secret(handle, goes.host)


def is_field(element: Element) -> bool:
    """Whether an element takes a value."""
    if element.kind in ("submit", "button", "reset", "image"):
        return False
    return element.role in _TYPED | _TICKED or element.tag in ("input", "textarea", "select")
