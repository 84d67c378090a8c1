"""Which attention is used: what was measured on this processor, or plain where nothing is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmos.engine.llama import LlamaEngine, LlamaOptions
from llmos.engine.store import attention, tune_cache
from llmos.engine.store.builtin import find
from llmos.errors import EngineCrashed
from tests.engine.llama.conftest import ask, run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    return tmp_path


def note() -> Any:  # noqa: ANN401  # JSON
    return json.loads((tune_cache.folder() / "attention.json").read_text(encoding="utf-8"))


@pytest.mark.model
def test_it_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not attention.flash()
    attention.decide()
    found = note()
    assert 0.2 < found["one"] < 5
    assert 0.2 < found["many"] < 5
    assert attention.flash() == (found["one"] <= attention.WORST_SINGLE and found["one"] * found["many"] < 1)

    def again(*_: object, **__: object) -> dict[str, float]:
        raise AssertionError("it was known")

    monkeypatch.setattr(attention, "compare_attention", again)
    attention.decide()


@pytest.mark.parametrize(
    ("one", "many", "flash"),
    [(0.9, 0.5, True), (1.05, 0.8, True), (1.05, 0.97, False), (1.6, 0.3, False), (0.99, 1.2, False)],
)
def test_a_single_stream_counts_as_much_as_many(
    monkeypatch: pytest.MonkeyPatch, one: float, many: float, flash: bool
) -> None:
    figures = {"one_plain": 0.01, "one_flash": one * 0.01, "many_plain": 0.05, "many_flash": many * 0.05}

    def compared(*_: object, **__: object) -> dict[str, float]:
        return figures

    monkeypatch.delenv("LLMOS_FORBID_REAL_MODELS", raising=False)
    monkeypatch.setattr(attention, "compare_attention", compared)
    attention.decide()
    assert attention.flash() == flash


def test_where_it_can_not_be_measured_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> dict[str, float]:
        raise EngineCrashed("The child died.")

    monkeypatch.delenv("LLMOS_FORBID_REAL_MODELS", raising=False)
    monkeypatch.setattr(attention, "compare_attention", fails)
    attention.decide()
    assert not attention.flash()


@pytest.mark.parametrize("text", ["", "[]", '{"flash": true}', '{"version": 1, "machine": {}, "flash": true}', "\x00"])
def test_a_note_of_another_machine_or_a_damaged_one_says_nothing(text: str) -> None:
    tune_cache.folder().mkdir(parents=True)
    (tune_cache.folder() / "attention.json").write_text(text, encoding="utf-8")
    assert not attention.flash()


@pytest.mark.model
async def test_both_kinds_say_the_same_and_state_of_the_one_is_no_state_of_the_other(tmp_path: Path) -> None:
    said: list[str] = []
    for flash in (False, True):
        engine = await LlamaEngine.load(find().path, LlamaOptions(context=512, cells=1024, slots=4, flash=flash))
        _, done = await run(engine, ask("What is the capital of France? One word.", max_tokens=6))
        said.append(done.message.content)
        if flash:
            restored = await engine.restore(tmp_path / "saved")
            _, again = await run(engine, ask(restored, max_tokens=4))
            assert again.usage.generated_tokens == 4
        else:
            await engine.save(done.context, tmp_path / "saved")
        await engine.close()
    assert said[0] == said[1]
