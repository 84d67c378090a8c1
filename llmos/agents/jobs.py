"""The kernel's own jobs as the model sees them: choose a tool, fill in its arguments, find who does a task, read
passages, judge, choose a control, extract, title, summarize, write a short program.

One place says the words, for the agents that ask and for the microcode that is trained to answer. Texts are in
`jobs.toml`. Knows no engine and no tool's insides.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from llmos.agents.noticing import noticed
from llmos.messages import Context, Message, ToolSpec

Job = Literal[
    "choose", "fill", "whom", "read", "verdict", "browse", "extract", "title", "summary", "know", "program", "chat"
]
JOBS: tuple[Job, ...] = get_args(Job)

ANSWER, ASK = "answer", "ask"
"""Choices beside the tools: talk, or all is done; and the request lacks what the tool needs."""

NOT_FOUND = "not found"

VERDICTS = (
    "pass",
    "fail: wrong value",
    "fail: missing part",
    "fail: not in the source",
    "fail: wrong form",
    "fail: off topic",
    "can't tell",
)

DECISIONS: Mapping[str, str] = {
    "answer": "talk, explain, or write from what everybody knows",
    "retrieve": "what the user said, prefers or keeps in documents and notes",
    "act": "something is to be done, calculated or looked up with a tool",
}
"""The ways of `whom` for the first decision about a request."""

_SHORT = 160
_RESULT = 300


@dataclass(frozen=True, slots=True)
class Done:
    """A call that was made for a request, and what it gave."""

    name: str
    arguments: Mapping[str, Any]
    result: str


def choose(tools: Sequence[ToolSpec], request: str, done: Sequence[Done] = ()) -> Context:
    """Which tool comes next: its name, `ANSWER` or `ASK`."""
    listed = "\n".join(_tool_line(tool) for tool in tools)
    return _chat(_text("choose", "system").format(tools=listed), told(request, done))


def choose_in_turn(tools: Sequence[ToolSpec], request: str, done: Sequence[Done] = ()) -> tuple[Context, Context]:
    """As `choose`, and with the last tool first, for where the first form leaves doubt."""
    return choose(tools, request, done), choose(tools[::-1], request, done)


def fill(tool: ToolSpec, request: str, done: Sequence[Done] = ()) -> Context:
    """The arguments of a call, as a JSON object."""
    parameters = "\n".join(_parameter_line(tool, name) for name in tool.parameters.get("properties", {}))
    system = _text("fill", "system").format(name=tool.name, description=_first(tool.description), parameters=parameters)
    return _chat(system, told(request, done))


def told(request: str, done: Sequence[Done]) -> str:
    """A request with what was done for it."""
    if not done:
        return request
    lines = "\n".join(
        _text("done", "line").format(
            name=one.name, arguments=arguments(one.arguments), result=_cut(one.result, _RESULT)
        )
        for one in done
    )
    return _text("done", "head").format(request=request, lines=lines)


def arguments(values: Mapping[str, Any]) -> str:
    """Arguments as the model writes them."""
    return json.dumps(dict(values), ensure_ascii=False)


def whom(ways: Mapping[str, str], request: str) -> Context:
    """Who does a task, of some by name with what each is for."""
    listed = "\n".join(f"- {name}: {_cut(_first(about), _SHORT)}" for name, about in ways.items())
    return _chat(_text("whom", "system").format(ways=listed), request)


def decide(request: str) -> Context:
    """Whether a request is answered, looked up, or acted on: one of `DECISIONS`."""
    return whom(DECISIONS, request)


def read(passages: Sequence[str], question: str) -> Context:
    """The answer to a question from passages: `found` or `NOT_FOUND`."""
    listed = "\n".join(f"[{number}] {' '.join(text.split())}" for number, text in enumerate(passages, 1))
    return _chat(_text("read", "system"), _text("read", "user").format(passages=listed, question=question))


def found(answer: str, passage: int) -> str:
    """An answer that stands in a passage, whose number is from 1."""
    return f"{answer} [{passage}]"


def verdict(task: str, work: str, source: str = "") -> Context:
    """What is to be said of some work: one of `VERDICTS`. What code sees of it is said too."""
    shown = _text("verdict", "source").format(source=source) if source else ""
    seen = noticed(task, work, source)
    user = _text("verdict", "user").format(task=task, work=work, source=shown, seen=seen)
    return _chat(_text("verdict", "system"), user)


def browse(page: str, controls: Sequence[str], instruction: str) -> Context:
    """Which control of a page an instruction means: its title."""
    listed = "\n".join(f"- {one}" for one in controls)
    user = _text("browse", "user").format(page=page, controls=listed, instruction=instruction)
    return _chat(_text("browse", "system"), user)


def extract(fields: Mapping[str, Any], text: str) -> Context:
    """Values out of a text, as a JSON object.

    Args:
        fields: A JSON schema of type object.
    """
    spec = ToolSpec("", "", {**fields, "required": list(fields.get("properties", {}))})
    listed = "\n".join(_parameter_line(spec, name) for name in fields.get("properties", {}))
    return _chat(_text("extract", "system").format(fields=listed), text)


def title(conversation: Sequence[Message]) -> Context:
    """A title of a conversation."""
    return _chat(_text("title", "system"), _transcript(conversation))


def summary(conversation: Sequence[Message]) -> Context:
    """A conversation in one or two sentences."""
    return _chat(_text("summary", "system"), _transcript(conversation))


def know(question: str) -> Context:
    """Whether the model knows the answer to a question: `yes` or `no`."""
    return _chat(_text("know", "system"), question)


def program(request: str) -> Context:
    """A short Python program that prints what a request wants to know."""
    return _chat(_text("program", "system"), request)


# -- words


@cache
def _texts() -> dict[str, dict[str, str]]:
    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    del data["version"]
    return {name: {key: str(text).removeprefix("\n") for key, text in part.items()} for name, part in data.items()}


def _text(job: str, name: str) -> str:
    return _texts()[job][name]


def _chat(system: str, user: str) -> Context:
    return Context(messages=(Message("system", system.rstrip()), Message("user", user)))


def _transcript(conversation: Sequence[Message]) -> str:
    return "\n".join(f"{one.role}: {_cut(' '.join(one.content.split()), _RESULT)}" for one in conversation)


def _tool_line(tool: ToolSpec) -> str:
    required = tool.parameters.get("required", ())
    names = ", ".join(name if name in required else f"{name}?" for name in tool.parameters.get("properties", {}))
    return f"- {tool.name}({names}): {_cut(_first(tool.description), _SHORT)}"


def _parameter_line(tool: ToolSpec, name: str) -> str:
    schema: Mapping[str, Any] = tool.parameters["properties"][name]
    optional = "" if name in tool.parameters.get("required", ()) else ", optional"
    note = _cut(_first(str(schema.get("description", ""))), _SHORT)
    return f"- {name} ({_kind(schema)}{optional}){f': {note}' if note else ''}"


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(str(one) for one in schema["enum"])
    match schema.get("type"):
        case "integer" | "number":
            return "number"
        case "boolean":
            return "true or false"
        case "array":
            return f"list of {_kind(schema.get('items', {}))}"
        case "object":
            return "object"
        case _:
            return "text"


def _first(text: str) -> str:
    return text.strip().partition("\n")[0]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


@cache
def fingerprint() -> str:
    """Identifies these forms: microcode that was trained on others does not fit."""
    tool = ToolSpec(
        "put", "Put it.\nMore.", {"type": "object", "properties": {"n": {"type": "integer"}, "to": {"enum": ["a", "b"]},
        "all": {"type": "boolean"}, "names": {"type": "array"}}, "required": ["n"]},
    )  # fmt: skip
    talk = (Message("user", "Hi."), Message("assistant", "Hello."))
    done = [Done("put", {"n": 1}, "x" * 400)]
    forms = [
        choose([tool], "do", done), fill(tool, "do", done), decide("do"), read(["a b", "c"], "who?"),
        verdict("t", "w", "s"), verdict("t", "w"), browse("p", ["button Go"], "go"), extract(tool.parameters, "text"),
        title(talk), summary(talk), know("what?"), program("do"),
    ]  # fmt: skip
    said = [[one.role, one.content] for form in forms for one in form.messages]
    said += [["found", found("a", 2)], ["not found", NOT_FOUND], ["verdicts", "|".join(VERDICTS)]]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]
