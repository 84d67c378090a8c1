"""Which adapter a model runs with, its merged form, and what is wrong with files and disks."""

from __future__ import annotations

import json
import threading
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

from llmos.config import EngineOptions
from llmos.engine import adapters, open_engine
from llmos.engine.gguf import read_header
from llmos.engine.llama import LlamaEngine, LlamaOptions
from llmos.engine.store import library, microcode, tune_cache
from llmos.errors import ConfigError, EngineClosed, ModelInvalid, ModelNotFound, StorageError
from llmos.events import Finished
from llmos.messages import GREEDY, Context, Generate, Score
from tests.learn import tiny


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(microcode, "SHIPPED", tmp_path / "shipped" / "kernel.gguf")
    monkeypatch.setattr("llmos.engine.store.attention.real_models_forbidden", _yes)  # it measures for seconds
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture
def first(home: Path, model: Path) -> Path:
    return tiny.write_adapter(home / "first.gguf", model)


@pytest.fixture
def second(home: Path, model: Path) -> Path:
    return tiny.write_adapter(home / "second.gguf", model, name="second", seed=2)


def _yes() -> bool:
    return True


def told(model: Path, setting: str = "on") -> tuple[Path | None, list[str]]:
    said: list[str] = []
    return microcode.merged(model, setting=setting, tell=said.append), said


def ship(model: Path) -> None:
    microcode.SHIPPED.parent.mkdir()
    tiny.write_adapter(microcode.SHIPPED, model, name="kernel", seed=3)


# -- choosing


def test_without_any_adapter_a_model_runs_as_it_is(model: Path) -> None:
    assert microcode.installed(model) == []
    assert microcode.chosen(model) is None
    assert told(model) == (None, [])
    assert microcode.state(model) == ""


def test_an_installed_adapter_is_used_once_it_is_chosen(model: Path, first: Path) -> None:
    assert microcode.install(first, model) == "first"
    assert microcode.chosen(model) is None
    microcode.use("first", model)
    assert microcode.chosen(model) == microcode.folder() / "first.gguf"
    (listed,) = microcode.installed(model)
    assert (listed.name, listed.tokens, listed.model, listed.fits, listed.in_use) == ("first", 1000, "Tiny", True, True)
    assert microcode.installed()[0].fits is None


def test_the_shipped_adapter_is_used_until_another_is_chosen(model: Path, first: Path, home: Path) -> None:
    ship(model)
    assert microcode.chosen(model) == microcode.SHIPPED
    microcode.use(microcode.install(first, model), model)
    assert microcode.chosen(model) == microcode.folder() / "first.gguf"
    microcode.use(None, model)
    assert microcode.chosen(model) is None
    microcode.use("kernel", model)
    assert microcode.chosen(model) == microcode.SHIPPED
    other = tiny.write_model(home / "other.gguf", seed=9)
    assert microcode.chosen(other) is None


def test_going_back_undoes_one_choice_after_the_other(model: Path, first: Path, second: Path) -> None:
    ship(model)
    for adapter in (first, second):
        microcode.use(microcode.install(adapter, model), model)
    microcode.use("second", model)  # again: no other choice
    microcode.use(None, model)
    assert [microcode.rollback(model) for _ in range(3)] == ["second", "first", "kernel"]
    with pytest.raises(ConfigError, match="nothing to go back to"):
        microcode.rollback(model)


def test_the_same_adapter_is_kept_once_and_another_of_its_name_beside_it(model: Path, first: Path, home: Path) -> None:
    assert microcode.install(first, model) == "first"
    assert microcode.install(first, model) == "first"
    same_name = tiny.write_adapter(home / "x.gguf", model, seed=5)
    assert microcode.install(same_name, model) == "first-2"
    assert microcode.install(same_name, model, name="../../evil off/name") == "evil-off-name"
    assert microcode.install(same_name, model, name="off") == "off-own"


def test_an_unknown_name_is_refused_and_changes_nothing(model: Path) -> None:
    with pytest.raises(ModelNotFound, match="'ghost'"):
        microcode.use("ghost", model)
    assert not (microcode.folder() / "chosen.json").exists()


@pytest.mark.parametrize("content", ["", "{", '{"version": 9, "models": {}}', '{"version": 1, "models": {"a": 3}}'])
def test_a_damaged_note_is_an_error_that_says_what_to_do(model: Path, first: Path, content: str) -> None:
    microcode.install(first, model)
    (microcode.folder() / "chosen.json").write_text(content)
    with pytest.raises(StorageError, match="damaged") as caught:
        microcode.chosen(model)
    assert "aside" in caught.value.hint
    path, said = told(model)
    assert path is None
    assert "damaged" in said[0]


def _choose(home: str, model: Path, name: str) -> None:
    import os

    os.environ["LLMOS_HOME"] = home
    for _ in range(20):
        microcode.use(name, model)
        microcode.use(None, model)


def test_processes_that_choose_at_once_lose_no_choice(model: Path, first: Path, second: Path, home: Path) -> None:
    others = [tiny.write_model(home / f"other{seed}.gguf", seed=seed) for seed in (11, 12)]
    names = [microcode.install(tiny.write_adapter(home / f"{one.stem}.a", one, name=one.stem), one) for one in others]
    context = get_context("spawn")
    running = [
        context.Process(target=_choose, args=(str(home / "home"), *pair)) for pair in zip(others, names, strict=True)
    ]
    for one in running:
        one.start()
    for one in running:
        one.join(60)
        assert one.exitcode == 0
    stored = json.loads((microcode.folder() / "chosen.json").read_text())["models"]
    assert [len(choice["history"]) for choice in stored.values()] == [20, 20]


# -- bad adapters


def test_an_adapter_for_another_model_is_refused(model: Path, first: Path, home: Path) -> None:
    other = tiny.write_model(home / "other.gguf", seed=9)
    for attempt in (lambda: microcode.install(first, other), lambda: adapters.merge(other, first, home / "m.gguf")):
        with pytest.raises(ModelInvalid, match="made for 'Tiny'") as caught:
            attempt()
        assert "llmos learn train" in caught.value.hint
    microcode.install(first, model)
    with pytest.raises(ModelInvalid):
        microcode.use("first", other)
    path, said = told(other, "first")
    assert path is None
    assert "another model" in said[0]
    assert said[0].endswith("runs without microcode.")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_adapter_is_refused(model: Path, first: Path, home: Path, share: float) -> None:
    cut = home / "cut.gguf"
    data = first.read_bytes()
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelInvalid):
        microcode.install(cut, model)
    microcode.folder().mkdir(parents=True)
    (microcode.folder() / "cut.gguf").write_bytes(cut.read_bytes())
    assert microcode.installed(model)[0].problem
    path, said = told(model, "cut")
    assert path is None
    assert len(said) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_with_values_that_are_no_numbers_is_refused(
    model: Path, first: Path, home: Path, value: float
) -> None:
    bad = tiny.damage(first, home / "bad.gguf", value)
    with pytest.raises(ModelInvalid, match="no numbers"):
        microcode.install(bad, model)
    microcode.folder().mkdir(parents=True)
    (microcode.folder() / "bad.gguf").write_bytes(bad.read_bytes())
    with pytest.raises(ModelInvalid, match="no numbers"):
        microcode.use("bad", model)
    path, said = told(model, "bad")
    assert path is None
    assert "no numbers" in said[0]


def test_an_adapter_with_notes_that_cant_be_is_refused(model: Path, home: Path) -> None:
    bad: list[dict[str, Any]] = [
        {"temperatures": {"choose": 0.0}},
        {"thresholds": {"ask": float("nan")}},
        {"temperatures": 3},
    ]
    for wrong in bad:
        with pytest.raises(ModelInvalid, match="notes"):
            adapters.notes(tiny.write_adapter(home / "wrong.gguf", model, **wrong))
    with pytest.raises(ModelInvalid, match="no microcode"):
        adapters.notes(model)


# -- the merged model


def test_the_merged_weights_are_those_of_model_and_adapter(model: Path, first: Path) -> None:
    microcode.use(microcode.install(first, model), model)
    path, said = told(model)
    assert path is not None
    assert said == []
    change = adapters.read(first)
    before = {one.name: one for one in GGUFReader(model).tensors}
    for one in GGUFReader(path).tensors:
        wanted = dequantize(np.array(before[one.name].data), before[one.name].tensor_type)
        if one.name in change.pairs:
            wanted = wanted + change.change(one.name)
        found = dequantize(np.array(one.data), one.tensor_type)
        assert np.abs(found - wanted).max() <= np.abs(wanted).max() / 127
    header = read_header(path)
    assert header.file_type == "Q8_0"
    assert header.chat_template == read_header(model).chat_template
    assert adapters.merged_notes(header) == change.notes
    assert adapters.merged_notes(read_header(model)) is None


def test_it_is_made_once_and_again_for_another_adapter(model: Path, first: Path, second: Path) -> None:
    names = [microcode.install(adapter, model) for adapter in (first, second)]
    microcode.use(names[0], model)
    assert microcode.merged_path(model) is None
    assert microcode.state(model).endswith("merged into the model when it is opened next")
    one = microcode.merged(model)
    assert one is not None
    made = one.stat().st_mtime_ns
    assert microcode.merged(model) == one == microcode.merged_path(model) == library.resolve(str(model)).path
    assert one.stat().st_mtime_ns == made
    assert microcode.merged_path(model, setting="off") is None
    microcode.use(names[1], model)
    assert microcode.merged_path(model) is None
    other = microcode.merged(model)
    assert other is not None
    assert other != one
    assert not one.exists()
    assert {file.suffix for file in tune_cache.folder().iterdir()} == {".gguf", ".json"}
    assert library.remove(str(model)) > 0
    assert not other.exists()


def test_a_merged_file_that_was_cut_or_deleted_is_made_again(model: Path, first: Path) -> None:
    microcode.use(microcode.install(first, model), model)
    path = microcode.merged(model)
    assert path is not None
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert microcode.merged_path(model) is None
    assert microcode.merged(model) == path
    assert path.read_bytes() == whole


def test_a_setting_names_another_adapter_or_none(model: Path, first: Path, second: Path) -> None:
    for adapter in (first, second):
        microcode.install(adapter, model)
    microcode.use("first", model)
    path, _ = told(model, "second")
    assert path is not None
    notes = adapters.merged_notes(read_header(path))
    assert notes is not None
    assert notes.name == "second"
    assert told(model, "off") == (None, [])
    path, said = told(model, "ghost")
    assert path is None
    assert "ghost" in said[0]


def test_a_full_disk_leaves_the_plain_model(model: Path, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    microcode.use(microcode.install(first, model), model)

    def usage(place: Path) -> SimpleNamespace:
        return SimpleNamespace(free=1 << 10)

    monkeypatch.setattr("llmos.engine.store.tune.shutil.disk_usage", usage)
    path, said = told(model)
    assert path is None
    assert "MB of disk" in said[0]


def test_too_little_memory_leaves_the_plain_model(model: Path, first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    microcode.use(microcode.install(first, model), model)

    def little(hardware: object) -> int:
        return 1 << 20

    monkeypatch.setattr(microcode, "usable_ram", little)
    path, said = told(model)
    assert path is None
    assert "memory" in said[0]


def test_merging_can_be_given_up_and_leaves_nothing(model: Path, first: Path, home: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(EngineClosed):
        adapters.merge(model, first, home / "merged" / "m.gguf", stop=stop)
    assert list((home / "merged").iterdir()) == []


# -- in the engine


@pytest.mark.model
async def test_the_engine_runs_the_merged_model_and_says_so(model: Path, home: Path) -> None:
    given = tiny.write_adapter(home / "a.gguf", model, temperatures={"choose": 1.3}, thresholds={"ask": 0.4})
    microcode.use(microcode.install(given, model), model)
    answers: list[str] = []
    for setting in ("on", "off"):
        engine = await open_engine(str(model), EngineOptions(context=256, microcode=setting))
        try:
            request = Generate(context=Context.chat("Hello"), max_tokens=8, sampling=GREEDY, draft=False)
            answers += [
                event.message.content async for event in engine.generate(request) if isinstance(event, Finished)
            ]
            found = engine.info.microcode
            if setting == "off":
                assert found is None
            else:
                assert found is not None
                assert (found.name, found.prompts, found.adapter) == ("first", "forms", "")
                assert (found.temperatures, found.thresholds) == ({"choose": 1.3}, {"ask": 0.4})
                assert engine.info.details["microcode"] == "first"
        finally:
            await engine.close()
    assert answers[0] != answers[1]


@pytest.mark.model
async def test_merged_and_hot_say_the_same(model: Path, first: Path, home: Path) -> None:
    merged = home / "merged.gguf"
    adapters.merge(model, first, merged)
    question = Score(context=Context.chat("Which?"), choices=("calculator", "weather", "answer"))
    hot = LlamaOptions(context=256, adapters={"hot": first})
    shares: dict[str, list[float]] = {}
    for path, options, names in ((merged, LlamaOptions(context=256), [""]), (model, hot, ["hot", ""])):
        engine = await LlamaEngine.load(path, options)
        try:
            for name in names:
                scores = await engine.score(Score(context=question.context, choices=question.choices, adapter=name))
                shares[f"{path.stem} {name}"] = [one.logprob for one in scores.choices]
            assert engine.info.microcode is not None
            assert engine.info.microcode.adapter == names[0]
        finally:
            await engine.close()
    apart = np.abs(np.subtract(shares["merged "], shares["tiny hot"])).max()  # by Q8_0
    assert apart < 0.2 * np.abs(np.subtract(shares["tiny "], shares["tiny hot"])).max()


@pytest.mark.model
async def test_a_bad_adapter_leaves_the_plain_model_which_says_why(model: Path, first: Path, home: Path) -> None:
    microcode.folder().mkdir(parents=True)
    tiny.damage(first, microcode.folder() / "bad.gguf")
    engine = await open_engine(str(model), EngineOptions(context=256, microcode="bad"))
    try:
        assert engine.info.microcode is None
        assert engine.info.details["microcode"].startswith("off: ")
        assert "no numbers" in engine.info.details["microcode"]
    finally:
        await engine.close()


@pytest.mark.model
async def test_with_adapters_at_hand_microcode_is_left_out(model: Path, first: Path) -> None:
    microcode.use(microcode.install(first, model), model)
    engine = await open_engine(str(model), EngineOptions(context=256, adapters={"mine": str(first)}, isolate=True))
    try:
        assert engine.info.microcode is not None
        assert engine.info.microcode.adapter == "mine"
        assert engine.info.details["microcode"].startswith("off: adapters are given")
    finally:
        await engine.close()
