"""The first lines and the status line: what runs here, and what to expect of it. Knows no terminal library."""

from __future__ import annotations

import os
from pathlib import PurePath

from llmos import __version__
from llmos.errors import LlmosError
from llmos.messages import EngineInfo
from llmos.shell.session import LOW_CONFIDENCE, Session
from llmos.shell.waiting import PREPARES

EXPECT = (
    "This small model (135 million parameters) is here so that llmos works at once. It is quick and often wrong: "
    "it knows few facts, and code and your documents carry most of what it does."
)


def label(spec: str | None) -> str:
    """A short name for a model that is not loaded yet."""
    return PurePath((spec or "").rpartition("#")[2]).name or spec or "the model"


def chosen(spec: str | None) -> str:
    """A short name for a model that is not loaded yet; where none is named, that of the chosen one.

    Looks at the model store: takes a moment.
    """
    from llmos.engine import store
    from llmos.engine.store import builtin

    try:
        spec = spec or store.current()
    except LlmosError:  # loading it will say so
        return label(spec)
    return builtin.NAME if spec == "default" else label(spec)


def headline(model: str, info: EngineInfo | None) -> str:
    """The first line: version, model, context, cores.

    Args:
        model: What to say of the model while nothing is known of it.
    """
    parts = [f"llmos {'.'.join(__version__.split('.')[:2])}", model if info is None else info.name]
    if info is not None and info.context:
        parts.append(f"{info.context:,} context")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts.append("1 core" if cores == 1 else f"{cores} cores")
    return " · ".join(parts)


def mode(session: Session) -> str:
    """That answers use tools; "" where they don't."""
    return f"tools are on, level {session.settings.level}; /tools off only talks" if session.tools else ""


_HOW = ("quantization", "microcode", "layers on GPU", "memory")


def how(info: EngineInfo) -> str:
    """How the model is run: quantization, microcode, layers on the GPU, memory, chat template, tool format; "" where
    nothing is known. What is off is not among it."""
    found = {name: info.details[name] for name in _HOW if name in info.details}
    facts = [f"{name}: {said}" for name, said in found.items() if not said.startswith("off: ")]
    return " · ".join([*facts, f"template: {info.template}", f"tools: {info.tool_format}"]) if facts else ""


def notes(spec: str | None) -> list[str]:
    """What to expect of the model that comes with llmos, and how to get a better one; nothing for other models.

    Looks at the model store and at the hardware: takes a moment, to be called when the model is loaded.

    Raises:
        StorageError: The store's note of the chosen model is damaged.
    """
    if spec not in (None, "", "default"):
        return []
    from llmos.engine import hardware
    from llmos.engine.store import catalogue, current

    if (spec or current()) != "default":
        return []
    return [EXPECT, catalogue.recommend_line(hardware.detect())]


def pending(session: Session) -> str:
    """What to say of a model that is not there yet, or could not be loaded."""
    name = label(session.settings.model)
    return f"{name} could not be loaded" if session.kernel.state == "failed" else f"loading {name}"


def status(session: Session, *, loading_seconds: float, prepares: bool = False) -> list[tuple[str, str]]:
    """The parts of the status line, the most important first, each with a kind: `""`, `wait`, `low` or `bad`.

    Args:
        loading_seconds: How long the model has been loading.
        prepares: It is prepared for this processor first.
    """
    info = session.kernel.info
    if info is None:
        if session.kernel.state == "failed":
            return [("bad", pending(session)), ("", "/model NAME for another one")]
        patience = [("", PREPARES)] if prepares else []
        return [("wait", f"{pending(session)} … {loading_seconds:.0f} s"), *patience]
    parts = [("", info.name)]
    if info.context:
        used = session.tokens_used
        full = info.context and used > 0.9 * info.context
        parts.append(("low" if full else "", f"{used:,} of {info.context:,} tokens"))
    if session.confidence is not None:
        low = session.confidence < LOW_CONFIDENCE
        parts.append(
            ("low", f"low confidence {session.confidence:.2f}") if low else ("", f"confidence {session.confidence:.2f}")
        )
    if session.turns and session.turns[-1].pid:
        parts.append(("", f"pid {session.turns[-1].pid}, {session.turns[-1].usage.seconds:.1f} s"))
    if session.tokens_per_second:
        parts.append(("", f"{session.tokens_per_second:.0f} tokens/s"))
    return parts


def fitting(parts: list[tuple[str, str]], columns: int) -> list[tuple[str, str]]:
    """The parts of a status line that fit beside each other, with ` · ` between them; the first one always."""
    width, fit = 0, 0
    for _, text in parts:
        width += len(text) + (3 if fit else 0)
        if width > columns and fit:
            break
        fit += 1
    return parts[:fit]
