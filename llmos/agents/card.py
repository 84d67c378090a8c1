"""What an agent says of itself, in the terms of A2A's agent card (https://a2a-protocol.org) where they fit.

An agent here has no address, so that a card has none; what it may do to the world, which A2A does not know, stands in
an extension. Knows agents by their attributes only.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from llmos.kernel.calls import Effect
from llmos.kernel.entry import AgentCode, Profile
from llmos.kernel.protocols import Device

EXTENSION = "urn:llmos:agent"
"""Names the extension that holds what A2A has no word for."""

_TEXT, _JSON = "text/plain", "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSkill:
    """One thing that an agent can do.

    Attributes:
        examples: Tasks in users' words.
        tags: Words to find it by.
    """

    id: str
    name: str
    description: str
    tags: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCard:
    """What an agent is for, what it takes and gives, and what it may do.

    Attributes:
        input: What it takes, as a JSON schema.
        output: What it gives, as a JSON schema.
        effects: What it may do to the world by the tools that it has; None where they are not known.
        tools: Their names; None for all that there are.
        skills: What it can do.
    """

    name: str
    description: str
    input: Mapping[str, Any]
    output: Mapping[str, Any]
    effects: tuple[Effect, ...] | None = None
    tools: tuple[str, ...] | None = None
    level: str = ""
    engine: str = ""
    skills: tuple[CardSkill, ...] = field(default=())

    def to_json(self) -> str:
        """As A2A writes it, the rest in an extension."""
        return json.dumps(self.as_data(), ensure_ascii=False, indent=2)

    def as_data(self) -> dict[str, Any]:
        """The same as JSON data."""
        output = _TEXT if self.output.get("type") == "string" else _JSON
        more = {
            "input": self.input,
            "output": self.output,
            "effects": None if self.effects is None else list(self.effects),
            "tools": None if self.tools is None else list(self.tools),
            "level": self.level,
            "engine": self.engine,
        }
        return {
            "name": self.name,
            "description": self.description,
            "version": "1",
            "capabilities": {
                "streaming": False,
                "extensions": [{"uri": EXTENSION, "params": {name: value for name, value in more.items() if value}}],
            },
            "defaultInputModes": [_TEXT],
            "defaultOutputModes": [output],
            "skills": [
                {
                    "id": one.id,
                    "name": one.name,
                    "description": one.description,
                    "tags": list(one.tags),
                    "examples": list(one.examples),
                }
                for one in self.skills
            ],
        }


def card_of(name: str, code: AgentCode, devices: Mapping[str, Device] | None = None) -> AgentCard:
    """The card of an agent: one that is declared, a ready-made worker, or a plain function.

    Args:
        devices: The tools that it may be given; without them its effects are known only where it says them itself.
    """
    about = (str(getattr(code, "description", "")) or inspect.getdoc(code) or "").strip().partition("\n")[0]
    examples = tuple(str(one) for one in getattr(code, "examples", ()))
    profile = Profile.of(code)
    tools = profile.tools if profile.tools is not None else _names(getattr(code, "tools", None))
    return AgentCard(
        name=name,
        description=about,
        input=_input(code),
        output=_output(code),
        effects=_effects(code, tools, devices),
        tools=tools,
        level=profile.level or "",
        engine=profile.engine,
        skills=(CardSkill(id=name, name=name, description=about, tags=(name,), examples=examples),),
    )


def _names(tools: object) -> tuple[str, ...] | None:
    return tuple(str(one) for one in cast("tuple[object, ...]", tools)) if isinstance(tools, tuple) else None


def _effects(
    code: AgentCode, tools: tuple[str, ...] | None, devices: Mapping[str, Device] | None
) -> tuple[Effect, ...] | None:
    """What it says itself, or what its tools may do, mildest first."""
    order: tuple[Effect, ...] = get_args(Effect)
    said: object = getattr(code, "effects", None)
    if isinstance(said, tuple):
        return tuple(one for one in order if one in said)
    own = {one.spec.name: one for one in cast("tuple[Device, ...]", getattr(code, "devices", ()))}
    known = {**(devices or {}), **own}
    if tools is None and devices is None:
        return None
    wanted = known if tools is None else tools
    if not set(wanted) <= known.keys() and devices is None:
        return None
    found = {known[tool].traits.effect for tool in wanted if tool in known}
    return tuple(one for one in order if one in found)


def _input(code: AgentCode) -> Mapping[str, Any]:
    call = code if inspect.isfunction(code) else type(code).__call__
    taken = [one.name for one in inspect.signature(call).parameters.values() if one.kind in (0, 1)]
    schema: dict[str, Any] = {"type": "object", "properties": {"task": {"type": "string"}}, "required": ["task"]}
    if "inputs" in taken:
        schema["properties"]["inputs"] = {"type": "object"}
    return schema


def _output(code: AgentCode) -> Mapping[str, Any]:
    output: Any = getattr(code, "output", None)
    if output is not None and hasattr(output, "model_json_schema"):
        return cast("Mapping[str, Any]", output.model_json_schema())
    call = code if inspect.isfunction(code) else type(code).__call__
    returned = inspect.signature(call).return_annotation
    if returned in ("str", str):
        return {"type": "string"}
    if "dict" in str(returned):
        return {"type": "object"}
    return {"type": "string"} if getattr(code, "instructions", None) is not None else {}
