"""Markdown on a terminal while it is still being written.

Blocks that are finished are printed once and scroll away like any other output; only the block that is being written is
painted again and again, in one write per picture. So there is no flicker, the scrollback stays whole, and a terminal
that changes its size loses nothing. Knows no engine: it gets text.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import ClassVar, TextIO

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.syntax import Syntax
from rich.theme import Theme

from llmos.shell.text import ANSI, harmless

_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # terminals that know synchronized output show the picture at once
_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_MIN_WIDTH = 8
_THEME = Theme(
    {
        "markdown.code": "cyan",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.h4": "bold",
        "markdown.h5": "italic",
        "markdown.h6": "italic",
        "markdown.hr": "dim",
        "markdown.item.bullet": "cyan",
        "markdown.item.number": "cyan",
        "markdown.block_quote": "italic",
        "markdown.link": "default",
        "markdown.link_url": "dim underline",
    }
)


def _parser() -> MarkdownIt:
    """CommonMark and tables, without the rules that make parts of an answer disappear from a terminal."""
    parser = MarkdownIt("commonmark", {"html": False})
    return parser.enable(["strikethrough", "table"]).disable(["reference", "image", "html_block", "html_inline"])


_PARSER = _parser()


class _LeftHeading(Heading):
    LEVEL_ALIGN: ClassVar = {f"h{level}": "left" for level in range(1, 7)}


class _Code(CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme=self.theme, word_wrap=True, padding=(0, 0, 0, 2))


class ChatMarkdown(Markdown):
    """Markdown as chat models write it: a line break is a line break, and nothing is left out."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _LeftHeading,
        "fence": _Code,
        "code_block": _Code,
    }

    def __init__(self, markup: str) -> None:
        super().__init__(markup, code_theme="ansi_dark", hyperlinks=False)
        self.parsed = [_with_line_breaks(token) for token in _PARSER.parse(markup)]


def _with_line_breaks(token: Token) -> Token:
    for child in token.children or ():
        if child.type == "softbreak":
            child.type = "hardbreak"
    return token


class Renderer:
    """Makes lines of styled text out of Markdown.

    Args:
        out: Where they will be written: decides about colours, as do `NO_COLOR` and `TERM`.
    """

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out, force_terminal=True, legacy_windows=False, theme=_THEME, highlight=False)

    def lines(self, markup: str, width: int) -> list[str]:
        """The lines of a Markdown text, one blank line between its blocks.

        Block by block, so that a text looks the same whether it comes whole or in pieces.
        """
        lines: list[str] = []
        starts = [0, *_block_starts(markup), len(markup)]
        for start, end in pairwise(starts):
            block = self._block(markup[start:end], width) if markup[start:end].strip() else []
            lines += [""] * bool(lines and block) + block
        return lines

    def _block(self, markup: str, width: int) -> list[str]:
        with self._console.capture() as captured:
            self._console.print(ChatMarkdown(markup), width=max(width, _MIN_WIDTH))
        lines = [line.rstrip(" ") if _visible(line).strip() else "" for line in captured.get().split("\n")]
        while lines and not lines[-1]:
            lines.pop()
        while lines and not lines[0]:
            lines.pop(0)
        return lines


def _visible(line: str) -> str:
    return ANSI.sub("", line)


def terminal_size() -> tuple[int, int]:
    """Columns and rows."""
    size = shutil.get_terminal_size()
    return size.columns, size.lines


class MarkdownStream:
    """Shows one answer as it grows.

    Args:
        out: The terminal.
        size: Tells its columns and rows, asked for every picture.
    """

    def __init__(self, out: TextIO, *, size: Callable[[], tuple[int, int]] = terminal_size) -> None:
        self._out = out
        self._size = size
        self._renderer = Renderer(out)
        self._pending = ""
        self._gone: list[str] = []  # lines of the pending block that are printed for good, the screen being too low
        self._live: list[str] = []
        self._columns = 0

    def feed(self, text: str) -> None:
        """Add text; it is shown with the next `paint`."""
        self._pending += harmless(text)

    def paint(self, status: str = "") -> None:
        """Show what there is, and below it a status that goes away again."""
        before, (self._columns, rows) = self._columns, self._size()
        done: list[str] = []
        boundary = _last_block(self._pending)
        if boundary:
            done = [*self._rest(self._pending[:boundary]), ""]
            self._pending, self._gone = self._pending[boundary:], []
        live = self._rest(self._pending)
        below = [*([""] if live else []), status] if status else []
        room = max(rows - 1 - _rows(below, self._columns), 1)
        while len(live) > 1 and _rows(live, self._columns) > room:
            self._gone.append(live[0])
            done.append(live.pop(0))
        self._write(done, live + below, before)

    def finish(self) -> None:
        """Show all of it for good and go to the next line."""
        before, (self._columns, _) = self._columns, self._size()
        self._write(self._rest(self._pending), [], before)
        self._pending, self._gone, self._live = "", [], []
        self._out.write(_SHOW)
        self._out.flush()

    def _rest(self, markup: str) -> list[str]:
        """The lines of the pending block that are not printed for good."""
        lines = self._renderer.lines(markup, self._columns - 1) if markup.strip() else []
        place = _resume_at(lines, self._gone)
        self._gone = lines[:place]
        return lines[place:]

    def _write(self, done: list[str], live: list[str], columns: int) -> None:
        """Replace the lines on the screen that may still change by `done`, which stay, and `live`.

        Args:
            columns: The width at which the lines on the screen were written.
        """
        before, after = self._live, done + live
        self._live, same = live, 0
        while same < len(before) and same < len(after) and before[same] == after[same]:
            same += 1
        if same == len(before) == len(after) and live:
            return
        picture = _BEGIN + _HIDE
        if same < len(before):
            same = max(min(same, len(after) - 1), 0)
            # Some terminals wrap old lines to a new width and some don't: too far up would erase what is to stay.
            up = min(_rows(before[same:], columns), _rows(before[same:], self._columns)) - 1
            picture += "\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J"
        elif before and same < len(after):
            picture += "\r\n"
        picture += "\r\n".join(after[same:])
        if after and not live:
            picture += "\r\n"
        self._out.write(picture + _END)
        self._out.flush()


def _rows(lines: list[str], columns: int) -> int:
    """Screen rows that lines take at a width that may have changed since they were written."""
    return sum(max(1, math.ceil(cell_len(_visible(line)) / max(columns, 1))) for line in lines)


def _resume_at(lines: list[str], gone: list[str]) -> int:
    """Which line of a block comes after those that are printed for good.

    Its lines may have changed since: at another width, or by the end of a `**` or a wider cell of a table. Its letters
    have not, so they are counted; a few words may then be shown twice, but none is lost.
    """
    if lines[: len(gone)] == gone:
        return len(gone)
    left = sum(map(_letters, gone))
    for place, line in enumerate(lines):
        left -= _letters(line)
        if left < 0:
            return place
        if left == 0:
            return place + 1
    return len(lines)


def _letters(line: str) -> int:
    return sum(character.isalnum() for character in _visible(line))


def _last_block(text: str) -> int:
    """Where the last block of a Markdown text begins: all before it is finished.

    Only whole lines count: the beginning of a line does not tell yet what it will be.
    """
    return max(_block_starts(text[: text.rfind("\n") + 1]), default=0)


def _block_starts(text: str) -> list[int]:
    """Where the blocks of a Markdown text begin."""
    offsets = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]
    tokens = _PARSER.parse(text)
    return [offsets[token.map[0]] for token in tokens if token.level == 0 and token.map and token.nesting >= 0]
