"""Chat formats of every kind, made once: templates in the style of well-known ones."""

from __future__ import annotations

import functools
from pathlib import Path

from llmos.engine.chat import ChatFormat
from llmos.messages import ToolSpec

TEMPLATES = Path(__file__).with_name("templates")
BOS, EOS = "<s>", "</s>"

WEATHER = ToolSpec(
    "weather",
    "Weather in a town.",
    {
        "type": "object",
        "properties": {"town": {"type": "string", "description": "Its name"}, "days": {"type": "integer"}},
        "required": ["town"],
    },
)
CALCULATOR = ToolSpec(
    "calculator", "", {"type": "object", "properties": {"sum": {"type": "string"}}, "required": ["sum"]}
)
TOOLS = (WEATHER, CALCULATOR)


def template(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


@functools.cache
def chat(name: str) -> ChatFormat:
    """The format of a sample template; `chatml` is the built-in one."""
    return ChatFormat.from_template(None if name == "chatml" else template(name), bos=BOS, eos=EOS)
