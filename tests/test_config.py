"""Settings: which source wins, and what a wrong value says."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from llmos.config import (
    SETTINGS,
    EngineOptions,
    MemoryOptions,
    RunsOptions,
    Settings,
    cache_dir,
    config_path,
    data_dir,
    load_settings,
    write_atomically,
)
from llmos.errors import ConfigError, StorageError
from llmos.messages import Sampling


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def load(file: Path, *, environment: dict[str, str] | None = None, flags: dict[str, object] | None = None) -> Settings:
    return load_settings(path=file, environment=environment or {}, flags=flags)


def test_without_a_file_the_defaults_hold(file: Path) -> None:
    assert load(file) == Settings()


def test_every_setting_is_a_field_of_its_part() -> None:
    parts = {"": Settings, "sampling": Sampling, "engine": EngineOptions, "runs": RunsOptions, "memory": MemoryOptions}
    for key, setting in SETTINGS.items():
        assert key.rpartition(".")[2] in {item.name for item in fields(parts[setting.part])}


def test_a_flag_beats_the_environment_which_beats_the_file(file: Path) -> None:
    file.write_text('model = "a"\ncontext = 1\nthreads = 1\n')
    settings = load(file, environment={"LLMOS_CONTEXT": "2", "LLMOS_THREADS": "2"}, flags={"threads": 3, "seed": None})
    assert (settings.model, settings.engine.context, settings.engine.threads) == ("a", 2, 3)


def test_all_parts_are_read_from_the_file(file: Path) -> None:
    file.write_text(
        'system = "Be brief."\nmax_tokens = 5\ntemperature = 1\n'
        'kv_type = "q8_0"\nisolate = true\nadapters = {tool = "t.gguf"}\n'
    )
    settings = load(file)
    assert (settings.system, settings.max_tokens, settings.sampling.temperature) == ("Be brief.", 5, 1.0)
    assert (settings.engine.kv_type, settings.engine.isolate) == ("q8_0", True)
    assert dict(settings.engine.adapters) == {"tool": "t.gguf"}


def test_memory_is_a_table_of_its_own(file: Path) -> None:
    file.write_text('[memory]\ntenant = "anna"\nprofile_tokens = 0\n')
    assert load(file).memory == MemoryOptions(tenant="anna", profile_tokens=0)
    assert load(file, environment={"LLMOS_MEMORY_TENANT": "bert"}).memory.tenant == "bert"
    file.write_text('[memory]\ntenant = ""\n')
    with pytest.raises(ConfigError, match=r"'memory\.tenant' in"):
        load(file)


def test_how_long_runs_are_kept_is_a_table_of_its_own(file: Path) -> None:
    file.write_text("model = 'a'\n[runs]\nkeep_days = 7\nkeep_bytes = 0\n")
    assert load(file).runs == RunsOptions(keep_days=7, keep_bytes=0)
    assert load(file, environment={"LLMOS_RUNS_KEEP_DAYS": "9"}).runs == RunsOptions(keep_days=9, keep_bytes=0)
    file.write_text("[runs]\nkeep_day = 7\n")
    with pytest.raises(ConfigError, match=r"'runs\.keep_day' in"):
        load(file)
    file.write_text("[runs]\nkeep_days = -1\n")
    with pytest.raises(ConfigError, match=r"'runs\.keep_days' in") as error:
        load(file)
    assert "0 is for ever" in error.value.hint


def test_a_search_is_an_address_or_a_known_engine_and_its_key_is_not_shown(file: Path) -> None:
    assert load(file, environment={"LLMOS_SEARCH": " Brave "}).search == "brave"
    assert load(file, environment={"LLMOS_SEARCH": "http://127.0.0.1:8080"}).search == "http://127.0.0.1:8080"
    assert "hidden" not in repr(load(file, environment={"LLMOS_SEARCH_KEY": "hidden"}))
    with pytest.raises(ConfigError, match="LLMOS_SEARCH can't be used"):
        load(file, environment={"LLMOS_SEARCH": "altavista"})


@pytest.mark.parametrize(("word", "value"), [("1", True), ("yes", True), ("off", False), ("FALSE", False)])
def test_yes_and_no_have_several_spellings_in_the_environment(file: Path, word: str, value: bool) -> None:
    assert load(file, environment={"LLMOS_ISOLATE": word}).engine.isolate is value


def test_an_unknown_key_names_the_file_and_what_there_is(file: Path) -> None:
    file.write_text("modle = 'x'\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert "'modle'" in error.value.message
    assert str(file) in error.value.message
    assert "model" in error.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "context = 'big'",
        "context = 0",
        "context = true",
        "context = 1.5",
        "temperature = -1",
        "top_p = 2",
        "temperature = nan",
        "isolate = 1",
        "isolate = 'perhaps'",
        "kv_type = 'q4'",
        "model = 3",
        "adapters = ['a']",
        "adapters = {a = 1}",
    ],
)
def test_a_wrong_value_names_the_key_and_what_is_allowed(file: Path, line: str) -> None:
    file.write_text(line)
    with pytest.raises(ConfigError) as error:
        load(file)
    assert repr(line.split()[0]) in error.value.message
    assert error.value.hint.startswith("Allowed is")


def test_a_wrong_environment_variable_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match="LLMOS_TOP_K"):
        load(file, environment={"LLMOS_TOP_K": "many"})


def test_a_wrong_flag_is_named_as_it_is_written(file: Path) -> None:
    with pytest.raises(ConfigError, match="--max-tokens"):
        load(file, flags={"max_tokens": 0})


def test_a_file_that_is_not_toml_says_where(file: Path) -> None:
    file.write_text("model = hf:me/model")
    with pytest.raises(ConfigError, match="line 1"):
        load(file)


def test_a_file_that_is_not_utf_8_is_a_config_error(file: Path) -> None:
    file.write_bytes(b"model = '\xff'")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(file)


def test_a_file_that_can_not_be_read_is_a_storage_error(file: Path) -> None:
    file.mkdir()
    with pytest.raises(StorageError):
        load(file)


def test_one_variable_moves_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path))
    assert (data_dir(), cache_dir(), config_path()) == (
        tmp_path / "data",
        tmp_path / "cache",
        tmp_path / "config.toml",
    )


def test_without_it_the_platform_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMOS_HOME")
    assert all("llmos" in str(place) for place in (data_dir(), cache_dir(), config_path()))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("in the way")
    with pytest.raises(StorageError, match="can't be written"):
        write_atomically(folder / "x.json", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_written_only_its_owner_can_read(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x.json", "text")
    assert (tmp_path / "x.json").stat().st_mode & 0o077 == 0
