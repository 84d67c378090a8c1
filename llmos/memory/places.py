"""Where something remembered is from, as it is written for people: `notes/lease.pdf p. 2`, `README.md:12-20 § Setup`.

Knows no store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from llmos.memory.items import Item

HEADING = " § "
"""Stands between a place and the heading that it is under."""


def named(source: str, *, folder: Path | None = None) -> str:
    """A source as people name it: a file in a folder by its path there, one at home with `~`; others as they are.

    Args:
        folder: By default the current one.
    """
    if not source.startswith("/"):
        return source
    path = Path(source)
    for base, prefix in _bases(folder):
        if path.is_relative_to(base) and path != base:
            return prefix + path.relative_to(base).as_posix()
    return source


def _bases(folder: Path | None) -> Iterator[tuple[Path, str]]:
    with suppress(OSError):  # the current folder was removed
        yield folder or Path.cwd(), ""
    with suppress(RuntimeError):  # nobody's home is known
        yield Path.home(), "~/"


def place_of(item: Item, *, heading: bool = False) -> str:
    """Source with page, or lines; of what has none, who said it and when.

    Args:
        heading: With the heading that it is under.
    """
    if not item.source or item.kind in ("fact", "preference"):
        who = {"user": "you", "files": "your files", "outside": "outside"}[item.label]
        return f"{who}, {day_of(item.created)}"
    span, place = item.span, named(item.source)
    if span.page is not None:
        place += f" p. {span.page}"
    elif span.line is not None:
        place += f":{span.line}"
        place += f"-{span.last_line}" if span.last_line is not None and span.last_line > span.line else ""
    elif item.kind == "episode" and item.created is not None:
        place += f", {day_of(item.created)}"
    return place + (HEADING + span.heading if heading and span.heading else "")


def day_of(moment: float | None) -> str:
    """A day as it is written: `2026-11-21`; empty where it is not known."""
    return time.strftime("%Y-%m-%d", time.localtime(moment)) if moment is not None else ""
