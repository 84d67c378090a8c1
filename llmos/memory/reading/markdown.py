"""Reads Markdown: sections by heading; paragraphs, list items, rows and code as blocks.

Knows no bytes and no rendering: the text stays as it is written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmos.memory.reading.document import Document, Form, Shape
from llmos.memory.reading.outline import Outline

if TYPE_CHECKING:
    from markdown_it.token import Token

# YAML or TOML between lines of three signs, at the very beginning
_FRONT = re.compile(r"(---|\+\+\+)[ \t]*\n(?:.*\n){0,200}?\1[ \t]*(?:\n|$)")
_TITLE = re.compile(r"^title[ \t]*[:=][ \t]*(\"?)(.{1,200}?)\1[ \t]*$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\[\]]{0,200})\](?:\([^()\s]{0,500}\)|\[[^\[\]]{0,100}\])")
_MARK = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)|\s*\{#[\w-]+\}$")
_ESCAPED = re.compile(r"\\([_*<>\[\]()~.+!-])")
_SLIDE = re.compile(r"<!-- Slide number: (\d{1,6}) -->")
_SHAPES: dict[str, Shape] = {
    "paragraph_open": "prose",
    "tr_open": "lines",
    "fence": "lines",
    "code_block": "lines",
    "html_block": "prose",
}


def read_markdown(text: str, name: str, *, form: Form = "markdown", verbatim: bool = True) -> Document:
    """Markdown as CommonMark has it, and tables.

    Args:
        form, verbatim: Of the document, where the Markdown was made from something else: then what it escapes is
            written plainly, and a comment with a slide's number, as markitdown writes it, begins a page.
    """
    from markdown_it import MarkdownIt

    text = text if verbatim else _ESCAPED.sub(r"\1", text)
    parser = MarkdownIt("commonmark").enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    front = _FRONT.match(text)
    outline, begin, title = Outline(), front.end() if front else 0, ""
    if front:
        outline.block(0, begin, "lines")
        title = _front_title(front[0])
    starts = [begin, *(begin + found.end() for found in re.finditer("\n", text[begin:])), len(text)]
    tokens = parser.parse(text[begin:])
    for place, token in enumerate(tokens):
        if token.map is None:
            continue
        start, stop = starts[token.map[0]], starts[min(token.map[1], len(starts) - 1)]
        slide = _SLIDE.search(text, start, stop) if token.type == "html_block" and not verbatim else None
        if slide:
            outline.page(int(slide[1]))
        if token.type == "heading_open" and token.level == 0:
            words = _plain(tokens[place + 1].content)
            title = title or (words if token.tag == "h1" else "")
            outline.heading(int(token.tag[1]), words, start, stop)
        elif token.type in _SHAPES or token.type == "heading_open":
            if token.type == "tr_open" and _is_head(tokens, place):
                stop = starts[min(token.map[1] + 1, len(starts) - 1)]
            outline.block(start, stop, _SHAPES.get(token.type, "prose"))
    return Document(title=title or name, text=text, sections=outline.sections(), form=form, verbatim=verbatim)


def _front_title(front: str) -> str:
    found = _TITLE.search(front)
    return found[2].strip().strip("'") if found else ""


def _is_head(tokens: list[Token], place: int) -> bool:
    """Whether a row is the head of a table: the line below it divides it from the others."""
    return place > 0 and tokens[place - 1].type == "thead_open"


def _plain(heading: str) -> str:
    """The words of a heading, without links and emphasis."""
    return _ESCAPED.sub(r"\1", _MARK.sub("", _LINK.sub(r"\1", heading))).strip()
