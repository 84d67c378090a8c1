"""Which of llama.cpp's two kinds of attention is the faster one on this processor: measured once, and kept.

Flash attention passes over cells that a row does not see, which counts when many streams share a cache, but computes
each cell it does see one by one; plain attention multiplies whole matrices. Which wins depends on the processor more
than on the model (docs/decisions.md), so it is measured with the embedded one, in a child process. Knows no engine.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from llmos.config import write_atomically
from llmos.engine.guard import real_models_forbidden
from llmos.engine.hardware import detect
from llmos.engine.store.builtin import find
from llmos.engine.store.microcode import merged_path
from llmos.engine.store.tune_cache import folder, machine_key, tuned_path
from llmos.engine.store.tune_child import compare_attention
from llmos.errors import LlmosError

WORST_SINGLE = 1.1
"""How much longer a single stream's step may take with flash attention, whatever it brings to many."""

_VERSION = 1


def flash() -> bool:
    """Whether flash attention is known to be the better choice on this processor; False where nothing is known."""
    return bool((_note() or {}).get("flash"))


def decide(*, stop: threading.Event | None = None) -> None:
    """Measure it, which takes some seconds, unless it is known; where that fails, nothing is known.

    Args:
        stop: Set by another thread to have it given up.
    """
    if real_models_forbidden() or _note() is not None:
        return
    hardware = detect()
    if hardware.offload:
        return
    with suppress(LlmosError):
        shipped = find().path
        figures = compare_attention(
            merged_path(shipped) or tuned_path(shipped) or shipped, threads=hardware.threads, stop=stop
        )
        one = figures["one_flash"] / figures["one_plain"]
        many = figures["many_flash"] / figures["many_plain"]
        note = {"flash": one <= WORST_SINGLE and one * many < 1, "one": round(one, 3), "many": round(many, 3)}
        write_atomically(_file(), json.dumps({"version": _VERSION, "machine": machine_key(), **note}, indent=1))


def _note() -> dict[str, Any] | None:
    try:
        found: object = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    note = cast("dict[str, Any]", found)
    return note if (note.get("version"), note.get("machine")) == (_VERSION, machine_key()) else None


def _file() -> Path:
    return folder() / "attention.json"
