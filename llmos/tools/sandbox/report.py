"""What `llmos doctor` says about the sandbox. Looks by trying; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from llmos.tools.sandbox import bubblewrap, landlock
from llmos.tools.sandbox.core import GET, STRONGEST_FIRST, Mechanism, why_not


@dataclass(frozen=True, slots=True)
class Found:
    """One mechanism.

    Attributes:
        name: Which.
        works: A program ran in it.
        detail: What was found, or why it does not work.
        fix: How to get it; empty if it works.
    """

    name: Mechanism
    works: bool
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All mechanisms, the strongest first.

    Attributes:
        best: The one that is used; empty if code is refused.
    """

    mechanisms: tuple[Found, ...]
    best: Mechanism | None


def probe() -> Report:
    """Try each mechanism (some 50 ms each, once for each process)."""
    found = tuple(_look(name) for name in STRONGEST_FIRST)
    return Report(found, next((one.name for one in found if one.works), None))


def _look(name: Mechanism) -> Found:
    reason = why_not(name)
    if reason:
        return Found(name, False, reason, GET[name])
    version = landlock.version()
    details = {
        "bubblewrap": f"{bubblewrap.find()}, seccomp" + (f", Landlock {version}" if version else ", no Landlock"),
        "landlock": f"Landlock {version}, seccomp",
        "seatbelt": "sandbox-exec (untested)",
        "none": "limits only",
    }
    return Found(name, True, details[name])
