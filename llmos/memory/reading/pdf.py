"""Reads PDF files page by page, with pypdf. Knows no pictures: a scanned page has no text here."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmos.errors import StorageError
from llmos.memory.reading.content import Content
from llmos.memory.reading.document import Document
from llmos.memory.reading.outline import Outline
from llmos.memory.reading.plain import paragraphs

if TYPE_CHECKING:
    from pypdf import PdfReader

_LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st", "\ufb06": "st"}
    | {"\xa0": " ", "\xad": "-", "\0": "\ufffd"}
)
_DIVIDED = re.compile(r"(?<=[^\W\d_])-[ \t]*\n[ \t]*(?=[^\W\d_])")
_NAMED = 5


def read_pdf(content: Content, *, progress: Callable[[int, int], None] | None = None) -> Document:
    """The text of a PDF file. Words that are divided at the end of a line are put together.

    Args:
        progress: Told after each page how many are read, of how many.

    Raises:
        StorageError: It is broken, needs a password, or has no text.
    """
    reader = _opened(content)
    parts: list[str] = []
    outline, size, bad = Outline(), 0, list[int]()
    count = _count(reader, content)
    for number in range(1, count + 1):
        text = _page(reader, number)
        if text is None:
            bad.append(number)
        elif text:
            outline.page(number)
            for start, stop in paragraphs(text):
                outline.block(size + start, size + stop)
            parts.append(text + "\n\n")
            size += len(parts[-1])
        if progress:
            progress(number, count)
    if not parts:
        hint = "It may be scanned: make its text with a program for recognition, such as ocrmypdf."
        raise StorageError(f"{content.name!r} has {count:,} pages and no text.", hint=hint)
    return Document(
        title=_title(reader) or content.name,
        text="".join(parts),
        sections=outline.sections(),
        form="pdf",
        verbatim=False,
        notes=(_noted(bad),) if bad else (),
    )


def _opened(content: Content) -> PdfReader:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    try:
        reader = PdfReader(io.BytesIO(content.data))
        # many are encrypted with an empty password, which only restricts what may be done with them
        if not reader.is_encrypted or reader.decrypt(""):
            return reader
    except (FileNotDecryptedError, DependencyError):
        pass
    except Exception as error:  # a broken file raises anything: pypdf has no common base for what it meets
        raise StorageError(f"{content.name!r} is a broken PDF file: {_said(error)}.") from error
    raise StorageError(
        f"{content.name!r} is encrypted and needs a password.",
        hint="Save it without one, for instance with `qpdf --decrypt`.",
    )


def _count(reader: PdfReader, content: Content) -> int:
    try:
        return len(reader.pages)
    except Exception as error:  # a broken file raises anything here too
        raise StorageError(f"{content.name!r} is a broken PDF file: {_said(error)}.") from error


def _page(reader: PdfReader, number: int) -> str | None:
    """The text of a page; None if it can't be read."""
    try:
        text = reader.pages[number - 1].extract_text()
    except Exception:  # one broken page is no reason to lose the others; it is reported in the notes
        return None
    text = text.translate(_LIGATURES).replace("\r\n", "\n").replace("\r", "\n")
    return _DIVIDED.sub("", text.encode("utf-8", "replace").decode()).strip()


def _title(reader: PdfReader) -> str:
    try:
        title = reader.metadata.title if reader.metadata else None
    except Exception:  # a title is not worth an error, and pypdf raises anything for a broken one
        return ""
    return " ".join(title.split())[:200] if isinstance(title, str) else ""


def _noted(bad: list[int]) -> str:
    named = ", ".join(str(number) for number in bad[:_NAMED]) + (", …" if len(bad) > _NAMED else "")
    return f"{len(bad):,} broken page{'' if len(bad) == 1 else 's'} left out: {named}"


def _said(error: Exception) -> str:
    return str(error).strip().rstrip(".")[:200] or type(error).__name__
