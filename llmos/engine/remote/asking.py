"""How an answer under a constraint is asked for, and whether what came keeps it.

A server that can constrain gets the constraint itself; one that knows only JSON schemas gets choices and expressions
wrapped into a JSON object; any other is told in words. Knows no network.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Literal, assert_never, cast

from llmos.engine.remote.server import Server
from llmos.messages import Choices, Constraint, Grammar, JsonSchema, Regex

Json = dict[str, Any]
_FIELD = "answer"
_FENCE = re.compile(r"\A```[\w-]*\n(.*?)\n?```\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asking:
    """One way of asking.

    Attributes:
        name: To remember that a server refused it.
        fields: What it adds to the request.
        words: What the model is told, as a message at the end; empty tells nothing.
        wrapped: Whether the answer comes as a JSON object with one field.
        live: Whether the server holds the model to the form, so that tokens may be passed on at once.
    """

    name: Literal["free", "native", "schema", "loose schema", "words"]
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    words: str = ""
    wrapped: bool = False
    live: bool = False

    def unwrap(self, text: str) -> str:
        """The answer itself, without a wrapping, a code fence or white space around it."""
        if self.wrapped and (answer := _wrapped_answer(text)) is not None:
            return answer
        fence = _FENCE.match(text.strip())
        return fence[1] if fence else text.strip()


FREE = Asking("free", live=True)


def askings(constraint: Constraint | None, server: Server, *, raw: bool) -> list[Asking]:
    """The ways to ask this server, best first; never empty.

    Args:
        constraint: What the answer must keep.
        server: Who is asked.
        raw: Whether the context is raw text, which can be told nothing in words.
    """
    if constraint is None:
        return [FREE]
    ways = list[Asking]()
    if fields := _native(constraint, server, raw=raw):
        ways.append(Asking("native", fields, live=True))
    schema = _schema(constraint)
    if schema is not None and not raw:
        wrapped = not isinstance(constraint, JsonSchema)
        words = _words(constraint) if wrapped else ""
        held = server.kind != "other" and not wrapped
        ways.append(Asking("schema", _response_format(schema, strict=True), words, wrapped, held))
        ways.append(Asking("loose schema", _response_format(schema, strict=False), words, wrapped))
    ways.append(Asking("words", words="" if raw else _words(constraint)))
    return [way for way in ways if way.name not in server.formats_refused] or ways[-1:]


def _native(constraint: Constraint, server: Server, *, raw: bool) -> Json:
    """Fields by which a server takes the constraint as it is; none if it can't."""
    if server.kind == "llama-server":
        # Its grammars are GBNF. Lark is behind a build option whose absence ends the server's process: never sent.
        if isinstance(constraint, Choices):
            return {"grammar": "root ::= " + " | ".join(_gbnf(option) for option in constraint.options)}
        return {"json_schema": constraint.schema} if raw and isinstance(constraint, JsonSchema) else {}
    if server.kind != "vllm":
        return {}
    name, value = _vllm(constraint)
    if _version(server.version) < (0, 11):
        return {f"guided_{name}": value}
    return {"structured_outputs": {name: value}}


def _vllm(constraint: Constraint) -> tuple[str, object]:
    match constraint:
        case JsonSchema(schema):
            return "json", schema
        case Regex(pattern):
            return "regex", pattern
        case Choices(options):
            return "choice", list(options)
        case Grammar(lark):
            return "grammar", lark
        case _:
            assert_never(constraint)


def _version(text: str) -> tuple[int, ...]:
    """Major and minor; an unknown version counts as new."""
    found = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (1, 0)


def _gbnf(option: str) -> str:
    escaped = option.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if ord(char) >= 32 else f"\\x{ord(char):02x}" for char in escaped) + '"'


def _schema(constraint: Constraint) -> Mapping[str, Any] | None:
    """A JSON schema for the answer, or for an object around it; None if there is none."""
    match constraint:
        case JsonSchema(schema):
            return schema
        case Regex(pattern):
            inner: Json = {"type": "string", "pattern": f"^(?:{pattern})$"}
        case Choices(options):
            inner = {"type": "string", "enum": list(options)}
        case Grammar():
            return None
        case _:
            assert_never(constraint)
    return {"type": "object", "properties": {_FIELD: inner}, "required": [_FIELD], "additionalProperties": False}


def _response_format(schema: Mapping[str, Any], *, strict: bool) -> Json:
    described = {"name": "answer", "schema": schema, "strict": strict}
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def _wrapped_answer(text: str) -> str | None:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    answer = cast("Json", value).get(_FIELD) if isinstance(value, dict) else None
    return answer if isinstance(answer, str) else None


@cache
def texts() -> Mapping[str, str]:
    """The words for models, by kind of constraint; `again` asks a second time."""
    loaded = tomllib.loads(files("llmos.engine.remote").joinpath("words.toml").read_text("utf-8"))
    return {name: text.strip() for name, text in loaded.items() if isinstance(text, str)}


def _words(constraint: Constraint) -> str:
    match constraint:
        case JsonSchema(schema):
            shape = json.dumps(schema, ensure_ascii=False, default=dict)
        case Regex(pattern):
            shape = pattern
        case Choices(options):
            shape = "\n".join(options)
        case Grammar(lark):
            shape = lark
        case _:
            assert_never(constraint)
    return texts()[constraint.kind].replace("{shape}", shape)
