"""How tool calls are written: in text by a model, and by us where a model's template has no words for them.

Four forms are known. `hermes` is `<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Qwen, Hermes and many more);
`generic` is the same form for models that never heard of tools, explained to them in the system prompt; `llama3` is
`{"name": …, "parameters": {…}}`; `mistral` is `[TOOL_CALLS][{…}]` or, since 2025, `[TOOL_CALLS]name[ARGS]{…}`.
A call that can't be read is no call: it stays part of the answer. Knows no templates and no streams.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from llmos.messages import ToolCall, ToolSpec

ToolFormat = Literal["generic", "hermes", "llama3", "mistral"]

OPEN: Mapping[ToolFormat, str] = {
    "generic": "<tool_call>",
    "hermes": "<tool_call>",
    "llama3": "<|python_tag|>",
    "mistral": "[TOOL_CALLS]",
}
"""What begins a call. Llama 3 also begins one with a bare `{"name"`."""
CLOSE = "</tool_call>"
ARGS = "[ARGS]"

_NEW_MISTRAL = re.compile(r"\s*([\w.-]{1,128})(?:\[CALL_ID\]([\w-]{1,64}))?\[ARGS\]\s*")
_BETWEEN = re.compile(r"[\s;,]*")
_RESULT_END, _BROKEN_END = "</tool_response", "<\\/tool_response"


def detect(template: str) -> ToolFormat | None:
    """The form in which a template writes calls; None for one that is not known, or where it writes none."""
    if "[TOOL_CALLS]" in template:
        return "mistral"
    if "<tool_call>" in template and "<function=" not in template and "<arg_key>" not in template:
        return "hermes"  # Qwen's coders and GLM put XML into the same tag
    if "<|python_tag|>" in template or ("<|start_header_id|>" in template and '"parameters"' in template):
        return "llama3"
    return None


def parse(text: str, form: ToolFormat) -> tuple[ToolCall, ...]:
    """The calls in a piece of text that begins like one; empty if it can't be read."""
    try:
        match form:
            case "generic" | "hermes":
                return _calls(_json(text.strip().removeprefix(OPEN[form]).removesuffix(CLOSE)))
            case "llama3":
                return _sequence(text.strip().removeprefix(OPEN[form]))
            case "mistral":
                return _mistral(text)
    except (ValueError, TypeError, RecursionError):
        return ()


def _mistral(text: str) -> tuple[ToolCall, ...]:
    calls: list[ToolCall] = []
    for part in text.strip().removeprefix(OPEN["mistral"]).split(OPEN["mistral"]):
        calls.extend(_named(part) if ARGS in part else _calls(_json(part)))
    return tuple(calls)


def _named(text: str) -> list[ToolCall]:
    """Calls written as `name[ARGS]{…}`, several in a row."""
    calls: list[ToolCall] = []
    while text.strip():
        found = _NEW_MISTRAL.match(text)
        if not found:
            raise ValueError("no name before the arguments")
        arguments, end = _DECODER.raw_decode(text, found.end())
        calls.append(_call({"name": found[1], "arguments": arguments, "id": found[2] or ""}))
        text = text[end:]
    return calls


def _sequence(text: str) -> tuple[ToolCall, ...]:
    """Calls one after the other, with space, `;` or `,` between them."""
    calls: list[ToolCall] = []
    position = _skip(text, 0)
    while position < len(text):
        value, position = _DECODER.raw_decode(text, position)
        calls.extend(_calls(value))
        position = _skip(text, position)
    return tuple(calls)


def _skip(text: str, position: int) -> int:
    found = _BETWEEN.match(text, position)
    return found.end() if found else position


def _json(text: str) -> object:
    return _DECODER.decode(text.strip())


def _calls(value: object) -> tuple[ToolCall, ...]:
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return tuple(map(_call, values))


def _call(value: object) -> ToolCall:
    if not isinstance(value, dict):
        raise TypeError("a call is an object")
    fields = cast("dict[str, Any]", value)
    inner = fields.get("function")
    if isinstance(inner, dict):
        fields = {**cast("dict[str, Any]", inner), "id": fields.get("id", "")}
    elif isinstance(inner, str):
        fields = {"name": inner, **fields}
    name, identity = fields.get("name"), fields.get("id", "")
    arguments: object = fields.get("arguments", fields.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _json(arguments)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise TypeError("a call has a name and an object of arguments")
    json.dumps([name, arguments], ensure_ascii=False).encode()  # a lone half of a surrogate pair can't be sent on
    return ToolCall(name, cast("dict[str, Any]", arguments), identity if isinstance(identity, str) else "")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def dumps(value: object) -> str:
    """JSON as models write it: with spaces, and letters as they are."""
    return json.dumps(value, ensure_ascii=False, default=dict)


def write(calls: Sequence[ToolCall], form: ToolFormat, *, named: bool = False) -> str:
    """The text of calls, as the model should have written them; `named` is Mistral's newer way."""
    match form:
        case "generic" | "hermes":
            return "\n".join(
                f"{OPEN[form]}{dumps({'name': call.name, 'arguments': call.arguments})}{CLOSE}" for call in calls
            )
        case "llama3":
            return "; ".join(dumps({"name": call.name, "parameters": call.arguments}) for call in calls)
        case "mistral" if named:
            return "".join(f"{OPEN[form]}{call.name}{ARGS}{dumps(call.arguments)}" for call in calls)
        case "mistral":
            return OPEN[form] + dumps([{"name": call.name, "arguments": call.arguments} for call in calls])


def write_result(content: str) -> str:
    """A tool's result as part of a user turn. The result can't end its own frame."""
    return f"<tool_response>{content.replace(_RESULT_END, _BROKEN_END)}{_RESULT_END}>"


def describe(tools: Sequence[ToolSpec], form: ToolFormat, *, named: bool = False) -> str:
    """What to tell a model about its tools in the system prompt."""
    prompt = Path(__file__).with_name("generic_tools.md").read_text(encoding="utf-8")
    example = write([ToolCall("NAME", {"ARGUMENT": "VALUE"})], form, named=named)
    return prompt.strip().replace("{example}", example).replace("{tools}", "\n".join(map(_describe, tools)))


def _describe(tool: ToolSpec) -> str:
    """One line for a tool, and one for each of its parameters that is described."""
    properties = _mapping(tool.parameters.get("properties"))
    required = set(cast("Sequence[str]", tool.parameters.get("required", ())))
    signature = ", ".join(
        f"{name}{'' if name in required else '?'}: {_type(_mapping(schema))}" for name, schema in properties.items()
    )
    lines = [f"- {tool.name}({signature})" + (f": {tool.description}" if tool.description else "")]
    for name, schema in properties.items():
        if description := _mapping(schema).get("description"):
            lines.append(f"  {name}: {description}")
    return "\n".join(lines)


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a word or two; whole where it has parts of its own."""
    if "enum" in schema:
        return " | ".join(map(dumps, schema["enum"]))
    kind = schema.get("type")
    if kind == "array" and (items := _mapping(schema.get("items"))) and "properties" not in items:
        return f"{_type(items)}[]"
    if isinstance(kind, str) and kind not in ("array", "object"):
        return kind
    return dumps({key: value for key, value in schema.items() if key != "description"}) if schema else "any"
