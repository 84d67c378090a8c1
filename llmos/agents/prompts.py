"""What the default agent says to the model, from `prompts.toml`. Knows no tool."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Prompts:
    """Texts with `{holes}`; see `prompts.toml`."""

    version: int
    chat: str
    choose: str
    talk: tuple[str, ...]
    blank: str
    about: str
    value: str
    plan: str
    unsure: str
    cannot: str


@cache
def prompts() -> Prompts:
    """The prompts, read once."""
    data = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    texts = {
        name: str(data[name]) for name in ("chat", "choose", "blank", "about", "value", "plan", "unsure", "cannot")
    }
    return Prompts(version=int(data["version"]), talk=tuple(data["talk"]), **texts)
