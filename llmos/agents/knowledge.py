"""What the router knows of tasks and of those who do them, from `routes.toml`. Knows no agent's code."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def knowledge() -> Mapping[str, Any]:
    """What stands in `routes.toml`, read once."""
    return tomllib.loads(Path(__file__).with_name("routes.toml").read_text(encoding="utf-8"))
