"""What Playwright says went wrong, as errors of llmos."""

from __future__ import annotations

import re

from llmos.errors import BrowserError

_COVER = re.compile(r"(<[^>\n]{1,200}>)[^\n]{0,200}intercepts pointer events")
_NET = re.compile(r"net::(ERR_[A-Z_]+)")
_CRASHED = ("Target crashed", "Page crashed", "page crashed")
_CLOSED = ("has been closed", "Browser closed", "Connection closed", "browser has disconnected", "Target closed")
_GONE = (
    "not attached to the DOM",
    "Element is not attached",
    "Execution context was destroyed",
    "Frame was detached",
    "Cannot find context",
    "JSHandles can be evaluated only in the context",
    "Protocol error (DOM.describeNode)",
    "Unable to adopt element handle",
    "Frame has been detached",
    "frame was detached",
)
LOOK = "Look at the page again and take a reference from there."


def is_crash(message: str) -> bool:
    """It says that the page's process died, not that something on the page failed."""
    return any(text in message for text in _CRASHED)


def is_closed(message: str) -> bool:
    """It says that the page or the browser is gone."""
    return any(text in message for text in _CLOSED)


def is_gone(message: str) -> bool:
    """It says that the element, or the document it was in, is gone."""
    return any(text in message for text in _GONE)


def was_done(message: str) -> bool:
    """It says that the mouse was pressed, or the key, and what came after it took too long."""
    _, performed, after = message.rpartition("performing ")
    return bool(performed) and "retrying" not in after and "intercepts pointer events" not in after


def stale(what: str) -> BrowserError:
    """An element is not on the page any more."""
    return BrowserError(f"{what} is not on the page any more.", reason="stale", hint=LOOK)


def covered(what: str, by: str) -> BrowserError:
    """Something lies over an element, or it has only parts that do something else."""
    return BrowserError(
        f"{what} can't be clicked: {by} lies over it.",
        reason="covered",
        hint="Close what lies over it, or act on that instead.",
    )


def disabled(what: str) -> BrowserError:
    """An element is there, and can't be used now."""
    return BrowserError(
        f"{what} is disabled.",
        reason="disabled",
        hint="Something else on the page has to be filled in first.",
    )


def hidden(what: str) -> BrowserError:
    """An element is there, and not to be seen."""
    return BrowserError(
        f"{what} can't be seen now.", reason="hidden", hint="Open what it is in, or scroll to it, then look again."
    )


def of_action(message: str, what: str) -> BrowserError:
    """Why an action on an element failed.

    Args:
        message: Playwright's, with its log.
        what: The element, as in `e12 (button 'Send')`.
    """
    if is_crash(message):
        return crashed("The page")
    if is_closed(message):
        return BrowserError(f"The tab was closed while {what} was acted on.", reason="closed", hint=LOOK)
    if is_gone(message):
        return stale(what)
    if cover := _last(_COVER, message):
        return covered(what, cover)
    if "element is not enabled" in message or "element is inert" in message:
        return disabled(what)
    if "not visible" in message or "outside of the viewport" in message or "not editable" in message:
        return disabled(what) if "not editable" in message else hidden(what)
    if "Element is not an <input>" in message or "does not have a role allowing" in message:
        return unfit(f"{what} can't be filled in.", hint="Take a field, or click it.")
    if "Timeout" in message:
        return BrowserError(f"{what} did not come to rest in time.", reason="timeout", hint="Look again, then retry.")
    return unfit(f"{what} did not take the action: {first_line(message)}")


def of_navigation(message: str, url: str) -> BrowserError:
    """Why an address did not open.

    Args:
        message: Playwright's.
        url: Where it was to go.
    """
    if is_crash(message):
        return crashed("The page")
    found = _NET.search(message)
    code = found[1] if found else ""
    if code in ("ERR_BLOCKED_BY_CLIENT", "ERR_BLOCKED_BY_RESPONSE", "ERR_BLOCKED_BY_ADMINISTRATOR"):
        return BrowserError(f"{url!r} is blocked ({code}).", reason="blocked")
    if code == "ERR_INVALID_AUTH_CREDENTIALS":
        return BrowserError(
            f"{url!r} asks for a name and a password (HTTP authentication), and was given none that it takes.",
            reason="unreachable",
            hint="Open the session with a login for this origin.",
        )
    if "Timeout" in message:
        return BrowserError(
            f"{url!r} has not answered in time; the browser goes on loading it.",
            reason="timeout",
            hint="Look again in a moment.",
        )
    if is_closed(message):
        return BrowserError(f"The tab was closed while {url!r} was loading.", reason="closed", hint=LOOK)
    return BrowserError(
        f"{url!r} did not open: {code or first_line(message)}.",
        reason="unreachable",
        hint="Check the address, or go back.",
    )


def unfit(message: str, *, hint: str = "") -> BrowserError:
    """Such an element can't do that."""
    return BrowserError(message, reason="unfit", hint=hint)


def crashed(what: str) -> BrowserError:
    """The page's or the browser's process died."""
    return BrowserError(
        f"{what} crashed. It comes back at its last address; what was typed there is lost.",
        reason="crashed",
        hint=LOOK,
    )


def first_line(message: str) -> str:
    """The first line of a message, without Playwright's name of the call."""
    line = message.strip().partition("\n")[0]
    return re.sub(r"^[A-Za-z]+\.[a-z_A-Z]+: ", "", line)[:200] or "no reason was given"


def _last(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.findall(text)
    return str(found[-1]) if found else ""
