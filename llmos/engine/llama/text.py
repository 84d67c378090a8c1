"""From token bytes to text: whole characters only, and stop strings held back until they are certain.

Knows no model and no requests.
"""

from __future__ import annotations

import codecs


class TextStream:
    """Turns the bytes of tokens into text, piece by piece.

    Bytes of an incomplete character, and text that may be the beginning of a stop string, come out with a later piece.
    Invalid bytes become U+FFFD.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = tuple(text for text in stop if text)
        self._held: str = ""
        self.stopped = False

    def feed(self, piece: bytes) -> str:
        """The text that is certain after one more token; sets `stopped` when a stop string is complete."""
        return self._release(self._decoder.decode(piece))

    def end(self) -> str:
        """What was held back, at the end of the stream."""
        text = self._release(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return text if self.stopped else text + held

    def _release(self, text: str) -> str:
        text = self._held + text
        found = [(text.find(stop), stop) for stop in self._stop if stop in text]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[0]]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
