"""Grammars, in llguidance's dialect of Lark, under which every tool call is a valid call of a known tool.

Knows how calls are written, not which model writes them. llguidance itself is not needed to make them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmos.engine.chat.conversation import plain
from llmos.engine.chat.tools import ARGS, CLOSE, OPEN, ToolFormat
from llmos.messages import Grammar, ToolSpec

MAX_CALLS = 8
"""Most calls in one answer: a small model that is free to go on does go on."""

_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """How one model writes.

    Attributes:
        form: Its tool calls.
        named: Mistral's newer way.
        gap: White space between a tag and the JSON.
        reasoning: The tags around its reasoning; None if it does not reason.
        inside: The prompt opens the reasoning.
        special: Token ids of tags that are one token.
    """

    form: ToolFormat
    named: bool = False
    gap: str = ""
    reasoning: tuple[str, str] | None = None
    inside: bool = False
    special: Mapping[str, int] = field(default_factory=dict[str, int])


def tool_grammar(tools: Sequence[ToolSpec], syntax: Syntax, *, required: bool) -> Grammar:
    """The grammar of an answer: calls only if `required`, otherwise text, calls, or text and then calls.

    Where a tag is not a token of its own, no text before the calls may contain it, and reasoning counts as text.
    """
    opening = OPEN[syntax.form]
    rules = [f"tail: {_tail(syntax)}", f"item: {_item(tools, syntax)}", *_arguments(tools)]
    if required:
        start = "thought open tail" if syntax.reasoning else "open tail"
        rules.append(_thought(syntax))
    elif syntax.form == "llama3":
        start = "tail | TEXT"
        rules.append(r"TEXT: /\s*[^\s{](?s:.*)/")  # what begins with a brace is a call
    elif opening in syntax.special:
        start = "thought (TEXT | TEXT? open tail)?"
        rules.extend([_thought(syntax), "TEXT: /(?s:.+)/"])
    else:
        start = "head tail | TEXT"
        rules.extend([f"head[lazy]: /(?s:.*){_pattern(opening)}/", "TEXT: /(?s:.*)/"])
    rules.append('open: ""' if syntax.form == "llama3" else f"open: {_tag(opening, syntax)}")
    return Grammar("\n".join([f"start: {start}", *rules, ""]))


def _tail(syntax: Syntax) -> str:
    """All calls, without what opens the first."""
    more = MAX_CALLS - 1
    match syntax.form:
        case "generic" | "hermes":
            gap = f"{_quote(syntax.gap)} " if syntax.gap else ""
            call = f"{gap}item {gap}{_tag(CLOSE, syntax)}"
            return f'{call} ("\\n" open {call}){{0,{more}}}'
        case "llama3":
            return f'item ("; " item){{0,{more}}}'
        case "mistral" if syntax.named:
            return f"item (open item){{0,{more}}}"
        case "mistral":
            return f'"[" item (", " item){{0,{more}}} "]"'


def _item(tools: Sequence[ToolSpec], syntax: Syntax) -> str:
    """One call."""
    if syntax.form == "mistral" and syntax.named:
        separator = _tag(ARGS, syntax)
        return " | ".join(f"{_quote(tool.name)} {separator} args_{number}" for number, tool in enumerate(tools))
    key = "parameters" if syntax.form == "llama3" else "arguments"
    names = (_quote(f'{json.dumps(tool.name, ensure_ascii=False)}, "{key}": ') for tool in tools)
    choices = " | ".join(f"{name} args_{number}" for number, name in enumerate(names))
    return f'"{{\\"name\\": " ({choices}) "}}"'


def _arguments(tools: Sequence[ToolSpec]) -> list[str]:
    """One rule for the arguments of each tool. What a schema doesn't name is not allowed, unless it says otherwise."""
    rules: list[str] = []
    for number, tool in enumerate(tools):
        schema: dict[str, Any] = {"type": "object", "additionalProperties": False, **tool.parameters}
        schema["x-guidance"] = _SPACING
        rules.append(f"args_{number}: %json {json.dumps(plain(schema), ensure_ascii=False)}")
    return rules


def _thought(syntax: Syntax) -> str:
    """Reasoning before the calls: its end only, where the prompt has begun it."""
    if syntax.reasoning is None:
        return 'thought: ""'
    opening, closing = syntax.reasoning
    if closing in syntax.special:
        body, lazy = f"THOUGHT {_tag(closing, syntax)}", "THOUGHT: /(?s:.*)/"
    else:
        body, lazy = "thinking", f"thinking[lazy]: /(?s:.*){_pattern(closing)}/"
    whole = f"{body} SPACE" if syntax.inside else f"({_tag(opening, syntax)} {body} SPACE)?"
    return f"thought: {whole}\n{lazy}\nSPACE: /\\s{{0,4}}/"


def _tag(text: str, syntax: Syntax) -> str:
    """A tag as one token where it is one, otherwise letter by letter."""
    token = syntax.special.get(text)
    return _quote(text) if token is None else f"<[{token}]>"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _pattern(text: str) -> str:
    return re.escape(text).replace("/", r"\/")
