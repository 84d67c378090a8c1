"""Reads one file: finds out what it is and calls the reader for it.

Knows no folders and no store.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from llmos.errors import StorageError
from llmos.memory.reading import chat, code, mail, office
from llmos.memory.reading.content import MAX_BYTES, Content, decoded, load
from llmos.memory.reading.document import Document
from llmos.memory.reading.html import read_html
from llmos.memory.reading.markdown import read_markdown
from llmos.memory.reading.pdf import read_pdf
from llmos.memory.reading.plain import read_lines, read_text


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


MARKDOWN = _suffixes("md markdown mdx mkd qmd rmd")
HTML = _suffixes("html htm xhtml")
LINES = _suffixes(
    "csv tsv log json jsonl ndjson yaml yml toml ini cfg conf env properties xml sql css scss less srt vtt lock"
    " patch diff"
)
CODE_BY_LINES = _suffixes(
    "kt kts swift scala lua pl pm r jl hs ml mli clj ex exs erl dart m mm zig nim vue svelte ps1 bat fish zsh cmake"
    " gradle tf proto graphql vim el lisp scm f90 pas asm s v vhd sol ipynb"
)
UNREADABLE = _suffixes(
    "png jpg jpeg gif bmp tiff webp ico heic svg svgz mp3 wav flac ogg m4a mp4 mkv avi mov webm zip gz bz2 xz zst 7z"
    " rar tar jar whl exe dll so dylib a o obj pyc class wasm bin db sqlite sqlite3 gguf safetensors onnx pt pth npy"
    " npz parquet pkl ttf otf woff woff2 iso dmg deb rpm doc xls ppt odt ods odp epub rtf msg pages numbers key"
)
"""Suffixes of files that no reader here takes, whatever they begin with: also pictures that are written as text."""

TEXT = MARKDOWN | LINES | CODE_BY_LINES | frozenset(code.SUFFIXES) | {".txt", ".text", ".rst", ".adoc", ".org", ".tex"}
"""Suffixes of files that are text, whatever they begin with."""

_HTML = re.compile(rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_BY_KIND = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/pdf": ".pdf",
    "text/markdown": ".md",
    "application/json": ".json",
    "message/rfc822": ".eml",
    "image/svg+xml": ".svg",
}
_OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def read(
    path: Path,
    *,
    max_bytes: int = MAX_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> Document:
    """Read a file: text, Markdown, HTML, PDF, Word, Excel, PowerPoint, source code, mail, or a conversation.

    What it is follows from its suffix, and from its first bytes where that says nothing.

    Args:
        max_bytes: Larger files are refused.
        progress: Told how many pages of a long document are read, of how many.

    Raises:
        StorageError: It is not there, may not be read, is too large, encrypted, broken, binary, or without text; the
            message says which.
    """
    if path.exists():
        _check_kind(path.name, path.suffix.lower())
    content = load(path, max_bytes=max_bytes)
    return read_content(content, progress=progress)


def _check_kind(name: str, suffix: str) -> None:
    if suffix in UNREADABLE:
        raise StorageError(
            f"{name!r} is a {suffix} file, which can't be read.",
            hint="Text, Markdown, HTML, PDF, .docx, .xlsx, .pptx, source code, .eml and .mbox can.",
        )


def is_simple(path: Path) -> bool:
    """Whether a file is read by code that is not known to hang, crash or swell, and soon, judged by its suffix."""
    return path.suffix.lower() in TEXT or path.suffix.lower() == ".eml"


def read_content(
    content: Content,
    *,
    kind: str = "",
    declared: str = "",
    url: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Document:
    """Read what a file or a server gave.

    Args:
        content: Its name's suffix says what it is, if `kind` does not.
        kind: Media type that a server names.
        declared: Encoding that a server names.
        url: Where it is from.
        progress: As in `read`.

    Raises:
        StorageError: As in `read`.
    """
    suffix = _BY_KIND.get(kind) or Path(content.name).suffix.lower()
    _check_kind(content.name, suffix)
    if suffix in TEXT:
        document = _read_text(decoded(content, declared=declared), content.name, suffix)
    elif suffix == ".pdf" or content.data.startswith(b"%PDF-"):
        document = read_pdf(content, progress=progress)
    elif suffix in office.SUFFIXES or content.data.startswith(b"PK\x03\x04"):
        document = office.read_office(content)
    elif content.data.startswith(_OLD_OFFICE):
        raise StorageError(f"{content.name!r} is in an old format of Office.", hint="Save it as .docx, .xlsx or .pptx.")
    elif suffix == ".eml":
        document = mail.read_eml(content)
    elif suffix in (".mbox", ".mbx"):
        document = mail.read_mbox(content)
    elif suffix in HTML or _HTML.match(content.data[:2048]):
        document = read_html(content, declared=declared, url=url)
    else:
        document = _read_text(decoded(content, declared=declared), content.name, suffix)
    return replace(document, digest=content.digest)


def _read_text(text: str, name: str, suffix: str) -> Document:
    """A file that is text: what kind of text follows from its suffix, else from its beginning."""
    if suffix in MARKDOWN:
        return read_markdown(text, name)
    language = code.SUFFIXES.get(suffix) or _interpreter(text)
    if language:
        return code.read_code(text, name, language)
    if suffix in (".json", ".jsonl", ".ndjson"):
        return chat.read_json_chat(text, name) or read_lines(text, name)
    if suffix in CODE_BY_LINES:
        return replace(read_lines(text, name), form="code")
    if suffix in LINES:
        return read_lines(text, name)
    return chat.read_line_chat(text, name) or read_text(text, name)


def _interpreter(text: str) -> str:
    """The language that the first line of a script names."""
    words = text[2:200].split("\n", 1)[0].split() if text.startswith("#!") else []
    names = [word.rpartition("/")[2].rstrip("0123456789.") for word in words if not word.startswith("-")]
    return code.INTERPRETERS.get(next((name for name in names if name != "env"), ""), "")
