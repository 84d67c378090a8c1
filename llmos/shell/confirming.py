"""Asks a person at the terminal whether something is to be done. Knows nothing of what it is."""

from __future__ import annotations

import sys
from collections.abc import Callable

from llmos.errors import RunError


def confirmed(question: str, *, whether: str, hint: str, declined: str, say: Callable[[str], None] = print) -> bool:
    """Whether a person says yes.

    Args:
        question: What is asked.
        whether: What nobody is there to ask, without a terminal.
        hint: How it is done without asking.
        declined: What is said after a no.
        say: Where that is said.

    Raises:
        RunError: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise RunError(f"Nobody is there to ask whether {whether}.", hint=hint)
    try:
        said = input(f"{question} [y/N] ")
    except (EOFError, KeyboardInterrupt):
        said = ""
    if said.strip().casefold() in ("y", "yes"):
        return True
    say(declined)
    return False
