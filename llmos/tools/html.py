"""HTML as the text that a person would see: headings, lists, tables, no scripts and nothing hidden.

The scanner is its own, because its time must grow with the length of a page, whoever wrote it: for unclosed tags that
of `html.parser` grows with the square, and so does a browser's for nested ones. Knows neither the web nor tools.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urljoin

MAX_HTML = 1_000_000
MAX_LINKS = 50
MAX_TAG = 10_000
"""Characters of a tag that are looked at."""

_UNSEEN = frozenset({"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "select", "head"})
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "dialog", "div", "dl", "dt"),
        *("fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr"),
        *("legend", "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tr", "ul"),
    }
)
_PLAIN = frozenset({"script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"})
_MARK = re.compile(r"<(?=[A-Za-z/!?])")
_TAG = re.compile(r"""<(/?)([A-Za-z][A-Za-z0-9:-]{0,40})((?>[^<>"']++|"[^"]{0,4000}+"|'[^']{0,4000}+')*+)>""")
_ATTRIBUTE = re.compile(r"""([^\s=/"'<>]+)(?:\s{0,9}=\s{0,9}("[^"]*"|'[^']*'|[^\s"'<>]+))?""")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(?![.\d])", re.I)


@dataclass(frozen=True, slots=True)
class Document:
    """The visible text of a page, its title, and where its links lead (text, URL)."""

    title: str
    text: str
    links: tuple[tuple[str, str], ...]


def read_html(source: str, *, url: str = "") -> Document:
    """The text of an HTML page.

    Args:
        source: HTML, however broken; what is beyond `MAX_HTML` characters is not read.
        url: Where it is from, for links.
    """
    reader = _Reader(url)
    _scan(source[:MAX_HTML], reader)
    return reader.document()


def _scan(source: str, reader: _Reader) -> None:
    """Tell a reader what stands in a page, in one pass."""
    place = 0
    while found := _MARK.search(source, place):
        reader.data(unescape(source[place : found.start()]))
        start = found.start()
        if source.startswith("<!--", start):
            end, mark = source.find("-->", start + 4), 3
        elif source[start + 1] in "!?":
            end, mark = source.find(">", start), 1
        elif tag := _TAG.match(source, start):
            place = _element(source, tag, reader)
            continue
        else:  # quotes that are not closed: the tag ends where it seems to
            end, mark = source.find(">", start, start + MAX_TAG), 1
            if end < 0:
                end, mark = start, 1
                reader.data("<")
        if end < 0:
            return
        place = end + mark
    reader.data(unescape(source[place:]))


def _element(source: str, tag: re.Match[str], reader: _Reader) -> int:
    """Pass one tag on, and the text of an element that has no tags in it; where to go on."""
    name = tag[2].lower()
    if tag[1]:
        reader.end(name)
        return tag.end()
    reader.start(name, _attributes(tag[3]))
    if name not in _PLAIN:
        return tag.end()
    close = re.compile(rf"</{name}\b[^>]{{0,200}}>?", re.I).search(source, tag.end())
    text = source[tag.end() : close.start() if close else len(source)]
    reader.data(unescape(text) if name in ("title", "textarea") else "")
    reader.end(name)
    return close.end() if close else len(source)


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for attribute in _ATTRIBUTE.finditer(text[:MAX_TAG]):
        value = attribute[2] or ""
        value = value[1:-1] if value[:1] in ("'", '"') else value
        found.setdefault(attribute[1].lower(), unescape(value))
    return found


@dataclass(slots=True)
class _Open:
    """An element that is not closed yet."""

    tag: str
    hidden: bool


@dataclass(slots=True)
class _Link:
    url: str
    words: list[str] = field(default_factory=list[str])


class _Reader:
    """Puts the visible text together."""

    def __init__(self, url: str) -> None:
        self._base = url
        self._open: list[_Open] = []
        self._hidden = 0
        self._parts: list[str] = []
        self._title: list[str] = []
        self._in_title = False
        self._pre = 0
        self._link: _Link | None = None
        self._links: dict[str, str] = {}

    def document(self) -> Document:
        """What was read so far."""
        text = "".join(self._parts)
        text = re.sub(r"[ \t]+\n", "\n", re.sub(r"\n[ \t]+(?=\n)", "\n", text))
        text = re.sub(r"\n{3,}", "\n\n", text).strip()
        links = tuple((words, url) for url, words in list(self._links.items())[:MAX_LINKS])
        return Document(" ".join("".join(self._title).split()), text, links)

    def start(self, tag: str, values: dict[str, str]) -> None:
        """An element begins."""
        if tag == "title" and not self._title:
            self._in_title = True
        hidden = (
            tag in _UNSEEN
            or "hidden" in values
            or values.get("aria-hidden") == "true"
            or bool(_HIDDEN.search(values.get("style", "")))
        )
        if tag not in _VOID:
            if tag in ("p", "li", "tr", "td", "th", "option", "dt", "dd"):
                self._close_same(tag)
            self._open.append(_Open(tag, hidden))
            self._hidden += hidden
        if not self._hidden:
            self._begin(tag, values)

    def end(self, tag: str) -> None:
        """An element ends; those inside that were left open end with it."""
        if tag == "title":
            self._in_title = False
        if not any(element.tag == tag for element in self._open[-100:]):
            return
        while self._open:
            element = self._open.pop()
            self._hidden -= element.hidden
            if not self._hidden and not element.hidden:
                self._end(element.tag)
            if element.tag == tag:
                break

    def data(self, data: str) -> None:
        """Text."""
        if self._in_title:
            self._title.append(data)
        if self._hidden or self._in_title:
            return
        if not self._pre:
            data = re.sub(r"\s+", " ", data)
            if not self._parts or self._parts[-1].endswith(("\n", " ")):
                data = data.lstrip()
        if data:
            self._parts.append(data)
            if self._link:
                self._link.words.append(data)

    def _close_same(self, tag: str) -> None:
        """`<li>` after an open `<li>` of the same list ends it."""
        stops = {"li": ("ul", "ol"), "tr": ("table",), "td": ("tr",), "th": ("tr",)}.get(tag, ("div", "body", "td"))
        for element in reversed(self._open[-20:]):
            if element.tag == tag:
                self.end(tag)
                return
            if element.tag in stops:
                return

    def _begin(self, tag: str, values: dict[str, str]) -> None:
        if tag in _BLOCKS:
            self._line(blank=tag in ("p", "table", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "pre"))
        match tag:
            case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
                self._parts.append("#" * int(tag[1]) + " ")
            case "li":
                self._parts.append("- ")
            case "br":
                self._parts.append("\n")
            case "td" | "th":
                if self._parts and not self._parts[-1].endswith("\n"):
                    self._parts.append(" | ")
            case "pre":
                self._pre += 1
            case "a" if values.get("href"):
                self._link = _Link(values["href"])
            case "img" if values.get("alt"):
                self._parts.append(f"[{values['alt']}] ")
            case _:
                pass

    def _end(self, tag: str) -> None:
        if tag == "pre":
            self._pre = max(0, self._pre - 1)
        elif tag == "a" and self._link:
            self._remember(self._link)
            self._link = None
        if tag in _BLOCKS:
            self._line(blank=tag in ("p", "table", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "pre"))

    def _line(self, *, blank: bool) -> None:
        if self._parts and not (self._parts[-1].endswith("\n") and not blank):
            self._parts.append("\n\n" if blank else "\n")

    def _remember(self, link: _Link) -> None:
        words = " ".join("".join(link.words).split())
        try:
            url = urljoin(self._base, link.url.strip()).partition("#")[0]
        except ValueError:
            return
        if words and url.startswith(("http://", "https://")) and len(self._links) < MAX_LINKS:
            self._links.setdefault(url, words[:100])
