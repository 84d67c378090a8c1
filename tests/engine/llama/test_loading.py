"""Loading that is given up leaves nothing, and constraints that can't be used are called by their names."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from llmos import Kernel
from llmos.config import EngineOptions, Settings
from llmos.engine.llama import LlamaEngine, LlamaOptions
from llmos.engine.llama.binding import Model
from llmos.errors import ConstraintError, EngineClosed
from llmos.messages import Choices, Constraint, Grammar, JsonSchema, Regex
from tests.engine.llama.conftest import ask, run

pytestmark = pytest.mark.model


def loading() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name in ("llmos-loading", "llmos-engine")}


def test_a_load_that_is_told_to_stop_ends_without_a_model(model: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(EngineClosed, match="closed while it loaded"):
        Model(model, stop=stop)


@pytest.mark.parametrize("seconds", [0, 0.01, 0.05, 0.1, 0.2, 0.3])
async def test_a_load_that_is_cancelled_at_any_moment_leaves_no_thread(model: Path, seconds: float) -> None:
    before = loading()
    task = asyncio.create_task(LlamaEngine.load(model, LlamaOptions(context=512, cells=512, slots=2)))
    await asyncio.sleep(seconds)
    if task.cancel():
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await (await task).close()
    end = time.monotonic() + 30
    while loading() - before:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_a_kernel_that_is_closed_while_it_loads_leaves_no_thread(model: Path) -> None:
    before = loading()
    kernel = Kernel(settings=Settings(model=str(model), engine=EngineOptions(context=512)))
    kernel.start()
    await asyncio.sleep(0.1)
    await kernel.close()
    assert kernel.state == "closed"
    end = time.monotonic() + 30
    while loading() - before:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("constraint", "said", "hint"),
    [
        (Regex("a("), "The regular expression can't be used:\n    a(\n     ^\nerror: unclosed group", "Rust's regex"),
        (Regex(r"(a)\1"), "backreferences are not supported", "Rust's regex"),
        (JsonSchema({"type": "strin"}), "The JSON schema can't be used: Invalid type: strin", "JSON schema"),
        (JsonSchema({"x": object}), "The JSON schema can't be used: ", "JSON schema"),
        (Choices(("a", "")), "A choice needs at least one option and no empty ones", "none is empty"),
        (Choices(("\ud800",)), "The list of choices can't be used: ", "none is empty"),
        (Grammar("start: unknown"), "The grammar can't be used: ", "Lark"),
    ],
)
@pytest.mark.asyncio(loop_scope="session")
async def test_a_constraint_that_can_not_be_used_is_called_by_its_name(
    engine: LlamaEngine, constraint: Constraint, said: str, hint: str
) -> None:
    with pytest.raises(ConstraintError) as error:
        await run(engine, ask("Hello", constraint=constraint))
    assert said in error.value.message
    assert hint in error.value.hint
    if not isinstance(constraint, JsonSchema):
        assert "schema" not in f"{error.value}".lower()
    assert "start: /" not in error.value.message
