"""Reads HTML: the main text of a page as Markdown, by trafilatura; pages it can't take, plainly.

Knows no network. What a page hides or says to machines stays text like any other.
"""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from llmos.errors import StorageError
from llmos.memory.reading.content import Content, decoded
from llmos.memory.reading.document import Document
from llmos.memory.reading.markdown import read_markdown

_DECLARED = re.compile(rb"<(?:meta|\?xml)[^>]{1,200}?(?:charset|encoding)\s*=\s*[\"']?([\w:.-]{2,40})", re.IGNORECASE)
_DEEPEST = 200  # libxml2 refuses 256, and what walks a tree by recursion fails before that
_SHARE = 0.2  # less of a page's words than that is not its main text
_FEW = 2_000


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


_VOID = _tags("area base br col embed hr img input link meta param source track wbr")
_UNSEEN = _tags("script style noscript template svg iframe object")
_BLOCKS = _tags(
    "address article aside blockquote br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header"
    " hr li main nav ol p pre section summary table td th tr ul"
)


def read_html(content: Content, *, declared: str = "", url: str = "") -> Document:
    """The main text of an HTML page.

    Args:
        declared: The encoding that a server names.
        url: Where it is from.

    Raises:
        StorageError: It is no text, or has none.
    """
    found = _DECLARED.search(content.data, 0, 4096)
    source = decoded(content, declared=declared or (found[1].decode("ascii", "replace") if found else ""))
    plain = _Plain()
    plain.feed(source)
    plain.close()
    title, everything = plain.title(), plain.text()
    main = "" if plain.deepest > _DEEPEST else _main_text(source, url)
    if len(main) < min(_FEW, len(everything)) and len(main) < len(everything) * _SHARE:
        main = everything
    if not main.strip():
        raise StorageError(f"{content.name!r} has no text.", hint="Its text may be made by scripts: save it as PDF.")
    document = read_markdown(main, content.name, form="html", verbatim=False)
    return replace(document, title=title or document.title)


def text_of(source: str) -> str:
    """All text of a piece of HTML, such as the body of a message."""
    plain = _Plain()
    plain.feed(source)
    plain.close()
    return plain.text()


def _main_text(source: str, url: str) -> str:
    from trafilatura import extract

    text: str | None = extract(
        source,
        url=url or None,
        output_format="markdown",
        favor_recall=True,
        include_comments=False,
        include_tables=True,
        include_formatting=True,
        deduplicate=False,
    )
    return (text or "").strip()


class _Plain(HTMLParser):
    """All text that would be shown, block by block, and how deep the page is nested."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.deepest = 0
        self._depth = 0
        self._unseen: list[str] = []
        self._parts: list[str] = []
        self._title: list[str] = []
        self._in_title = False

    def title(self) -> str:
        """As the page says."""
        return " ".join("".join(self._title).split())[:200]

    def text(self) -> str:
        """What was read so far."""
        lines = (" ".join(line.split()) for line in "".join(self._parts).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self._depth += 1
            self.deepest = max(self.deepest, self._depth)
        self._in_title = tag == "title" and not self._title
        if tag in _UNSEEN:
            self._unseen.append(tag)
        elif tag in _BLOCKS:
            self._parts.append(" | " if tag in ("td", "th") else "\n" if tag in ("br", "tr", "li") else "\n\n")

    def handle_endtag(self, tag: str) -> None:
        self._depth = max(0, self._depth - 1)
        self._in_title = False
        if tag in self._unseen:
            del self._unseen[self._unseen.index(tag) :]
        elif tag in _BLOCKS and tag not in ("td", "th", "tr", "li"):
            self._parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self._title.append(data)
        elif not self._unseen:
            self._parts.append(data)
