"""llmos, an operating system for language-model agents: its public names, each imported when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmos.agents.agent import Agent
    from llmos.agents.sync import verify_and_retry
    from llmos.boot import Answer, Kernel
    from llmos.config import EngineOptions, Settings, load_settings
    from llmos.errors import LlmosError
    from llmos.events import Event, Finished, Notice, Started, Token, Usage
    from llmos.kernel.entry import Profile
    from llmos.messages import (
        GREEDY,
        Choices,
        Context,
        Generate,
        Grammar,
        JsonSchema,
        Message,
        Regex,
        Sampling,
        Score,
        Scores,
        ToolCall,
        ToolSpec,
    )
    from llmos.tools.tool import tool

__version__ = "0.1.0"

_MODULES = {
    "agents.agent": ("Agent",),
    "agents.sync": ("verify_and_retry",),
    "boot": ("Answer", "Kernel"),
    "config": ("EngineOptions", "Settings", "load_settings"),
    "errors": ("LlmosError",),
    "events": ("Event", "Finished", "Notice", "Started", "Token", "Usage"),
    "kernel.entry": ("Profile",),
    "messages": (
        "GREEDY",
        "Choices",
        "Context",
        "Generate",
        "Grammar",
        "JsonSchema",
        "Message",
        "Regex",
        "Sampling",
        "Score",
        "Scores",
        "ToolCall",
        "ToolSpec",
    ),
    "tools.tool": ("tool",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "GREEDY",
    "Agent",
    "Answer",
    "Choices",
    "Context",
    "EngineOptions",
    "Event",
    "Finished",
    "Generate",
    "Grammar",
    "JsonSchema",
    "Kernel",
    "LlmosError",
    "Message",
    "Notice",
    "Profile",
    "Regex",
    "Sampling",
    "Score",
    "Scores",
    "Settings",
    "Started",
    "Token",
    "ToolCall",
    "ToolSpec",
    "Usage",
    "__version__",
    "load_settings",
    "tool",
    "verify_and_retry",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
