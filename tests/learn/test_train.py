"""Training on a tiny model: it learns, it is the same after a kill as without one, and what is wrong is said."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from llmos.errors import StorageError
from llmos.learn.recipe import Recipe
from llmos.learn.train import FILE, Job, Plan, kept, train
from tests.learn import tiny


def values(folder: Path) -> dict[str, list[bytes]]:
    """What was learnt, bit by bit."""
    return {name: [one.numpy().tobytes() for one in pair] for name, pair in kept(folder / FILE)["adapter"].items()}


def test_it_learns(model: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    plan = Plan(tokens=6_000, sheets=2, rate=5e-3, warm=2)
    state = train(
        Job(model=model, recipe=tiny.recipe, folder=tmp_path, plan=plan),
        tell=lambda state: losses.append(state.losses["words"]),
    )
    assert state.tokens >= 6_000
    assert 0 < state.answers < state.tokens
    assert losses[-1] < losses[0]
    assert kept(tmp_path / FILE)["state"]["tokens"] == state.tokens
    again = train(Job(model=model, recipe=tiny.recipe, folder=tmp_path, plan=plan))
    assert again.steps == state.steps  # it was over


def test_a_killed_training_goes_on_to_the_same_adapter(model: Path, tmp_path: Path) -> None:
    child = get_context("spawn").Process(
        target=tiny.train_on, args=(model, tmp_path / "killed"), kwargs={"steps": 6, "die_at": 4}
    )
    child.start()
    child.join(120)
    assert child.exitcode == -9
    steps: int = kept(tmp_path / "killed" / FILE)["state"]["steps"]
    assert 0 < steps < 4
    tiny.train_on(model, tmp_path / "killed", steps=6 - steps)
    tiny.train_on(model, tmp_path / "whole", steps=6)
    assert values(tmp_path / "killed") == values(tmp_path / "whole")


def test_workers_learn_what_one_learns(model: Path, tmp_path: Path) -> None:
    one = tiny.train_on(model, tmp_path / "one", steps=3)
    two = tiny.train_on(model, tmp_path / "two", steps=3, workers=2)
    assert (one.tokens, one.answers, one.steps) == (two.tokens, two.answers, two.steps)
    assert one.losses["words"] == pytest.approx(two.losses["words"], rel=0.02)


def test_a_training_of_something_else_is_refused(model: Path, tmp_path: Path) -> None:
    tiny.train_on(model, tmp_path, steps=1)
    plan = Plan(tokens=1_000_000, sheets=2)
    job = Job(model=model, recipe=tiny.recipe, folder=tmp_path, plan=plan)
    other = tiny.write_model(tmp_path / "other.gguf", seed=8)
    for wrong in (replace(job, plan=replace(plan, seed=2)), replace(job, model=other), replace(job, recipe=_other)):
        with pytest.raises(StorageError, match="another one") as caught:
            train(wrong, stopped=lambda: True)
        assert caught.value.hint


def _other() -> Recipe:
    return replace(tiny.recipe(), name="other")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_training_is_an_error_that_says_what_to_do(model: Path, tmp_path: Path, share: float) -> None:
    tiny.train_on(model, tmp_path, steps=1)
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(StorageError, match="can't be read") as caught:
        tiny.train_on(model, tmp_path, steps=1)
    assert "aside" in caught.value.hint


def test_a_folder_that_cant_be_written_is_said(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="could not be kept"):
        tiny.train_on(model, tmp_path / "file" / "folder", steps=1)
