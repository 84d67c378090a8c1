"""Pictures of a window, with secrets covered and an element marked. Knows no session."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmos.errors import BrowserError, StorageError
from llmos.tools.browser import failures
from llmos.tools.browser.elements import Box

if TYPE_CHECKING:
    from playwright.async_api import ElementHandle, Page

_COVER = "#222222"
_MARK = "#e5484d"
_MARK_WIDTH = 3
_QUALITY = 80


async def take(
    page: Page, path: Path, *, marked: Sequence[Box], hidden: Sequence[ElementHandle], seconds: float
) -> None:
    """Take a picture of what the window shows.

    Args:
        page: Of which.
        path: Ends with `.png`, `.jpg` or `.jpeg`.
        marked: Boxes that get a frame, in CSS pixels of the window.
        hidden: Elements that are covered; password fields are in any case.
        seconds: How long it may take.

    Raises:
        BrowserError: `timeout`, `crashed`, `closed`: the page can't be pictured.
        StorageError: The file can't be written.
    """
    from playwright.async_api import Error

    try:
        boxes = [box for element in hidden if (box := await element.bounding_box())]
        masks = [frame.locator("input[type=password]") for frame in page.frames]
        raw = await page.screenshot(
            timeout=seconds * 1000, mask=masks, mask_color=_COVER, animations="disabled", caret="hide", scale="css"
        )
    except Error as error:
        if "Timeout" in error.message:
            raise BrowserError("No picture could be taken in time.", reason="timeout") from error
        raise failures.of_action(error.message, "The page") from error
    covered = [(box["x"], box["y"], box["width"], box["height"]) for box in boxes]
    try:
        await asyncio.to_thread(_draw, raw, path, covered, marked)
    except OSError as error:
        raise StorageError(f"The picture {str(path)!r} can't be written: {error.strerror or error}.") from error


def _draw(raw: bytes, path: Path, covered: Sequence[Box], marked: Sequence[Box]) -> None:
    is_png = path.suffix.lower() == ".png"
    if is_png and not covered and not marked:
        path.write_bytes(raw)
        return
    from PIL import Image, ImageDraw

    with Image.open(io.BytesIO(raw)) as opened:
        picture = opened.convert("RGB")
    pen = ImageDraw.Draw(picture)
    for left, top, width, height in covered:
        pen.rectangle((left, top, left + width, top + height), fill=_COVER)
    for left, top, width, height in marked:
        edges = (left - _MARK_WIDTH, top - _MARK_WIDTH, left + width + _MARK_WIDTH, top + height + _MARK_WIDTH)
        pen.rectangle(edges, outline=_MARK, width=_MARK_WIDTH)
    if is_png:
        picture.save(path, "PNG")
    else:
        picture.save(path, "JPEG", quality=_QUALITY)
