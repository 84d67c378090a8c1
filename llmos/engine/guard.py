"""The switch that makes any use of a real model an error, for tests. Knows no engine: engines ask it."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

from llmos.errors import RealModelForbidden

VARIABLE = "LLMOS_FORBID_REAL_MODELS"


def real_models_forbidden() -> bool:
    """Whether the environment forbids real models: `LLMOS_FORBID_REAL_MODELS` is set to anything but "" or "0"."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


def check_real_model_allowed(what: str) -> None:
    """Called by every engine with a real model behind it, before it loads or connects.

    Args:
        what: What is about to be used, for people: a file or an address.

    Raises:
        RealModelForbidden: The switch is on.
    """
    if real_models_forbidden():
        raise RealModelForbidden(
            f"Refused to use {what!r}: {VARIABLE} is set.",
            hint=f"Use llmos.engine.scripted.ScriptedEngine in this test, or unset {VARIABLE}.",
        )


@contextmanager
def forbid_real_models() -> Generator[None]:
    """Forbid real models inside a `with` block, child processes included (the switch is an environment variable)."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
