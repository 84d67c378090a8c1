"""From the pieces of a streamed answer to text on its channels: thoughts apart, stop strings taken out.

Knows no JSON and no server.
"""

from __future__ import annotations

from typing import Literal

from llmos.events import Channel

_OPEN, _CLOSE = "<think>", "</think>"
Piece = tuple[Channel, str]


class Splitter:
    """Divides text into reasoning and answer, and ends it at a stop string.

    Reasoning is what stands between `<think>` and `</think>` at the beginning. Text that may be the beginning of one of
    these or of a stop string is held back until it is certain.

    Attributes:
        stopped: Whether a stop string came.
    """

    def __init__(self, stop: tuple[str, ...] = (), *, thoughts: bool = True) -> None:
        self._stop = tuple(text for text in stop if text)
        self._state: Literal["start", "opened", "thinking", "closed", "answer"] = "start" if thoughts else "answer"
        self._held = ""
        self.stopped = False

    @property
    def channel(self) -> Channel:
        """Where text goes now."""
        return "reasoning" if self._state in ("opened", "thinking") else "answer"

    def feed(self, text: str) -> list[Piece]:
        """What is certain with this much more."""
        pieces = list[Piece]()
        self._held += text
        while not self.stopped and self._step(pieces):
            pass
        return [piece for piece in pieces if piece[1]]

    def end(self) -> list[Piece]:
        """What was held back, at the end."""
        held, self._held = ("" if self.stopped else self._held), ""
        return [(self.channel, held)] if held else []

    def _step(self, pieces: list[Piece]) -> bool:
        """Take what the state allows; whether the state has changed."""
        if self._state == "start":
            return self._start()
        if self._state == "thinking":
            return self._thinking(pieces)
        if self._state == "answer":
            self._answer(pieces)
            return False
        # White space right after either mark belongs to neither text.
        self._held = self._held.lstrip()
        if self._held:
            self._state = "thinking" if self._state == "opened" else "answer"
        return bool(self._held)

    def _start(self) -> bool:
        begun = self._held.lstrip()
        if begun.startswith(_OPEN):
            self._state, self._held = "opened", begun.removeprefix(_OPEN)
            return True
        if _OPEN.startswith(begun):
            return False
        self._state = "answer"
        return True

    def _thinking(self, pieces: list[Piece]) -> bool:
        thought, closed, rest = self._held.partition(_CLOSE)
        if closed:
            pieces.append(("reasoning", thought.rstrip("\n")))
            self._state, self._held = "closed", rest
            return True
        # Line ends before the closing mark are not part of the thought.
        kept = thought[: len(thought) - _overlap(thought, _CLOSE)].rstrip("\n")
        pieces.append(("reasoning", kept))
        self._held = thought[len(kept) :]
        return False

    def _answer(self, pieces: list[Piece]) -> None:
        text = self._held
        found = [text.find(stop) for stop in self._stop if stop in text]
        if found:
            self.stopped, self._held = True, ""
            pieces.append(("answer", text[: min(found)]))
            return
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        pieces.append(("answer", text[: len(text) - keep]))


def _overlap(text: str, mark: str) -> int:
    """Length of the longest end of `text` that is a beginning of `mark`."""
    return next((size for size in range(min(len(text), len(mark) - 1), 0, -1) if text.endswith(mark[:size])), 0)
