"""Fits a conversation to what a chat template can show.

What a template has no words for is said another way: a system prompt in the first user turn, tools in the system
prompt, results in a user turn. Nothing is left out. Knows what templates can differ in, not how that is found out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from llmos.engine.chat.tools import ToolFormat, describe, dumps, write, write_result
from llmos.messages import Message, ToolCall, ToolSpec

_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a template can show.

    Attributes:
        parts: It wants the content as a list of parts, not as a text.
        system: It knows the role `system`, as the first message, and leaves it there.
        late_system: Also further on.
        repeats: It accepts two turns of the same role in a row.
        tools: It shows tools, calls and results, in a form that we can read.
        many_calls: It shows several calls in one turn.
        text_arguments: It wants a call's arguments as JSON text, not as an object.
    """

    parts: bool = False
    system: bool = True
    late_system: bool = True
    repeats: bool = True
    tools: bool = False
    many_calls: bool = True
    text_arguments: bool = False


def adapt(
    messages: Sequence[Message], tools: Sequence[ToolSpec], can: Abilities, form: ToolFormat, *, named: bool = False
) -> list[dict[str, Any]]:
    """The messages as a template with these abilities wants them. `named`: see `tools.write`."""
    turns = list(messages)
    if can.tools:
        turns = list(_with_ids(turns if can.many_calls else _one_call_each(turns)))
    else:
        turns = list(_results_together(_calls_as_text(turns, form, named=named)))
    turns = _place_system(turns, describe(tools, form, named=named) if tools and not can.tools else "", can)
    if not can.repeats:
        turns = _alternate(turns)
    return [_as_dict(turn, can) for turn in turns]


def _calls_as_text(turns: Iterable[Message], form: ToolFormat, *, named: bool) -> Iterable[Message]:
    for turn in turns:
        if turn.tool_calls:
            text = "\n".join(filter(None, (turn.content, write(turn.tool_calls, form, named=named))))
            yield replace(turn, content=text, tool_calls=())
        else:
            yield turn


def _results_together(turns: Iterable[Message]) -> Iterable[Message]:
    """Results of one turn's calls as one user turn."""
    results: list[str] = []
    for turn in turns:
        if turn.role == "tool":
            results.append(write_result(turn.content))
            continue
        if results:
            yield Message("user", "\n".join(results))
            results = []
        yield turn
    if results:
        yield Message("user", "\n".join(results))


def _one_call_each(turns: Sequence[Message]) -> list[Message]:
    """Turns with several calls taken apart, each call followed by its result."""
    done: list[Message] = []
    position = 0
    while position < len(turns):
        turn = turns[position]
        position += 1
        if len(turn.tool_calls) < 2:
            done.append(turn)
            continue
        results: list[Message] = []
        while position < len(turns) and turns[position].role == "tool":
            results.append(turns[position])
            position += 1
        for number, call in enumerate(turn.tool_calls):
            first = number == 0
            done.append(
                replace(turn, content=turn.content * first, reasoning=turn.reasoning * first, tool_calls=(call,))
            )
            if results:
                done.append(results.pop(_answering(call, results)))
        done.extend(results)
    return done


def _answering(call: ToolCall, results: Sequence[Message]) -> int:
    """Which result belongs to a call: the one with its id, otherwise the first."""
    ids = [result.tool_call_id for result in results]
    return ids.index(call.id) if call.id and call.id in ids else 0


def _with_ids(turns: Iterable[Message]) -> Iterable[Message]:
    """Every call and result with an id of nine letters and digits, which is what the strictest templates ask for."""
    known: dict[str, str] = {}
    open_ids: list[str] = []
    number = 0
    for turn in turns:
        if turn.tool_calls:
            calls: list[ToolCall] = []
            for call in turn.tool_calls:
                number += 1
                short = call.id if _SHORT_ID.fullmatch(call.id) else f"call{number:05d}"
                known[call.id] = short
                open_ids.append(short)
                calls.append(replace(call, id=short))
            yield replace(turn, tool_calls=tuple(calls))
        elif turn.role == "tool":
            first = open_ids[0] if open_ids else f"call{0:05d}"
            short = known.get(turn.tool_call_id, first) if turn.tool_call_id else first
            if short in open_ids:
                open_ids.remove(short)
            yield replace(turn, tool_call_id=short)
        else:
            yield turn


def _place_system(turns: list[Message], extra: str, can: Abilities) -> list[Message]:
    """The system prompt, with `extra` at its end, where the template has a place for it."""
    start = next((n for n, turn in enumerate(turns) if turn.role != "system"), len(turns))
    prompt = "\n\n".join(filter(None, [*(turn.content for turn in turns[:start]), extra]))
    rest = turns[start:]
    if not can.late_system:
        rest = [replace(turn, role="user") if turn.role == "system" else turn for turn in rest]
    if not prompt:
        return rest
    if can.system:
        return [Message("system", prompt), *rest]
    if rest and rest[0].role == "user":
        return [replace(rest[0], content=f"{prompt}\n\n{rest[0].content}"), *rest[1:]]
    return [Message("user", prompt), *rest]


def _alternate(turns: Iterable[Message]) -> list[Message]:
    """Neighbours of the same role as one turn."""
    done: list[Message] = []
    for turn in turns:
        last = done[-1] if done else None
        if last and last.role == turn.role and turn.role in ("user", "assistant") and not last.tool_calls:
            content = "\n\n".join(filter(None, (last.content, turn.content)))
            done[-1] = replace(turn, content=content, reasoning=last.reasoning or turn.reasoning)
        else:
            done.append(turn)
    return done


def _as_dict(turn: Message, can: Abilities) -> dict[str, Any]:
    content = [{"type": "text", "text": turn.content}] if can.parts else turn.content
    fields: dict[str, Any] = {"role": turn.role, "content": content}
    if turn.reasoning:
        fields["reasoning_content"] = turn.reasoning
    if turn.tool_calls:
        fields["tool_calls"] = [_call_as_dict(call, can) for call in turn.tool_calls]
    if turn.role == "tool":
        fields |= {"name": turn.name, "tool_call_id": turn.tool_call_id}
    return fields


def _call_as_dict(call: ToolCall, can: Abilities) -> dict[str, Any]:
    arguments = dumps(call.arguments) if can.text_arguments else plain(call.arguments)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def tool_as_dict(tool: ToolSpec) -> dict[str, Any]:
    """A tool as templates expect it, which is how OpenAI's interface has it."""
    function = {"name": tool.name, "description": tool.description, "parameters": plain(tool.parameters)}
    return {"type": "function", "function": function}


def plain(value: object) -> object:
    """A copy in lists and dictionaries, which is all that templates get to see."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("Sequence[object]", value)]
    return value
