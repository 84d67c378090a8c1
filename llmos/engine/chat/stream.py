"""Takes a model's text apart while it streams: answer, reasoning, tool calls.

The pieces come out as early as they are certain; text that may be the beginning of a tag waits. How the stream was cut
into pieces never changes the result. Knows no templates and no tokens.
"""

from __future__ import annotations

import re
from typing import Literal

from llmos.engine.chat.tools import CLOSE, OPEN, ToolFormat, parse
from llmos.events import Channel
from llmos.messages import Message, ToolCall

_JSON_KEYS = ('"name"', '"type"', '"function"')
_IN_STRING = re.compile(r'\\.|"', re.DOTALL)
_OUTSIDE = re.compile(rf'"|{re.escape(CLOSE)}')

Piece = tuple[Channel, str]


class StreamParser:
    """Parses one assistant turn.

    A tool call's text comes out whole, tags included, in the channel `tool`; the tags around the reasoning do not come
    out. A call that can't be read stays part of the answer in the message, although it was streamed as `tool`.
    Reasoning is looked for at the beginning of a turn only.

    Args:
        form: How tool calls are written; None if none are expected.
        reasoning: The tags around the reasoning.
        inside: The prompt has opened the reasoning already.
        lead: White space that the template puts before each answer, and that is not part of it.
    """

    def __init__(
        self,
        form: ToolFormat | None = None,
        *,
        reasoning: tuple[str, str] = ("<think>", "</think>"),
        inside: bool = False,
        lead: str = "",
    ) -> None:
        self._form: ToolFormat | None = form
        self._open, self._close = reasoning
        self._lead = lead
        self._state: Literal["begin", "reasoning", "thought", "answer", "tool", "after"] = (
            "reasoning" if inside else "begin"
        )
        self._buffer = ""
        self._in_string = False
        self._segments: list[tuple[Channel, list[str]]] = []
        self._pieces: list[Piece] = []

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain after more text, in order."""
        self._buffer += text
        while self._buffer and self._step():
            pass
        pieces, self._pieces = self._pieces, []
        return pieces

    def flush(self) -> list[Piece]:
        """What was held back, at the end of the stream; further calls give nothing."""
        channel: Channel = "answer"
        if self._state in ("reasoning", "thought"):
            channel = "reasoning"
        elif self._state in ("tool", "after"):
            channel = "tool"
        self._emit(channel, len(self._buffer))
        pieces, self._pieces = self._pieces, []
        return pieces

    def finish(self) -> Message:
        """The whole turn. Text that was still held back is in it."""
        self._pieces.extend(self.flush())
        answer: list[str] = []
        reasoning: list[str] = []
        calls: list[ToolCall] = []
        for channel, parts in self._segments:
            text = "".join(parts)
            if channel == "reasoning":
                reasoning.append(text)
            elif channel == "tool" and self._form and (found := parse(text, self._form)):
                calls.extend(found)
            else:
                answer.append(text)
        content = "".join(answer).removeprefix(self._lead)
        return Message(
            "assistant",
            content.rstrip() if calls else content,
            reasoning="".join(reasoning).strip(),
            tool_calls=tuple(calls),
        )

    def _emit(self, channel: Channel, length: int, *, new: bool = False) -> None:
        """Move text from the buffer to a channel; `new` begins another tool call."""
        text, self._buffer = self._buffer[:length], self._buffer[length:]
        if not text:
            return
        if new or not self._segments or self._segments[-1][0] != channel:
            self._segments.append((channel, []))
        self._segments[-1][1].append(text)
        if self._pieces and self._pieces[-1][0] == channel:
            text = self._pieces.pop()[1] + text
        self._pieces.append((channel, text))

    def _step(self) -> bool:
        """Take one decision; False if that needs more text."""
        match self._state:
            case "begin":
                return self._begin()
            case "reasoning":
                return self._reason()
            case "thought":
                return self._rest_of_reasoning()
            case "answer":
                return self._answer()
            case "tool":
                return self._tool()
            case "after":
                return self._after()

    def _begin(self) -> bool:
        rest = self._buffer.lstrip()
        space = len(self._buffer) - len(rest)
        if rest.startswith(self._open):
            self._emit("reasoning", space)
            self._buffer = self._buffer[len(self._open) :]
            self._state = "reasoning"
            return True
        if self._open.startswith(rest):
            return False
        return self._begin_answer(rest)

    def _begin_answer(self, rest: str) -> bool:
        """Llama 3 writes a call as bare JSON; that is only looked for where the answer begins."""
        json = _begins_call(rest) if self._form == "llama3" else False
        if json is None:
            return False
        if json:
            self._emit("tool", len(self._buffer), new=True)
        self._state = "tool" if json else "answer"
        return True

    def _reason(self) -> bool:
        end = self._buffer.find(self._close)
        if end < 0:
            self._emit("reasoning", len(self._buffer) - _overlap(self._buffer, self._close))
            return False
        self._emit("reasoning", end)
        self._buffer = self._buffer[len(self._close) :]
        self._state = "thought"
        return True

    def _rest_of_reasoning(self) -> bool:
        rest = self._buffer.lstrip()
        self._emit("reasoning", len(self._buffer) - len(rest))
        return bool(rest) and self._begin_answer(rest)

    def _answer(self) -> bool:
        if self._form is None:
            self._emit("answer", len(self._buffer))
            return False
        tag = OPEN[self._form]
        start = self._buffer.find(tag)
        if start < 0:
            self._emit("answer", len(self._buffer) - _overlap(self._buffer, tag))
            return False
        self._emit("answer", start)
        self._begin_call(0)
        return True

    def _begin_call(self, space: int) -> None:
        self._emit("tool", space)
        self._emit("tool", len(OPEN[self._form or "generic"]), new=True)
        self._state, self._in_string = "tool", False

    def _tool(self) -> bool:
        if self._form in ("llama3", "mistral"):  # the call is the rest of the turn
            self._emit("tool", len(self._buffer))
            return False
        position = 0
        while found := (_IN_STRING if self._in_string else _OUTSIDE).search(self._buffer, position):
            position = found.end()
            if found[0] == CLOSE:
                self._emit("tool", position)
                self._state = "after"
                return True
            if found[0] == '"':
                self._in_string = not self._in_string
        tail = self._buffer[position:]
        held = int(tail.endswith("\\")) if self._in_string else _overlap(tail, CLOSE)
        self._emit("tool", len(self._buffer) - held)
        return False

    def _after(self) -> bool:
        rest = self._buffer.lstrip()
        space = len(self._buffer) - len(rest)
        tag = OPEN[self._form or "generic"]
        if rest.startswith(tag):
            self._begin_call(space)
            return True
        self._emit("tool", space)
        if tag.startswith(rest):
            return False
        self._state = "answer"
        return True


def _begins_call(text: str) -> bool | None:
    """Whether a text begins like a call in JSON; None while that is open."""
    if not text.startswith("{"):
        return False
    key = text[1:].lstrip()
    if key.startswith(_JSON_KEYS):
        return True
    return None if any(name.startswith(key) for name in _JSON_KEYS) else False


def _overlap(text: str, tag: str) -> int:
    """Length of the longest end of `text` that is a beginning of `tag`, but not all of it."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if text.endswith(tag[:length]):
            return length
    return 0
