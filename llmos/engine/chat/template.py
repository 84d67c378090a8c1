"""`ChatFormat`: a conversation as the text a model was trained on, and a model's text as a message.

Knows no engine and no tokens; the text it makes contains the names of control tokens where the template puts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from llmos.engine.chat.budget import BASE, PER_CHARACTER, PER_ITEM, Refused
from llmos.engine.chat.conversation import adapt, tool_as_dict
from llmos.engine.chat.grammar import Syntax, tool_grammar
from llmos.engine.chat.probe import Findings, probe
from llmos.engine.chat.stream import StreamParser
from llmos.engine.chat.tools import ARGS, ToolFormat, detect
from llmos.errors import TemplateError
from llmos.messages import Constraint, Message, ToolSpec

if TYPE_CHECKING:
    from llmos.engine.chat.sandbox import Template

_OUTPUT_BASE, _OUTPUT_PER_ITEM, _OUTPUT_PER_CHARACTER = 256 << 10, 4 << 10, 8
_REASONING = (("[THINK]", "[/THINK]"), ("<think>", "</think>"))


class ChatFormat:
    """How one model's conversations are written. Safe to use from several threads.

    Attributes:
        source: `gguf` for the model's own template, `builtin:chatml` where it has none.
        tool_format: How tool calls are written.
        native_tools: The template itself shows tools, calls and results; otherwise they are put into words.
        stop: Texts that end a turn.
    """

    def __init__(
        self,
        template: Template,
        *,
        text: str,
        source: str,
        bos: str,
        eos: str,
        tool_format: ToolFormat | None,
        special: Mapping[str, int],
    ) -> None:
        self._template = template
        self._constants = {"bos_token": bos, "eos_token": eos, "documents": None}
        self._reasoning = next((tags for tags in _REASONING if tags[0] in text), _REASONING[-1])
        own_form = detect(text)
        form = own_form if tool_format in (None, own_form) else None
        self._found: Findings = probe(self._render, form, open_tag=self._reasoning[0])
        self.source = source
        self.tool_format: ToolFormat = tool_format or (own_form if own_form and self._found.can.tools else "generic")
        self.native_tools = self._found.can.tools
        self.stop = _unique(self._found.stop, "<|eom_id|>" if "<|eom_id|>" in text else "", eos)
        self._syntax = Syntax(
            form=self.tool_format,
            named=ARGS in text,
            gap=self._found.gap if self.native_tools else "",
            reasoning=self._reasoning if self._found.inside or self._reasoning[1] in text else None,
            inside=self._found.inside,
            special=dict(special),
        )

    @classmethod
    def from_template(
        cls,
        template: str | None,
        *,
        bos: str = "",
        eos: str = "",
        tool_format: ToolFormat | None = None,
        special: Mapping[str, int] | None = None,
    ) -> ChatFormat:
        """The format of a model.

        Args:
            template: The model's Jinja template, untrusted; None or empty for ChatML.
            bos: Text of the token that begins a sequence.
            eos: Text of the token that ends one.
            tool_format: How to write tool calls; None takes what the template does, or `generic`.
            special: Ids of the control and user-defined tokens, by their texts. `tool_grammar` needs them: a model
                writes such a tag with that one token, never letter by letter.

        Raises:
            TemplateError: The template is malformed or hostile, or does not show what the user says.
        """
        from llmos.engine.chat.sandbox import Template  # loads Jinja, which only formats need

        text = template or Path(__file__).with_name("chatml.jinja").read_text(encoding="utf-8")
        return cls(
            Template(text),
            text=text,
            source="gguf" if template else "builtin:chatml",
            bos=bos,
            eos=eos,
            tool_format=tool_format,
            special=special or {},
        )

    def render(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = (), *, add_generation_prompt: bool = True
    ) -> str:
        """The text of a conversation.

        Args:
            messages: Oldest first.
            tools: What the model may call.
            add_generation_prompt: End with what begins an answer.

        Raises:
            TemplateError: The template refuses these messages, or takes more time or room than it may.
        """
        found, syntax = self._found, self._syntax
        adapted = adapt(messages, tools, found.can, self.tool_format, named=syntax.named)
        shown_tools = [tool_as_dict(tool) for tool in tools] if self.native_tools else []
        try:
            return self._render(adapted, shown_tools, add_generation_prompt)
        except Refused as error:
            roles = ", ".join(message.role for message in messages[:8]) + (", …" if len(messages) > 8 else "")
            raise TemplateError(
                f"The chat template refuses {len(messages)} messages ({roles or 'none'}): {error}.",
                hint="Most templates want a user's message first, and then answers and questions in turn.",
            ) from error

    def parser(self, *, tools: bool = True) -> StreamParser:
        """A fresh parser for one answer.

        Args:
            tools: Look for tool calls; without it their tags are ordinary text.
        """
        return StreamParser(
            self.tool_format if tools else None,
            reasoning=self._reasoning,
            inside=self._found.inside,
            lead=self._found.lead,
        )

    def tool_grammar(self, tools: Sequence[ToolSpec], *, required: bool) -> Constraint | None:
        """What makes every tool call in an answer a valid call of one of these tools; None without tools.

        Args:
            tools: What the model may call.
            required: The answer is one call or more; otherwise it may also be text, followed by calls or not.
        """
        return tool_grammar(tools, self._syntax, required=required) if tools else None

    def _render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], answer: bool) -> str:
        characters, items = _size(messages), len(messages) + len(tools)
        characters += _size(tools)
        return self._template.render(
            {**self._constants, "messages": messages, "tools": tools or None, "add_generation_prompt": answer},
            work=BASE + PER_ITEM * items + PER_CHARACTER * characters,
            characters=_OUTPUT_BASE + _OUTPUT_PER_ITEM * items + _OUTPUT_PER_CHARACTER * characters,
        )


def _size(value: object) -> int:
    """Characters in a value."""
    match value:
        case str():
            return len(value)
        case list():
            items = cast("list[object]", value)
            return sum(map(_size, items)) + len(items)
        case dict():
            fields = cast("dict[str, object]", value)
            return sum(map(_size, fields)) + sum(map(_size, fields.values()))
        case _:
            return 8


def _unique(*texts: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, texts)))
