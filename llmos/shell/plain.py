"""The chat without a terminal: one message per line from a pipe or a file, answers on stdout, until the input ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator

from llmos.config import Settings
from llmos.errors import LlmosError
from llmos.shell import banner, waiting
from llmos.shell.screen import PlainScreen
from llmos.shell.shell import Shell, is_open


def run_plain(settings: Settings, *, first: str = "", lines: Iterable[bytes] | None = None) -> int:
    """Answer line by line.

    Args:
        first: A command to begin with, such as `/resume 1`.
        lines: By default those of stdin.

    Returns:
        Exit code: 0 at the end of the input or after `/exit`, 130 after an interrupt.
    """
    screen = PlainScreen()
    shell = Shell(settings, screen)
    with asyncio.Runner() as runner:
        try:
            screen.warn(banner.headline(banner.chosen(settings.model), None))
            if shell.session.tools:
                screen.warn(banner.mode(shell.session))
            if waiting.prepares(settings):
                screen.warn(waiting.PREPARES)
            if first:
                runner.run(shell.handle(first))
            for message in messages(sys.stdin.buffer if lines is None else lines, screen):
                runner.run(shell.handle(message))
                if shell.done:
                    break
        except KeyboardInterrupt:
            return 130
        finally:
            runner.run(shell.session.close())
    return 0


def messages(lines: Iterable[bytes], screen: PlainScreen) -> Iterator[str]:
    """The messages that lines make: one each, but a block between ``` lines belongs to one message."""
    gathered = ""
    for number, line in enumerate(lines, 1):
        try:
            gathered += line.decode("utf-8")
        except UnicodeDecodeError:
            screen.fail(LlmosError(f"Line {number} is not UTF-8 text and was left out."))
            continue
        if not is_open(gathered):
            yield gathered
            gathered = ""
    if gathered:
        yield gathered
