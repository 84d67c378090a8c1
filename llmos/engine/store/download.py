"""Fetches models from the hub into Hugging Face's cache.

`huggingface_hub` answers for names, hashes and tokens. The bytes are fetched here, because it drops a part that was cut
off (version 2 writes to a file of its own at each call) and does not compare the hash of what came over plain HTTP. A
part is kept as `blobs/HASH.incomplete`; a later pull goes on where it ends.

Imports `huggingface_hub`, so import this module only to pull. Source of the layout:
https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx2
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout
from huggingface_hub import get_session, hf_raise_for_status
from huggingface_hub.errors import HfHubHTTPError

from llmos.engine.store import hub, hubapi
from llmos.engine.store.hubapi import Hasher, RemoteFile
from llmos.engine.store.spec import HubSpec, split_parts
from llmos.errors import DownloadError, ModelInvalid, StorageError

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes of the whole model, all parts together."""

ATTEMPTS = 5
"""Tries in a row that bring less than a MiB before a pull gives up."""
FIRST_WAIT = 0.5
"""Seconds before the second try; each further one waits twice as long, up to 8 s."""

_LONGEST_WAIT = 8.0
_MIB = 1 << 20
_LOCK_SECONDS = 2.0
_BAD_RANGE = 416
_RETRIED = frozenset({408, _BAD_RANGE, 425, 429, 500, 502, 503, 504})


def pull(
    spec: HubSpec,
    *,
    progress: Progress | None = None,
    endpoint: str = "",
    cache: Path | None = None,
    attempts: int = ATTEMPTS,
) -> Path:
    """Fetch a model, all parts of it, and return the path of its first file in the cache.

    Args:
        progress: Told about the bytes as they arrive.
        endpoint: The hub's address; default `HF_ENDPOINT`, then huggingface.co.
        cache: The cache's folder; default as in `llmos.engine.store.hub.cache_folder`.
        attempts: Tries in a row that bring nothing before it gives up, at least 1.

    Raises:
        ModelNotFound: The hub has no such repository or file.
        ModelInvalid: What arrived does not have the hash that the hub says; it is deleted.
        DownloadError: The hub can't be reached or the line was cut; what arrived is kept.
        StorageError: The disk has not enough room (asked before the first byte) or can't be written.
    """
    address = hubapi.address_of(endpoint)
    folder = hub.repo_folder(spec.repo, cache or hub.cache_folder())
    with hubapi.explained(spec, address):
        file = spec.file or hubapi.choose(hubapi.remote_files(spec.repo, address), spec)
        remotes = [hubapi.look_up(spec.repo, part, address) for part in split_parts(file)]
    missing = [remote for remote in remotes if not _is_here(folder, remote)]
    _check_disk(folder, missing)
    total = sum(remote.size for remote in remotes)
    here = total - sum(remote.size for remote in missing)
    for remote in missing:
        report = _reporter(progress, here, total)
        with hubapi.explained(spec, address), _locked(folder, remote):
            _fetch(folder, remote, report, attempts)
        here += remote.size
    _reporter(progress, here, total)(0)
    pointers = [_link(folder, remote) for remote in remotes]
    return pointers[0]


def _reporter(progress: Progress | None, before: int, total: int) -> Callable[[int], None]:
    """Reports of one file, as reports of all."""
    return lambda done: progress(before + done, total) if progress else None


def _blob(folder: Path, remote: RemoteFile) -> Path:
    return folder / "blobs" / remote.hash


def _part(folder: Path, remote: RemoteFile) -> Path:
    return folder / "blobs" / f"{remote.hash}.incomplete"


def _pointer(folder: Path, remote: RemoteFile) -> Path:
    return folder / "snapshots" / remote.commit / remote.file


def _is_here(folder: Path, remote: RemoteFile) -> bool:
    """Whether the blob is here, or where there are no links, the file itself."""
    places = (_blob(folder, remote), _pointer(folder, remote))
    return any(place.is_file() and place.stat().st_size == remote.size for place in places)


def _check_disk(folder: Path, missing: Sequence[RemoteFile]) -> None:
    """Refuse before the first byte what can't fit."""
    need = sum(max(0, remote.size - _size(_part(folder, remote))) for remote in missing)
    place = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(place).free
    if missing and need > free:
        raise StorageError(
            f"{missing[0].file!r} needs {need:,} more bytes but {str(place)!r} has {free:,} free.",
            hint=f"Free {need - free:,} bytes, set HF_HUB_CACHE to another disk, or choose a smaller model.",
        )


@contextmanager
def _locked(folder: Path, remote: RemoteFile) -> Generator[None]:
    """Hold the lock that `huggingface_hub` takes for the same blob."""
    path = folder.parent / ".locks" / folder.name / f"{remote.hash}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = _acquired(path)
    except Timeout as error:
        message = f"{remote.file!r} is being pulled by another program."
        raise DownloadError(message, hint="Wait until it is done, then run the same command.") from error
    with lock:
        yield


def _acquired(path: Path) -> BaseFileLock:
    try:
        lock: BaseFileLock = FileLock(path, timeout=_LOCK_SECONDS, mode=0o664)
        lock.acquire()
    except NotImplementedError:  # a file system without flock
        lock = SoftFileLock(path, timeout=_LOCK_SECONDS)
        lock.acquire()
    return lock


def _fetch(folder: Path, remote: RemoteFile, report: Callable[[int], None], attempts: int) -> None:
    """Get one blob: go on with its part until it is complete, compare the hash, give it its name."""
    part = _part(folder, remote)
    part.parent.mkdir(parents=True, exist_ok=True)
    failed = 0
    while True:
        before = _size(part)
        try:
            found = _continue(part, remote, report)
            break
        except (httpx2.TransportError, HfHubHTTPError) as error:
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
            failed = 1 if _size(part) - before >= _MIB else failed + 1
            if (status and status not in _RETRIED) or failed >= attempts:
                raise _cut(part, remote, error) from error
            if status == _BAD_RANGE:
                part.unlink()
            time.sleep(min(_LONGEST_WAIT, FIRST_WAIT * 2 ** (failed - 1)))
    if (found, _size(part)) != (remote.hash, remote.size):
        came = f"{_size(part):,} bytes with the hash {found} and not {remote.size:,} with {remote.hash}"
        part.unlink()
        raise ModelInvalid(
            f"{remote.file!r} from {remote.repo!r} has {came}; it was deleted.",
            hint="Pull it again; if that repeats, the server or a proxy changes the file.",
        )
    part.replace(_blob(folder, remote))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cut(part: Path, remote: RemoteFile, error: Exception) -> DownloadError:
    what = f"{type(error).__name__} {error}".strip().splitlines()[0]
    have = f"{_size(part):,} of {remote.size:,} bytes are here"
    return DownloadError(f"The download of {remote.file!r} was cut ({what}); {have}.", hint=hubapi.RESUME)


def _continue(part: Path, remote: RemoteFile, report: Callable[[int], None]) -> str:
    """Fetch what is missing in a part; the hash of the whole."""
    hasher = remote.hasher()
    with part.open("a+b") as file:
        if _size(part) > remote.size:
            file.truncate(0)
        file.seek(0)
        have = 0
        while chunk := file.read(min(_MIB, remote.size - have)):
            hasher.update(chunk)
            have += len(chunk)
        report(have)
        if have < remote.size:
            hasher = _stream(file, have, remote, hasher, report)
        file.flush()
        os.fsync(file.fileno())
    return hasher.hexdigest()


def _stream(
    file: BinaryIO,
    have: int,
    remote: RemoteFile,
    hasher: Hasher,
    report: Callable[[int], None],
) -> Hasher:
    """Append bytes from `have` on. A server that ignores the range makes it begin anew."""
    headers = {**hubapi.authorization(), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", remote.url, headers=headers, timeout=hubapi.TIMEOUT) as response:
        hf_raise_for_status(response)
        if have and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            file.truncate(0)
            have, hasher = 0, remote.hasher()
        for chunk in response.iter_bytes():
            file.write(chunk)
            hasher.update(chunk)
            have += len(chunk)
            report(have)
            if have > remote.size:
                return hasher
    if have < remote.size:
        raise httpx2.RemoteProtocolError(f"the answer ended after {have:,} bytes")
    return hasher


def _link(folder: Path, remote: RemoteFile) -> Path:
    """Make a blob known under its name and commit, and the commit as that of `main`."""
    blob, pointer = _blob(folder, remote), _pointer(folder, remote)
    try:
        if not pointer.exists():
            pointer.parent.mkdir(parents=True, exist_ok=True)
            pointer.unlink(missing_ok=True)
            _symlink(blob, pointer)
        ref = folder / "refs" / "main"
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh = ref.with_name(f"main.{os.getpid()}.tmp")
        fresh.write_text(remote.commit)
        fresh.replace(ref)
    except OSError as error:
        raise hubapi.disk_error(error) from error
    return pointer


def _symlink(blob: Path, pointer: Path) -> None:
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except (OSError, NotImplementedError):  # as on Windows without the right to it: the file itself stands there
        blob.replace(pointer)
