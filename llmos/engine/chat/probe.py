"""Finds out what a chat template can show, by rendering small conversations and looking for their words in the result.

Knows no template by name: what a template says of itself is not asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmos.engine.chat.budget import Refused
from llmos.engine.chat.conversation import Abilities, adapt, tool_as_dict
from llmos.engine.chat.tools import ToolFormat
from llmos.errors import TemplateError
from llmos.messages import Message, ToolCall, ToolSpec

Render = Callable[[list[dict[str, Any]], list[dict[str, Any]], bool], str]
"""Renders messages and tools, with or without the beginning of an answer."""

_SYSTEM, _USER, _ANSWER, _AGAIN = "quiet harbour", "seven lanterns", "amber thistle", "northern gravel"
_RESULT, _OTHER_RESULT = "pewter swallow", "cobalt meadow"
_ASKS, _SAYS, _ASKS_AGAIN = Message("user", _USER), Message("assistant", _ANSWER), Message("user", _AGAIN)
_TOOL = ToolSpec(
    "find_plum",
    "Looks for damson trees.",
    {"type": "object", "properties": {"orchard": {"type": "string"}}, "required": ["orchard"]},
)
_CALL = ToolCall("find_plum", {"orchard": "willow"}, "call00001")
_OTHER_CALL = ToolCall("find_plum", {"orchard": "birch"}, "call00002")
_CALLED = Message("assistant", tool_calls=(_CALL,))
_GOT = Message("tool", _RESULT, name="find_plum", tool_call_id="call00001")
_GOT_OTHER = Message("tool", _OTHER_RESULT, name="find_plum", tool_call_id="call00002")

_ARGUMENTS = re.compile(r'"orchard"\s*:\s*"willow"')
_GAP = re.compile(r"<tool_call>(\s*)\{")
_TAG = re.compile(r"\s*(<[^<>\s]{1,60}>)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What probing a template showed.

    Attributes:
        can: Its abilities.
        lead: White space it puts before each answer.
        inside: Its generation prompt opens the reasoning.
        gap: White space between `<tool_call>` and the JSON.
        stop: What it puts after an answer; empty if nothing stands out.
    """

    can: Abilities
    lead: str
    inside: bool
    gap: str
    stop: str


def probe(render: Render, form: ToolFormat | None, *, open_tag: str) -> Findings:
    """Probe a template.

    Args:
        render: Renders with it.
        form: How it writes tool calls, None if that is unknown.
        open_tag: What opens the reasoning.

    Raises:
        TemplateError: It does not even show what the user says, or it is hostile.
    """
    probing = _Probing(render)
    can = probing.basics()
    can = probing.tools(can, form) if form else can
    prompt = probing.text(can, _ASKS, answer=True)
    gap = _GAP.search(probing.text(can, _ASKS, _CALLED, _GOT, tools=(_TOOL,), form=form or "generic"))
    return Findings(
        can=can,
        lead=_lead(prompt, probing.text(can, _ASKS, _SAYS)),
        inside=prompt.rstrip().endswith(open_tag),
        gap=gap[1] if gap else "",
        stop=_stop(probing.text(can, _ASKS, _SAYS, _ASKS_AGAIN)),
    )


class _Probing:
    def __init__(self, render: Render) -> None:
        self._render = render
        self._refusals: list[str] = []

    def text(
        self,
        can: Abilities,
        *messages: Message,
        tools: Sequence[ToolSpec] = (),
        form: ToolFormat = "generic",
        answer: bool = False,
    ) -> str:
        """A rendered conversation; empty if the template refuses it."""
        shown_tools = [tool_as_dict(tool) for tool in tools] if can.tools else []
        try:
            return self._render(adapt(messages, tools, can, form), shown_tools, answer)
        except Refused as error:
            self._refusals.append(str(error))
            return ""

    def basics(self) -> Abilities:
        kinds = (Abilities(), Abilities(parts=True))
        can = next((can for can in kinds if _USER in self.text(can, _ASKS, answer=True)), None)
        if can is None:
            reason = self._refusals[0] if self._refusals else "it shows nothing of what the user says"
            raise TemplateError(
                f"The chat template can't render a user's message: {reason}.",
                hint="The template is part of the model file: get the model from another source.",
            )
        late = Message("system", _SYSTEM)
        return replace(
            can,
            system=_has(self.text(can, late, _ASKS, answer=True), _SYSTEM, _USER)
            and (self._steady(can, late, _ASKS) or not self._steady(can, _ASKS)),
            late_system=_has(self.text(can, _ASKS, _SAYS, late, _ASKS_AGAIN), _SYSTEM, _AGAIN),
            repeats=_has(self.text(can, _ASKS, _ASKS_AGAIN), _USER, _AGAIN)
            and _has(self.text(can, _ASKS, _SAYS, replace(_SAYS, content=_RESULT)), _ANSWER, _RESULT),
        )

    def _steady(self, can: Abilities, *messages: Message) -> bool:
        """Whether an answer leaves the text before it alone.

        Some templates keep the system prompt in the last user turn: it would have to be read again in every turn.
        """
        return self.text(can, *messages, _SAYS).startswith(self.text(can, *messages, answer=True))

    def tools(self, can: Abilities, form: ToolFormat) -> Abilities:
        """`can` with what concerns tools."""
        for text_arguments in (False, True):
            able = replace(can, tools=True, text_arguments=text_arguments)
            text = self.text(able, _ASKS, _CALLED, _GOT, tools=(_TOOL,), form=form, answer=True)
            if _has(text, "Looks for damson trees", "find_plum", _RESULT) and _ARGUMENTS.search(text):
                calls = replace(_CALLED, tool_calls=(_CALL, _OTHER_CALL))
                both = self.text(able, _ASKS, calls, _GOT, _GOT_OTHER, tools=(_TOOL,), form=form)
                return replace(able, many_calls=_has(both, "willow", "birch", _RESULT, _OTHER_RESULT))
        return can


def _has(text: str, *words: str) -> bool:
    return all(word in text for word in words)


def _lead(prompt: str, answered: str) -> str:
    """White space that stands between the generation prompt and the answer."""
    if not answered.startswith(prompt):
        return ""
    lead = answered[len(prompt) :].partition(_ANSWER)[0]
    return lead if lead.isspace() else ""


def _stop(text: str) -> str:
    """What ends an answer: the first tag after it, or whatever else announces the user."""
    between = text.partition(_ANSWER)[2].partition(_AGAIN)[0]
    tag = _TAG.match(between)
    return tag[1] if tag else between.rstrip()
