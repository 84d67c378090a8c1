"""One question on a terminal, answered with one line. Knows the prompt library, and no kernel."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.output import create_output


async def put(text: str, prompt: str, *, source: Input | None = None, out: TextIO | None = None) -> str | None:
    """Show a text and read an answer; None for Ctrl-C or the end of the input.

    What was typed before the question is no answer to it: it is kept for later.

    Args:
        source: Where keys come from, by default stdin.
        out: Where it is shown, by default stderr.
    """
    source, out = source or create_input(), out or sys.stderr
    before = get_typeahead(source)
    _throw_away(source)
    print(text, file=out, flush=True)
    session: PromptSession[str] = PromptSession(input=source, output=create_output(stdout=out))
    try:
        return await session.prompt_async(prompt, handle_sigint=False)
    except (KeyboardInterrupt, EOFError):
        return None
    finally:
        store_typeahead(source, before)


def _throw_away(source: Input) -> None:
    """Drop keys that the terminal holds."""
    if os.name == "posix":
        import termios

        with suppress(termios.error, OSError, ValueError):
            termios.tcflush(source.fileno(), termios.TCIFLUSH)
