"""Server-sent events: from bytes, cut anywhere, to the data of each event (WHATWG HTML, section 9.2.6).

Knows no JSON and no models. Stricter than a browser: a line that is no field is garbage and not ignored, since an error
page would otherwise look like a stream that ends early.
"""

from __future__ import annotations

# Far over any real event, far under what would fill the memory.
LIMIT = 4 << 20
_IGNORED = (b"event", b"id", b"retry")


class NotAStream(Exception):
    """What arrived is not a stream of events; the text says what it is."""

    def __init__(self, what: str, shown: bytes = b"") -> None:
        super().__init__(what)
        self.what = what
        self.shown = shown[:400].decode("utf-8", "replace")


class EventReader:
    """Collects bytes and gives out the data of every event that is complete.

    Args:
        limit: Bytes that one event may have.
    """

    def __init__(self, *, limit: int = LIMIT) -> None:
        self._limit = limit
        self._line = bytearray()
        self._data = bytearray()
        self._first = True

    def feed(self, received: bytes) -> list[bytes]:
        """The data of each event that is complete with these bytes.

        Raises:
            NotAStream: A line is no field of an event, or an event is too big.
        """
        events = list[bytes]()
        *lines, rest = received.split(b"\n")
        for line in lines:
            self._line += line
            self._take(bytes(self._line), events)
            self._line.clear()
        self._line += rest
        self._check_size()
        return events

    def end(self) -> list[bytes]:
        """The event that the last line completes, if the stream ends without an empty line."""
        events = list[bytes]()
        if self._line:
            self._take(bytes(self._line), events)
        self._take(b"", events)
        self._line.clear()
        return events

    def _take(self, line: bytes, events: list[bytes]) -> None:
        line = line.removesuffix(b"\r")
        if self._first:
            line, self._first = line.removeprefix(b"\xef\xbb\xbf"), False
        if not line:
            if self._data:
                events.append(bytes(self._data[:-1]))
                self._data.clear()
            return
        name, _, value = line.partition(b":")
        if name in (b"data", b"error"):
            # llama-server once sent its errors as a field of that name.
            self._data += value.removeprefix(b" ") + b"\n"
            self._check_size()
        elif name and name not in _IGNORED:
            raise NotAStream("something that is no stream of events", line)

    def _check_size(self) -> None:
        if len(self._line) + len(self._data) > self._limit:
            raise NotAStream(f"an event of over {self._limit:,} bytes", bytes(self._line[:80]))
