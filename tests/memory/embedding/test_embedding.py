"""Embedding models: found by name or folder, checked, compiled once, and then run without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmos.errors import ModelInvalid, ModelNotFound, RealModelForbidden
from llmos.memory.embedding import DEFAULT, find_model, open_embedder
from llmos.memory.embedding.compiled import (
    BATCH_TOKENS,
    FORMAT,
    MANIFEST,
    MODEL,
    CompiledEmbedder,
    Manifest,
    batches,
    read_manifest,
)
from llmos.memory.embedding.compiling import LEAST_COSINE, PROBES, compare, write_manifest
from llmos.memory.protocols import Embedder, Role

MANIFEST_OF_NOTHING = Manifest(format=FORMAT, name="none@1", stamp="", versions="", dimension=4, inputs=["input_ids"])


def model_in(folder: Path) -> Path:
    """A folder that looks like a model from outside."""
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_the_model_that_comes_with_llmos_has_the_published_weights() -> None:
    assert {find_model(name).path for name in ("", DEFAULT, f"sentence-transformers/{DEFAULT}")} == {find_model().path}
    assert len(find_model().digest()) == 64


def test_weights_that_were_not_published_under_a_known_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="was expected"):
        find_model(str(model_in(tmp_path / DEFAULT))).digest()


def test_a_change_of_any_file_changes_digest_and_stamp(tmp_path: Path) -> None:
    folder = model_in(tmp_path / "own")
    before = find_model(str(folder))
    known = before.digest(), before.stamp()
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}', encoding="utf-8")
    after = find_model(str(folder))
    assert after.digest() != known[0]
    assert after.stamp() != known[1]


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "no such model", "a/b/c", "someone/does-not-exist"])
def test_a_model_that_is_not_there_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound, match="embedding model"):
        find_model(name)


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="no weights"):
        find_model(str(tmp_path))


def test_a_real_model_is_not_opened_where_that_is_forbidden() -> None:
    with pytest.raises(RealModelForbidden):
        open_embedder()


@given(st.lists(st.integers(0, 600), max_size=300))
def test_every_text_is_in_one_batch_and_no_batch_is_too_big(lengths: list[int]) -> None:
    made = batches(lengths)
    assert sorted(number for batch in made for number in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(lengths[number] for number in batch) <= BATCH_TOKENS


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 0}', '{"unknown": 1}'])
def test_a_damaged_manifest_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text, encoding="utf-8")
    assert read_manifest(tmp_path) is None
    with pytest.raises(ModelInvalid, match="no compiled"):
        CompiledEmbedder(tmp_path)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST_OF_NOTHING)
    assert read_manifest(tmp_path) == MANIFEST_OF_NOTHING
    assert [file.name for file in tmp_path.iterdir()] == [MANIFEST]


def test_a_damaged_graph_is_reported_and_made_anew_the_next_time(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST_OF_NOTHING)
    (tmp_path / MODEL).write_bytes(b"not a graph")
    with pytest.raises(ModelInvalid, match="was expected"):
        CompiledEmbedder(tmp_path).embed(["text"])
    assert read_manifest(tmp_path) is None


class Turned:
    """An embedder whose last text of a list is turned by an angle."""

    name, dimension = "turned", 2

    def __init__(self, angle: float) -> None:
        self.angle = angle

    def embed(self, texts: Sequence[str], /, *, role: Role = "text") -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), 2), np.float32)
        vectors[:, 0] = 1
        vectors[-1] = np.cos(self.angle), np.sin(self.angle)
        return vectors


def test_forms_of_a_model_that_differ_on_one_text_are_not_taken_for_the_same() -> None:
    same, other = Turned(0), Turned(0.02)
    assert compare(same, same) == pytest.approx(1)
    with pytest.raises(ModelInvalid, match="cosine of only"):
        compare(other, same)


# -- the real model


@pytest.fixture(scope="module")
def told() -> list[str]:
    return []


@pytest.fixture
def real(told: list[str]) -> Embedder:
    """The model that comes with llmos; the first test that asks for it compiles it."""
    return open_embedder(notify=told.append)


@pytest.mark.model
def test_the_compiled_form_says_what_sentence_transformers_says(real: Embedder, told: list[str]) -> None:
    assert isinstance(real, CompiledEmbedder), told
    assert real.manifest.cosine >= LEAST_COSINE
    assert real.name.startswith(f"{DEFAULT}@")
    assert real.dimension == 384


@pytest.mark.model
def test_any_text_has_a_vector_of_length_one(real: Embedder) -> None:
    vectors = real.embed(PROBES)
    assert vectors.shape == (len(PROBES), real.dimension)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert real.embed([]).shape == (0, real.dimension)


@pytest.mark.model
def test_a_text_has_the_same_vector_whatever_stands_beside_it(real: Embedder) -> None:
    texts = [*PROBES, *(f"text number {number} of many" for number in range(40))]
    together = real.embed(texts)

    def embed(text: str) -> NDArray[np.float32]:
        return real.embed([text])

    alone = np.concatenate([embed(text) for text in texts])
    with ThreadPoolExecutor(4) as pool:
        at_once = np.concatenate(list(pool.map(embed, texts)))
    assert np.allclose(together, alone, atol=1e-5)
    assert np.array_equal(alone, at_once)


@pytest.mark.model
def test_what_means_the_same_is_near(real: Embedder) -> None:
    question, right, wrong = real.embed(["Where does my sister live?", "Nora has a flat in Aarhus.", "It rains a lot."])
    assert question @ right > question @ wrong + 0.05


@pytest.mark.model
def test_another_start_finds_it_compiled_and_loads_no_torch(real: Embedder) -> None:
    code = (
        "import json, sys; from llmos.memory.embedding import open_embedder; told = []\n"
        "embedder = open_embedder(notify=told.append); vector = embedder.embed(['a text'])[0].tolist()\n"
        "print(json.dumps([embedder.name, told, vector, [m for m in ('torch', 'transformers') if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    name, told, vector, loaded = json.loads(done.stdout)
    assert (name, told, loaded) == (real.name, [], [])
    assert np.allclose(vector, real.embed(["a text"])[0], atol=1e-6)


@pytest.mark.model
def test_the_same_files_at_another_place_are_not_compiled_again(real: Embedder, tmp_path: Path) -> None:
    assert isinstance(real, CompiledEmbedder)
    moved = tmp_path / "cache" / f"{DEFAULT}-{real.name.partition('@')[2]}"
    moved.mkdir(parents=True)
    for file in (MODEL, "tokenizer.json"):
        (moved / file).symlink_to(real.folder / file)
    old = {**asdict(real.manifest), "stamp": "of files that were touched since"}
    (moved / MANIFEST).write_text(json.dumps(old), encoding="utf-8")
    told: list[str] = []
    again = open_embedder(cache=tmp_path / "cache", notify=told.append)
    assert (again.name, told) == (real.name, [])
    manifest = read_manifest(moved)
    assert manifest is not None
    assert manifest.stamp == find_model().stamp()
