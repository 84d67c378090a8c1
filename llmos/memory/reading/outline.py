"""Collects the blocks of a text into sections by the headings and pages they stand under."""

from __future__ import annotations

from llmos.memory.reading.document import Block, Section, Shape

_LONGEST = 120


class Outline:
    """Sections in the making. Headings, pages and blocks are told in the order of the text."""

    def __init__(self) -> None:
        self._sections: list[Section] = []
        self._blocks: list[Block] = []
        self._path: list[tuple[int, str]] = []
        self._page: int | None = None

    def heading(self, level: int, title: str, start: int, stop: int) -> None:
        """A heading. Those without anything between them stay together.

        Args:
            level: Lower is further out.
            title: Without its marks.
            start, stop: Where it stands in the text.
        """
        if any(block.shape != "heading" for block in self._blocks):
            self._close()
        title = " ".join(title.split())
        if len(title) > _LONGEST:
            title = title[: _LONGEST - 1] + "…"
        self._path = [(other, name) for other, name in self._path if other < level] + [(level, title)]
        self._blocks.append(Block(start, stop, "heading"))

    def page(self, number: int) -> None:
        """A page begins."""
        self._close()
        self._page = number

    def block(self, start: int, stop: int, shape: Shape = "prose") -> None:
        """A part of the text."""
        self._blocks.append(Block(start, stop, shape))

    def sections(self) -> tuple[Section, ...]:
        """All of them."""
        self._close()
        return tuple(self._sections)

    def _close(self) -> None:
        if self._blocks:
            heading = " > ".join(name for _, name in self._path if name)
            self._sections.append(Section(blocks=tuple(self._blocks), heading=heading, page=self._page))
            self._blocks = []
