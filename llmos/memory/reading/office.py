"""Reads Word and PowerPoint files as Markdown made by markitdown, and Excel files row by row with openpyxl.

Slides are pages, sheets are headings. Knows no old formats (.doc, .xls, .ppt) and no pictures.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from llmos.errors import StorageError
from llmos.memory.reading.content import Content
from llmos.memory.reading.document import Document
from llmos.memory.reading.markdown import read_markdown
from llmos.memory.reading.outline import Outline

MAX_UNPACKED = 256 * 1024 * 1024
"""Bytes that such a file, which is a zip archive, may have when it is unpacked."""

MAX_PARTS = 20_000

SUFFIXES = (".docx", ".xlsx", ".pptx")

_PICTURE = re.compile(r"!\[([^\[\]\n]{0,1000})\]\([^()\n]{0,2000}\)")


def read_office(content: Content) -> Document:
    """The text of a .docx, .xlsx or .pptx file.

    Raises:
        StorageError: It is broken, encrypted, would be unreasonably large when unpacked, or is another archive.
    """
    suffix = _checked(content)
    try:
        if suffix == ".xlsx":
            return _workbook(content)
        text, title = _markdown(content, suffix)
    except Exception as error:  # a broken file raises anything: five libraries take part
        said = str(error).strip().split("\n", 1)[0].rstrip(".")[:200] or type(error).__name__
        raise StorageError(f"{content.name!r} can't be read as a {suffix} file: {said}.") from error
    document = read_markdown(_clean(_PICTURE.sub(r"\1", text)), content.name, form="office", verbatim=False)
    return replace(document, title=title or document.title)


def _markdown(content: Content, suffix: str) -> tuple[str, str]:
    """Text and title of a .docx or .pptx file."""
    from markitdown import DocumentConverter, StreamInfo
    from markitdown.converters import DocxConverter, PptxConverter

    kind: Callable[[], DocumentConverter] = DocxConverter if suffix == ".docx" else PptxConverter
    converter = kind()
    result = converter.convert(io.BytesIO(content.data), StreamInfo(extension=suffix))
    return result.markdown, result.title or ""


def _workbook(content: Content) -> Document:
    """Rows as lines. markitdown would put "NaN" into empty cells and "Unnamed: 1" above them."""
    from openpyxl import load_workbook  # type: ignore[import-untyped]  # it has no types

    outline, lines, size = Outline(), list[str](), 0
    book = load_workbook(io.BytesIO(content.data), read_only=True, data_only=True)
    try:
        for sheet in book.worksheets:
            rows = (_row(cells) for cells in sheet.iter_rows(values_only=True))
            for number, line in enumerate([f"## {sheet.title}", *filter(None, rows)]):
                lines.append(_clean(line).replace("\n", " "))
                if number == 0:
                    outline.heading(2, sheet.title, size, size + len(lines[-1]))
                else:
                    outline.block(size, size + len(lines[-1]), "lines")
                size += len(lines[-1]) + 1
    finally:
        book.close()
    return Document(
        title=content.name, text="\n".join(lines), sections=outline.sections(), form="office", verbatim=False
    )


def _row(cells: Sequence[object]) -> str:
    """The cells of a row up to the last that is not empty; empty if there is none."""
    shown = ["" if cell is None else " ".join(str(cell).split()) for cell in cells]
    while shown and not shown[-1]:
        shown.pop()
    return " | ".join(shown)


def _clean(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _checked(content: Content) -> str:
    """What kind of file it is, after a look at the archive's table of contents.

    The sizes there bind: Python's zipfile reads no more of a part than its entry says.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content.data)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeError) as error:
        hint = "It may be encrypted: save it without a password." if content.data[:4] == b"\xd0\xcf\x11\xe0" else ""
        raise StorageError(f"{content.name!r} is broken: {error}.", hint=hint) from error
    names = {part.filename for part in parts}
    size = sum(part.file_size for part in parts)
    if size > MAX_UNPACKED or len(parts) > MAX_PARTS:
        raise StorageError(
            f"{content.name!r} would have {size:,} bytes in {len(parts):,} parts when it is unpacked, and at most"
            f" {MAX_UNPACKED:,} in {MAX_PARTS:,} are.",
        )
    kinds = {"word/document.xml": ".docx", "xl/workbook.xml": ".xlsx", "ppt/presentation.xml": ".pptx"}
    for name, suffix in kinds.items():
        if name in names:
            return suffix
    suffix = Path(content.name).suffix.lower()
    raise StorageError(f"{content.name!r} is an archive and holds no document{' of Office' if suffix else ''}.")
