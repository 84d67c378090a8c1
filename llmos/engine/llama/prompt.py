"""From a context to token ids: the chat template, tokens kept from earlier turns, no control tokens in anybody's words.

Knows no scheduling and no KV state. A template decides where control tokens such as `<|im_end|>` go; the same letters
in a message, a tool's description or a tool's result are only letters. So each such name is broken by a mark before
rendering, and the text is tokenized piece by piece between the marks: control tokens that were not the template's
can't come about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from llmos.engine.chat import ChatFormat, StreamParser
from llmos.engine.llama.binding import Model
from llmos.engine.llama.text import TextStream
from llmos.messages import Context, Generate, Grammar, Message, ToolCall, ToolSpec

_MARK = "\ufdd0"  # a Unicode noncharacter: never part of text that is exchanged


class Prompts:
    """Renders and tokenizes contexts for one model."""

    def __init__(self, model: Model, chat: ChatFormat, fingerprint: str) -> None:
        self._model, self.chat, self._fingerprint = model, chat, fingerprint
        names = sorted({piece.decode("utf-8", "replace") for piece in model.controls.values() if len(piece) > 1})
        self._control = re.compile("|".join(re.escape(name) for name in names)) if names else None

    def parser(self, request: Generate) -> StreamParser | None:
        """What takes the answer apart; None where it is plain text by its constraint or without a conversation."""
        if not request.context.messages or not isinstance(request.constraint, Grammar | None):
            return None
        return self.chat.parser(tools=bool(request.context.tools))

    def spoken(self, tokens: Sequence[int], stop: tuple[str, ...]) -> str:
        """The text that was streamed with the first tokens of an answer."""
        stream = TextStream(stop)
        return "".join(stream.feed(self._model.piece(token)) for token in tokens if token not in self._model.ends)

    def tokens(self, context: Context) -> list[int]:
        """The ids of a context that is to be continued; those it has already are kept as far as they fit.

        Raises:
            TemplateError: The chat template can't render these messages.
        """
        if context.messages:
            text = self.chat.render(tuple(map(self._harmless, context.messages)), tuple(map(self._tool, context.tools)))
        else:
            text = (context.text or "").replace(_MARK, "")
        kept = list(context.tokens) if context.model == self._fingerprint else []
        known = self._text(kept[1:] if kept[:1] == [self._model.bos] and not self._writes_bos(text) else kept)
        if kept and text.replace(_MARK, "").startswith(known):
            return kept + self._encode(_skip(text, len(known)))
        return self._encode(text, start=True)

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text in which nothing is a control token."""
        return self._model.tokenize(text.encode("utf-8", "surrogatepass"), special=False)

    def with_tokens(self, context: Context, tokens: tuple[int, ...], *messages: Message) -> Context:
        """A context that knows its ids, with what the model said at its end."""
        if context.messages:
            return replace(context.add(*messages), tokens=tokens, model=self._fingerprint)
        text = self._text(tokens[1:] if tokens[:1] == (self._model.bos,) and self._model.adds_bos else tokens)
        return replace(context, text=text, tokens=tokens, model=self._fingerprint)

    def _text(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self._model.piece, tokens)).decode("utf-8", "replace")

    def _writes_bos(self, text: str) -> bool:
        """Whether a rendered text begins with the name of the BOS token."""
        return self._model.bos >= 0 and text.startswith(self._text([self._model.bos]))

    def _encode(self, text: str, *, start: bool = False) -> list[int]:
        adds_bos = start and self._model.adds_bos and self._model.bos >= 0 and not self._writes_bos(text)
        ids = [self._model.bos] if adds_bos else []
        for part in text.split(_MARK):
            ids.extend(self._model.tokenize(part.encode("utf-8", "replace"), special=True))
        return ids

    def _break(self, text: str) -> str:
        text = text.replace(_MARK, "")
        if self._control is None:
            return text
        return self._control.sub(lambda found: found[0][0] + _MARK + found[0][1:], text)

    def _harmless(self, message: Message) -> Message:
        return replace(
            message,
            content=self._break(message.content),
            reasoning=self._break(message.reasoning),
            name=self._break(message.name),
            tool_calls=tuple(
                ToolCall(self._break(call.name), self._mapping(call.arguments), self._break(call.id))
                for call in message.tool_calls
            ),
        )

    def _tool(self, tool: ToolSpec) -> ToolSpec:
        return ToolSpec(self._break(tool.name), self._break(tool.description), self._mapping(tool.parameters))

    def _mapping(self, value: Mapping[str, Any]) -> dict[str, Any]:
        return {self._break(str(key)): self._deep(item) for key, item in value.items()}

    def _deep(self, value: object) -> object:
        if isinstance(value, str):
            return self._break(value)
        if isinstance(value, Mapping):
            return self._mapping(cast(Mapping[str, Any], value))
        if isinstance(value, list | tuple):
            return [self._deep(item) for item in cast(Sequence[object], value)]
        return value


def _skip(text: str, length: int) -> str:
    """`text` without its first `length` characters, marks not counted."""
    position = 0
    while length > 0:
        length -= text[position] != _MARK
        position += 1
    return text[position:]
