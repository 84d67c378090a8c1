"""Pulling from a hub: resumed after a cut, compared with its hash, refused before the disk is full."""

from __future__ import annotations

import hashlib
import random
import resource
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import huggingface_hub
import pytest
from filelock import FileLock
from huggingface_hub import scan_cache_dir, try_to_load_from_cache

from llmos.engine import store
from llmos.engine.store import download, hub, hubremove
from llmos.engine.store.spec import HubSpec
from llmos.errors import DownloadError, ModelInvalid, ModelNotFound, StorageError
from tests.engine.gguf_files import gguf
from tests.engine.hub_server import COMMIT, Hub, serving

REPO = "owner/tiny-GGUF"
FILE = "tiny-Q8_0.gguf"
NAME = f"{REPO}/{FILE}"
SPEC = HubSpec(REPO, FILE)
BIG = gguf() + random.Random(0).randbytes(3 << 20)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "llmos"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return tmp_path / "hub"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(Hub(files={NAME: BIG})) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server
    huggingface_hub.close_session()


def blob(cache: Path, data: bytes = BIG) -> Path:
    return cache / "models--owner--tiny-GGUF" / "blobs" / hashlib.sha256(data).hexdigest()


def part(cache: Path) -> Path:
    return blob(cache).with_name(f"{blob(cache).name}.incomplete")


def test_a_pulled_model_lies_in_the_cache_as_the_hubs_own_library_keeps_it(server: Hub, cache: Path) -> None:
    reports: list[tuple[int, int]] = []
    path = download.pull(SPEC, progress=lambda done, total: reports.append((done, total)))
    assert path.read_bytes() == BIG
    assert path == cache / "models--owner--tiny-GGUF" / "snapshots" / COMMIT / FILE
    assert path.resolve() == blob(cache).resolve()
    assert try_to_load_from_cache(REPO, FILE, cache_dir=cache) == str(path)
    (repo,) = scan_cache_dir(cache).repos
    assert (repo.repo_id, repo.size_on_disk) == (REPO, len(BIG))
    assert not scan_cache_dir(cache).warnings
    assert reports[0] == (0, len(BIG))
    assert reports[-1] == (len(BIG), len(BIG))
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert not part(cache).exists()


def test_the_hubs_own_library_finds_it_and_fetches_nothing(server: Hub, cache: Path) -> None:
    path = download.pull(SPEC)
    served = len(server.downloads)
    fetch = cast("Callable[..., str]", huggingface_hub.hf_hub_download)  # pyright: ignore[reportUnknownMemberType]
    found = fetch(REPO, FILE, cache_dir=cache, endpoint=server.address)
    assert Path(found) == path
    assert len(server.downloads) == served


def test_a_second_pull_fetches_nothing(server: Hub) -> None:
    first = download.pull(SPEC)
    assert download.pull(SPEC) == first
    assert len(server.downloads) == 1


def test_a_pull_that_was_cut_keeps_its_part_and_a_second_one_goes_on_there(server: Hub, cache: Path) -> None:
    half = len(BIG) // 2
    server.cuts = [half]
    with pytest.raises(DownloadError, match=f"{half:,} of {len(BIG):,} bytes are here") as caught:
        download.pull(SPEC, attempts=1)
    assert "goes on from there" in caught.value.hint
    assert part(cache).read_bytes() == BIG[:half]
    assert hub.find(SPEC) is None
    reports: list[int] = []
    assert download.pull(SPEC, progress=lambda done, _: reports.append(done)).read_bytes() == BIG
    first, second = server.downloads
    assert (first.range, first.sent) == ("", half)
    assert (second.range, second.sent) == (f"bytes={half}-", len(BIG) - half)
    assert reports[0] == half


def test_a_cut_in_the_middle_is_mended_in_the_same_pull(server: Hub) -> None:
    server.cuts = [len(BIG) // 3, len(BIG) // 2]
    assert download.pull(SPEC).read_bytes() == BIG
    assert sum(request.sent for request in server.downloads) == len(BIG)


def test_a_server_that_ignores_ranges_makes_it_begin_anew(server: Hub) -> None:
    server.cuts, server.ranges = [len(BIG) // 2], False
    assert download.pull(SPEC).read_bytes() == BIG
    assert server.downloads[-1].sent == len(BIG)


def test_a_line_that_is_always_cut_ends_in_an_error(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "FIRST_WAIT", 0.0)
    server.cuts = [100_000] * 50
    with pytest.raises(DownloadError, match="100,000 of"):
        download.pull(SPEC, attempts=3)
    assert len(server.downloads) == 3


def test_bytes_with_another_hash_are_deleted(server: Hub, cache: Path) -> None:
    server.hashes[NAME] = "ab" * 32
    with pytest.raises(ModelInvalid, match="with the hash") as caught:
        download.pull(SPEC)
    assert "Pull it again" in caught.value.hint
    assert not [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size]


def test_a_damaged_part_is_found_out_and_deleted(server: Hub, cache: Path) -> None:
    part(cache).parent.mkdir(parents=True)
    part(cache).write_bytes(b"\0" * 1000)
    with pytest.raises(ModelInvalid, match="it was deleted"):
        download.pull(SPEC)
    assert download.pull(SPEC).read_bytes() == BIG


def test_more_bytes_than_announced_are_refused(server: Hub, cache: Path) -> None:
    server.sizes[NAME] = len(BIG) - 1000
    with pytest.raises(ModelInvalid, match="with the hash"):
        download.pull(SPEC)
    assert not part(cache).exists()


def test_a_small_file_is_compared_with_its_git_hash(server: Hub) -> None:
    data = gguf()
    server.files[NAME] = data
    server.hashes[NAME] = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    assert download.pull(SPEC).read_bytes() == data
    server.files[f"{REPO}/other.gguf"], server.hashes[f"{REPO}/other.gguf"] = data, "ab" * 20
    with pytest.raises(ModelInvalid, match="with the hash"):
        download.pull(HubSpec(REPO, "other.gguf"))


@pytest.mark.parametrize("hash", ["", "../../../../etc/passwd", "no-hash", "AB" * 32])
def test_a_hub_that_gives_no_hash_is_refused(server: Hub, hash: str) -> None:
    server.hashes[NAME] = hash or " "
    with pytest.raises(DownloadError, match="does not say size, commit and hash"):
        download.pull(SPEC)
    assert not server.downloads


def test_too_little_disk_is_said_before_the_first_byte(server: Hub) -> None:
    server.sizes[NAME] = 1 << 60
    with pytest.raises(StorageError, match=r"needs 1,152,921,504,606,846,976 more bytes but .* free") as caught:
        download.pull(SPEC)
    assert "HF_HUB_CACHE" in caught.value.hint
    assert not server.downloads


@contextmanager
def largest_file(size: int) -> Generator[None]:
    """Writing beyond `size` fails, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_is_a_storage_error_and_what_was_written_is_kept(server: Hub, cache: Path) -> None:
    with largest_file(1 << 20), pytest.raises(StorageError, match="can't be written") as caught:
        download.pull(SPEC)
    assert "goes on from there" in caught.value.hint
    assert part(cache).stat().st_size == 1 << 20
    assert download.pull(SPEC).read_bytes() == BIG
    assert server.downloads[-1].range == f"bytes={1 << 20}-"


def test_a_file_that_the_repository_lacks_is_not_found(server: Hub) -> None:
    with pytest.raises(ModelNotFound, match=r"has no file 'other\.gguf'") as caught:
        download.pull(HubSpec(REPO, "other.gguf"))
    assert REPO in caught.value.hint


def test_a_repository_that_does_not_exist_is_not_found(server: Hub) -> None:
    for spec in (HubSpec("nobody/nothing"), HubSpec("nobody/nothing", FILE)):
        with pytest.raises(ModelNotFound, match="has no repository 'nobody/nothing'") as caught:
            download.pull(spec)
        assert "spelling" in caught.value.hint


def test_a_repository_without_models_is_not_found(server: Hub) -> None:
    server.files = {f"{REPO}/model.safetensors": b"", f"{REPO}/mmproj-F16.gguf": b""}
    with pytest.raises(ModelNotFound, match="has no GGUF file"):
        download.pull(HubSpec(REPO))


def test_a_quantization_that_is_not_there_names_those_that_are(server: Hub) -> None:
    with pytest.raises(ModelNotFound, match="has no 'Q2_K'") as caught:
        download.pull(HubSpec(REPO, quant="Q2_K"))
    assert FILE in caught.value.hint


def test_without_a_file_name_the_usual_quantization_comes(server: Hub) -> None:
    server.files |= {f"{REPO}/tiny-{quant}.gguf": gguf() for quant in ("Q2_K", "Q4_K_M", "F16")}
    assert download.pull(HubSpec(REPO)).name == "tiny-Q4_K_M.gguf"
    assert download.pull(HubSpec(REPO, quant="q2_k")).name == "tiny-Q2_K.gguf"


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", "accept its terms"),
        (500, "", "answered 500"),
        (429, "", "answered 429"),
    ],
)
def test_a_hub_that_refuses_is_explained(server: Hub, status: int, code: str, words: str) -> None:
    server.status, server.code = status, code
    with pytest.raises(DownloadError, match=words) as caught:
        download.pull(SPEC)
    assert caught.value.hint


def test_a_hub_that_talks_nonsense_is_an_error(server: Hub) -> None:
    server.garbage = True
    for spec in (SPEC, HubSpec(REPO)):
        with pytest.raises(DownloadError):
            download.pull(spec)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "not a url", "http://127.0.0.1:99999999"])
def test_without_a_network_it_says_what_to_do(address: str) -> None:
    with pytest.raises(DownloadError) as caught:
        download.pull(SPEC, endpoint=address)
    assert "HF_ENDPOINT" in caught.value.hint


def test_a_token_goes_to_the_hub_and_not_to_where_it_redirects(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    download.pull(SPEC)
    assert {request.authorization for request in server.asked} == {"Bearer hf_secret"}
    assert {request.authorization for request in server.downloads} == {""}


def test_all_parts_of_a_split_model_come_with_one_progress(server: Hub) -> None:
    parts = [f"big-{part:05}-of-00003.gguf" for part in (1, 2, 3)]
    server.files = {f"{REPO}/{name}": gguf(fill=number) for number, name in enumerate(parts)}
    reports: list[tuple[int, int]] = []
    path = download.pull(HubSpec(REPO), progress=lambda done, total: reports.append((done, total)))
    assert path.name == parts[0]
    assert all((path.parent / name).is_file() for name in parts)
    total = sum(map(len, server.files.values()))
    assert reports[-1] == (total, total)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
    assert hub.find(HubSpec(REPO)) is not None
    (path.parent / parts[1]).unlink()
    assert hub.find(HubSpec(REPO)) is None


def test_removing_a_model_leaves_the_other_files_of_its_repository(server: Hub, cache: Path) -> None:
    server.files[f"{REPO}/tiny-Q2_K.gguf"] = gguf()
    kept = download.pull(HubSpec(REPO, "tiny-Q2_K.gguf"))
    download.pull(SPEC)
    assert hubremove.remove(SPEC) == len(BIG)
    assert not blob(cache).exists()
    assert kept.read_bytes() == gguf()
    assert hub.find(SPEC) is None
    assert hubremove.remove(HubSpec(REPO, "tiny-Q2_K.gguf")) == len(gguf())
    assert not (cache / "models--owner--tiny-GGUF").exists()
    with pytest.raises(ModelNotFound):
        hubremove.remove(SPEC)


def test_a_blob_that_two_names_share_stays_until_the_last_is_removed(server: Hub, cache: Path) -> None:
    server.files[f"{REPO}/same-Q8_0.gguf"] = BIG
    download.pull(SPEC)
    download.pull(HubSpec(REPO, "same-Q8_0.gguf"))
    assert len(server.downloads) == 1
    assert hubremove.remove(SPEC) == 0
    assert blob(cache).exists()
    assert hubremove.remove(HubSpec(REPO, "same-Q8_0.gguf")) == len(BIG)


def test_the_rest_of_a_pull_that_never_ended_can_be_removed(server: Hub, cache: Path) -> None:
    server.cuts = [5000]
    with pytest.raises(DownloadError):
        download.pull(SPEC, attempts=1)
    assert store.remove(str(SPEC)) == 5000
    assert not part(cache).exists()
    with pytest.raises(ModelNotFound):
        store.remove(str(SPEC))


def test_two_pulls_at_once_do_not_write_into_one_part(server: Hub, cache: Path) -> None:
    lock = cache / ".locks" / "models--owner--tiny-GGUF" / f"{blob(cache).name}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(DownloadError, match="by another program"):
        download.pull(SPEC)
    assert download.pull(SPEC).read_bytes() == BIG
