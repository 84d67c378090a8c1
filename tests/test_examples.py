"""The examples run as they stand: the programs on a scripted engine, the data of the tasks as they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from llmos import Kernel
from llmos.runs import Parts

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def said_by(name: str, replies: object = "Fine.", parts: Parts | None = None) -> str:
    async with Kernel.testing(replies, parts=parts) as kernel:  # type: ignore[arg-type]
        return str(await load(name).main(kernel))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


async def test_one_question_prints_its_answer_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert await said_by("one_question", "Rome.") == "Rome."
    assert "tokens" in capsys.readouterr().out


async def test_a_tool_of_ones_own_is_called() -> None:
    assert await said_by("own_tool") == "Order 6 of A-17."


async def test_what_does_not_pass_is_done_again_with_the_reasons() -> None:
    replies = ["Fresh bread, every day, for everybody in our lovely town!", "Bread!", "Bread, baked today."]
    assert await said_by("checked", replies) == "Bread, baked today."


async def test_what_never_passes_is_not_passed_off_as_checked() -> None:
    assert await said_by("checked", ["Bread!", "Rolls!", "Cake!"]) == "nothing that passed"


async def test_the_most_common_of_five_answers_wins() -> None:
    replies = ["Jupiter", "Saturn", "jupiter.", "Jupiter", "Jupiter"]
    assert (await said_by("voted", replies)).startswith(("Jupiter", "jupiter."))


async def test_a_worker_of_ones_own_puts_two_reports_together() -> None:
    said = await said_by("own_worker")
    assert "2,438" in said
    assert "Chair has the most" in said
