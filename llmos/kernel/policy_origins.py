"""Origins: where on the web a run may click and type, and what may be typed there.

A run may act on the origins that it has opened by calls that passed the policy, since their addresses were the user's
to name. What a page of an origin shows may be typed into that same origin, where it is known already, but for what says
where data goes: addresses, accounts, links. Knows no tool and no page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from llmos.kernel.calls import ProposedCall, Provenance, Situation
from llmos.kernel.policy_records import Sight
from llmos.kernel.policy_values import Url, hidden, leaves, url
from llmos.kernel.provenance import Evidence

ORIGIN = "origin"
"""The argument that names the origin a call is confined to."""

REF = "ref"
"""The argument that names a thing on the page, by a handle that the tool has given out."""

KEYS = "keys"
"""The argument with keys that are pressed, by their names."""

MAX_LEARNED = 2_000

_KEY = (
    r"(?:(?:Control|Shift|Alt|Meta|ControlOrMeta)\+){0,3}"
    r"(?:Enter|Tab|Escape|Space|Backspace|Delete|Home|End|PageUp|PageDown|Arrow(?:Up|Down|Left|Right)|F\d{1,2})"
    r"|(?:Control|Meta|ControlOrMeta)\+(?:Shift\+)?[ACVXYZacvxyz]"
)
_PRESSED = re.compile(rf"(?:{_KEY})(?: (?:{_KEY})){{0,9}}")
_COVERED = "\u2022\u2022\u2022"
_HANDLE = re.compile(r"[a-z]{0,2}\d{0,3}e\d{1,5}")
_DATE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}")
_SECRET = re.compile(r"secret://[A-Za-z0-9_-]{1,64}")
# says where something goes: an address, a link, a host, an account, a card, a telephone, somebody's name on a service
_DESTINATION = re.compile(
    r"@|://|\bwww\.|\b[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}\b|\b[A-Z]{2}\d{2}[ \d]*[A-Z0-9]{4}|(?:\d[ ()/.+-]{0,3}){8,}"
    r"|0x[0-9a-f]{16,}|[A-Za-z0-9_-]{24,}",
    re.IGNORECASE,
)


def is_confined(call: ProposedCall) -> bool:
    """Whether a call stays on the origin that its argument names."""
    return call.traits.confined == "origin" and isinstance(call.arguments.get(ORIGIN), str)


def is_on_a_page(call: ProposedCall) -> bool:
    """Whether a call acts on a page of the origin that its argument names."""
    return is_confined(call) or (call.traits.confirmed and isinstance(call.arguments.get(ORIGIN), str))


def opened(call: ProposedCall, situation: Situation) -> Evidence | None:
    """The authority for a call's origin: that the run has opened it; None if it has not."""
    named = _origin(str(call.arguments.get(ORIGIN, "")))
    if named is None or not str(call.arguments[ORIGIN]).startswith(("http://", "https://")):
        return None
    for seen in situation.seen:
        for address in seen.opened:
            if (known := _origin(address)) is not None and _reaches(known, named):
                return Evidence(Provenance("computed", "user", f"{seen.tool} {address}"), (), True)
    return None


def _origin(address: str) -> Url | None:
    """Scheme and host of an address; without a scheme it is https. None where it could be read in two ways."""
    found = url(address)
    return None if found is None else Url(found.scheme or "https", found.host, "/", "")


def _reaches(known: Url, named: Url) -> bool:
    """Whether opening one origin opens another: itself, by TLS in place of plain HTTP, with or without `www.`."""
    if known == named:
        return True
    if named.scheme != "https" or ":" in known.host or ":" in named.host:
        return False
    return known.host.removeprefix("www.") == named.host.removeprefix("www.")


def is_handle(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a value is nothing but a handle of something on the page: it carries no text."""
    return isinstance(value, str) and _HANDLE.fullmatch(value) is not None


def are_keys(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a value is nothing but names of keys that type no text."""
    return isinstance(value, str) and _PRESSED.fullmatch(value) is not None


def typed(call: ProposedCall) -> dict[str, Any]:
    """What a call would type on a page: its arguments without handles of things and names of keys."""
    found: dict[str, Any] = {}
    for name, value in call.arguments.items():
        if name == ORIGIN or (name == REF and is_handle(value)) or (name == KEYS and are_keys(value)):
            continue
        if isinstance(value, Mapping) and all(is_handle(key) for key in value):  # pyright: ignore[reportUnknownVariableType]
            found[name] = list(value.values())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        else:
            found[name] = value
    return found


def stays(text: str, call: ProposedCall, sight: Sight) -> Provenance | None:
    """Where a text that is typed goes nowhere new: pages of the same origin show it, or it is a secret's handle.

    None if that is not so, or if it looks like something that decides where data goes.
    """
    if _SECRET.fullmatch(text) or text == _COVERED:
        return Provenance("enum", "user", "a secret, for this host only")
    wanted = " ".join(text.split())
    if not wanted or len(wanted) > MAX_LEARNED or hidden(text) or _decides(wanted):
        return None
    named = _origin(str(call.arguments[ORIGIN]))
    for seen in reversed(sight.situation.seen):
        if seen.origin and _origin(seen.origin) == named and _shows(seen.value, wanted):
            return Provenance("span", seen.label, f"a page of {seen.origin}")
    return None


def _decides(text: str) -> bool:
    """Whether a text looks like what decides where data goes."""
    return _DESTINATION.search(text) is not None and _DATE.fullmatch(text) is None


def _shows(value: Any, wanted: str) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a text stands in what was shown, by itself."""
    found = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
    return any(found.search(" ".join(leaf.split())) for leaf in leaves(value) if isinstance(leaf, str))
