"""The way in: a short cut to the chat, everything else to the command line, and what becomes of errors.

Imports only what it goes to, so that the prompt is there at once.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from llmos.errors import LlmosError

if TYPE_CHECKING:
    from llmos.config import Settings


_NATIVE = {"llmos-loading", "llmos-engine", "llmos-portal"}


def main() -> int:
    """The whole program: the command line, and an end that waits for no thread in native code.

    Returns:
        Exit code, as of `command_line`.
    """
    code = command_line()
    if any(thread.name in _NATIVE for thread in threading.enumerate()):
        # still in native code, such as reading a model from a slow disk: that would hold up or crash Python's own end
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    return code


def command_line() -> int:
    """Run the command line.

    Returns:
        Exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # None where a host replaced the stream
        if reconfigure is not None:
            reconfigure(errors="replace")
    try:
        code = _run(sys.argv[1:])
        sys.stdout.flush()
        return code
    except LlmosError as error:
        from llmos.shell.text import complaint, traced

        print(traced(error) + complaint(error.message, error.hint), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has left, as `head` does. Python would complain about it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        from llmos import __version__

        print(f"llmos {__version__}")
        return 0
    if not arguments:
        from llmos.config import load_settings

        return start_chat(load_settings())
    from llmos.shell.cli import run_app

    return run_app(arguments)


def has_terminal() -> bool:
    """Whether a person sits in front of it, on a terminal that can be painted on."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def start_chat(settings: Settings, *, first: str = "") -> int:
    """Chat until the user leaves or the input ends: on a terminal, or line by line.

    Args:
        first: A command to begin with, such as `/resume 1`.

    Returns:
        The exit code.
    """
    if has_terminal():
        from llmos.shell.repl import run_repl

        return run_repl(settings, first=first)
    from llmos.shell.plain import run_plain

    return run_plain(settings, first=first)
