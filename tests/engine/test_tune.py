"""The race between formats: its rules with given figures, and real children on a tiny model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from llmos.engine.gguf import GgufHeader, read_header
from llmos.engine.hardware import Hardware
from llmos.engine.store import builtin, tune, tune_cache, tune_child
from llmos.errors import ConfigError, EngineCrashed, ModelNotFound, RealModelForbidden, StorageError

pytestmark = pytest.mark.model

WIDTH, LAYERS, INNER = 256, 2, 512


def write_tiny(path: Path, *, seed: int = 1) -> Path:
    """A model with random weights and one token per byte; in F32, so that there is something to gain."""
    random = np.random.default_rng(seed)
    writer: Any = gguf.GGUFWriter(str(path), "llama")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    writer.add_name("Tiny")
    writer.add_file_type(0)
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // 4)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([2, 3, 3] + [6] * 256)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {f"blk.{layer}.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{layer}.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{name}": (INNER, WIDTH) for name in ("gate", "up")}
        shapes[f"blk.{layer}.ffn_down"] = (WIDTH, INNER)
    for name, shape in shapes.items():
        values = np.ones(shape) if len(shape) == 1 else random.normal(0, 0.05, shape)
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def tiny(home: Path) -> Path:
    return write_tiny(home / "tiny.gguf")


def left_behind() -> list[str]:
    """What is in the cache beside results and notes."""
    return [file.name for file in tune_cache.folder().iterdir() if file.suffix not in (".gguf", ".json")]


Figures = Mapping[str, float]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, tuple[float, float]]], list[str]]:
    """Let the race run on given figures: format → (speed, perplexity). Returns the list of what was measured."""

    def install(table: Mapping[str, tuple[float, float]]) -> list[str]:
        measured: list[str] = []

        def quantize(header: GgufHeader, target: Path, name: str, *, threads: int) -> None:
            if table[name][0] == 0:
                raise EngineCrashed("Making it failed (SIGABRT): GGML_ASSERT")
            target.write_text(name * 3)

        def measure(header: GgufHeader, file: Path, *, limit: int, speed: bool, hardware: Hardware) -> Figures:
            name = "F32" if file == header.path else file.stem
            measured.append(name)
            fast, perplexity = table[name]
            speeds = {"prefill": 10 * fast, "decode": fast, "decode16": 3 * fast}
            found = speeds | {f"{name}_work": value for name, value in speeds.items()}
            return {**found, "perplexity": perplexity} if limit else found

        monkeypatch.setattr(tune, "quantize", quantize)
        monkeypatch.setattr(tune, "measure", measure)
        return measured

    return install


Install = Callable[[Mapping[str, tuple[float, float]]], list[str]]


def test_the_fastest_that_is_as_good_wins(tiny: Path, figures: Install) -> None:
    figures({"F32": (10, 20.0), "Q8_0": (15, 20.3), "Q6_K": (18, 20.39), "Q4_0": (30, 24.0)})
    report = tune.tune(tiny, candidates=("Q8_0", "Q6_K", "Q4_0"))
    assert report.chosen.format == "Q6_K"
    assert report.path.name.endswith(".Q6_K.gguf")
    assert report.path.read_text() == "Q6_K" * 3
    assert [row.why for row in report.rows] == ["slower", "slower", "the fastest that is as good", "perplexity +20.0%"]
    assert [round(row.speedup, 2) for row in report.rows] == [1.0, 1.5, 1.8, 3.0]
    assert tune.tuned_path(tiny) == report.path
    assert left_behind() == []


def test_a_source_that_nothing_beats_stays_and_nothing_is_kept(tiny: Path, figures: Install) -> None:
    figures({"F32": (10, 20.0), "Q8_0": (10.2, 20.0), "Q4_0": (30, 24.0)})
    report = tune.tune(tiny, candidates=("Q8_0", "Q4_0"))
    assert report.path == tiny
    assert report.chosen.format == "F32"
    assert tune.tuned_path(tiny) is None
    assert [file.suffix for file in tune_cache.folder().iterdir()] == [".json"]


def test_a_candidate_that_crashes_llama_cpp_is_only_out_of_the_race(tiny: Path, figures: Install) -> None:
    figures({"F32": (10, 20.0), "Q6_K": (0, 0), "Q8_0": (20, 20.0)})
    report = tune.tune(tiny, candidates=("Q6_K", "Q8_0"))
    assert report.chosen.format == "Q8_0"
    assert "GGML_ASSERT" in report.rows[1].why


def test_the_source_is_measured_again_beside_each_candidate(tiny: Path, figures: Install) -> None:
    measured = figures({"F32": (10, 20.0), "Q8_0": (15, 20.0), "Q4_0": (30, 24.0)})
    tune.tune(tiny, candidates=("Q8_0", "Q4_0"))
    assert measured == ["F32", "Q8_0", "F32", "Q4_0", "F32"]


def test_a_second_race_replaces_what_the_first_kept(tiny: Path, figures: Install) -> None:
    figures({"F32": (10, 20.0), "Q8_0": (15, 20.0), "Q6_K": (20, 20.0)})
    first = tune.tune(tiny, candidates=("Q8_0",)).path
    second = tune.tune(tiny, candidates=("Q6_K",)).path
    assert not first.exists()
    assert tune.tuned_path(tiny) == second


def test_progress_is_told_and_grows(tiny: Path, figures: Install) -> None:
    figures({"F32": (10, 20.0), "Q8_0": (15, 20.0)})
    told: list[tuple[str, float]] = []
    tune.tune(tiny, candidates=("Q8_0",), progress=lambda what, share: told.append((what, share)))
    assert [what for what, _ in told] == ["measuring F32", "making Q8_0", "measuring Q8_0", "Q8_0 is the fastest"]
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert told[-1][1] == 1.0


def test_what_progress_raises_ends_the_race_and_leaves_nothing(tiny: Path, figures: Install) -> None:
    figures({"F32": (10, 20.0), "Q8_0": (15, 20.0)})

    def stop(what: str, share: float) -> None:
        if what == "measuring Q8_0":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune.tune(tiny, candidates=("Q8_0",), progress=stop)
    assert list(tune_cache.folder().iterdir()) == []


def test_a_table_has_a_row_for_each_format(tiny: Path, figures: Install) -> None:
    figures({"F32": (10, 20.0), "Q8_0": (15, 20.0)})
    titles, rows = tune.tune(tiny, candidates=("Q8_0",)).table()
    assert all(len(row) == len(titles) for row in rows)
    assert [row[0] for row in rows] == ["", "→"]
    assert "1.50x" in rows[1]


@pytest.mark.parametrize("change", ["moved", "touched"])
def test_a_tuned_model_is_found_by_content(tiny: Path, figures: Install, change: str) -> None:
    figures({"F32": (10, 20.0), "Q8_0": (15, 20.0)})
    report = tune.tune(tiny, candidates=("Q8_0",))
    if change == "moved":
        (tiny.parent / "elsewhere").mkdir()
        tiny = tiny.rename(tiny.parent / "elsewhere" / tiny.name)
    os.utime(tiny, (1, 1))
    assert tune.tuned_path(tiny) == report.path


@pytest.mark.parametrize("damage", ["other weights", "truncated", "gone", "note", "version", "escape"])
def test_a_result_that_is_not_for_this_model_and_machine_is_not_used(tiny: Path, figures: Install, damage: str) -> None:
    figures({"F32": (10, 20.0), "Q8_0": (15, 20.0)})
    report = tune.tune(tiny, candidates=("Q8_0",))
    note = tune_cache.note_path(tiny, tune_cache.content_key(tiny))
    content = json.loads(note.read_text())
    if damage == "other weights":
        write_tiny(tiny, seed=2)
    elif damage == "truncated":
        report.path.write_text("Q8")
    elif damage == "gone":
        report.path.unlink()
    elif damage == "note":
        note.write_text('{"version": 1')
    elif damage == "version":
        content["machine"]["llama_cpp_python"] = "0.0.1"
        note.write_text(json.dumps(content))
    else:
        content["file"] = "../../../tiny.gguf"
        content["bytes"] = tiny.stat().st_size
        note.write_text(json.dumps(content))
    assert tune.tuned_path(tiny) is None


def test_a_model_that_is_gone_has_no_tuned_form(home: Path) -> None:
    assert tune.tuned_path(home / "nothing.gguf") is None
    with pytest.raises(ModelNotFound):
        tune.tune(home / "nothing.gguf")


def test_an_unknown_format_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="Q9_9"):
        tune.tune(tiny, candidates=("Q9_9",))


def test_too_little_disk_is_refused_with_the_numbers(home: Path) -> None:
    with pytest.raises(StorageError, match=r"needs 1,000,000,000\.0 GB of disk; .* are free"):
        tune.check_disk(10**18, home / "tiny.gguf")


def test_tests_that_forbid_real_models_get_no_race(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOS_FORBID_REAL_MODELS", "1")
    with pytest.raises(RealModelForbidden):
        tune.tune(tiny)


def test_leftovers_of_a_killed_race_are_swept(tiny: Path, figures: Install) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    place = tune_cache.folder() / f"race-{ended.pid}-x"
    place.mkdir(parents=True)
    (place / "Q8_0.gguf").write_text("half")
    figures({"F32": (10, 20.0), "Q8_0": (15, 20.0)})
    tune.tune(tiny, candidates=("Q8_0",))
    assert left_behind() == []


def test_candidates_have_no_more_bits_than_help(tiny: Path) -> None:
    assert tune.candidates_for(read_header(tiny))[0] == "BF16"
    embedded = tune.candidates_for(read_header(builtin.find().path))
    assert embedded[0] == "Q8_0"
    assert "BF16" not in embedded


def test_a_real_race_ends_with_figures_for_each_format(tiny: Path) -> None:
    report = tune.tune(tiny, candidates=("Q8_0",))
    source, candidate = report.rows
    for row in (source, candidate):
        assert min(row.prefill, row.decode, row.decode16) > 0
    assert 100 < source.perplexity < 1000
    assert candidate.perplexity == pytest.approx(source.perplexity, rel=0.02)
    assert candidate.bytes < source.bytes / 3
    assert report.chosen in report.rows
    assert tune.tuned_path(tiny) == (report.path if report.path != tiny else None)
    assert read_header(report.path).file_type == report.chosen.format


def test_a_child_that_dies_is_an_error_that_says_how(tiny: Path) -> None:
    damaged = tiny.with_name("damaged.gguf")
    damaged.write_bytes(tiny.read_bytes()[:-1_000_000])
    with pytest.raises(EngineCrashed, match=r"Measuring 'damaged.gguf' failed \(.*\): ."):
        tune_child.measure(read_header(tiny), damaged, limit=10, speed=False, hardware=Hardware())


def test_an_interrupt_ends_the_child_and_leaves_nothing(tiny: Path) -> None:
    program = (
        "import sys, pathlib; from llmos.engine.store.tune import tune\n"
        "tune(pathlib.Path(sys.argv[1]), candidates=['Q8_0'], progress=lambda what, share: print(what, flush=True))"
    )
    race = subprocess.Popen([sys.executable, "-c", program, str(tiny)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert race.stdout is not None
    for line in race.stdout:
        if line.startswith(b"making"):
            break
    race.send_signal(signal.SIGINT)
    race.communicate(timeout=30)
    assert race.returncode != 0
    assert list(tune_cache.folder().iterdir()) == []


def test_a_child_ends_when_its_parent_is_killed(tiny: Path) -> None:
    command = [sys.executable, "-m", "llmos.engine.store.tune_worker", "measure", str(tiny), "--threads", "1"]
    command += ["--text", str(tiny), "--limit", "1000000"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert child.stdin is not None
    time.sleep(0.2)
    child.stdin.close()
    assert child.wait(30) != 0


def test_the_embedded_model_becomes_q8_0_and_is_found_at_once(home: Path) -> None:
    source = builtin.find().path
    assert tune.is_quick_due(source)
    fast = tune.quick_default(source)
    assert not tune.is_quick_due(source)
    header = read_header(fast)
    assert fast == tune.tuned_path(source)
    assert header.file_type == "Q8_0"
    assert left_behind() == []
    started = time.perf_counter()
    assert tune.quick_default(source) == fast
    assert time.perf_counter() - started < 1


def test_other_formats_stay_as_they_are(tiny: Path) -> None:
    assert not tune.is_quick_due(tiny)
    assert tune.quick_default(tiny) == tiny
    assert tune.tuned_path(tiny) is None


def test_quick_default_gives_the_source_where_it_can_not_write(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("LLMOS_HOME", str(home / "file"))
    source = builtin.find().path
    assert tune.quick_default(source) == source


def test_finding_a_tuned_model_imports_nothing_heavy() -> None:
    program = (
        "import sys; from llmos.engine.store import builtin\nfrom llmos.engine.store.tune import tuned_path\n"
        "tuned_path(builtin.find().path); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not {"llama_cpp", "numpy", "psutil", "httpx", "huggingface_hub"} & set(done.stdout.split())
