"""The questions that are asked of the hub before a download, and its answers and failures as types of ours.

Imports `huggingface_hub`, so import this module only to pull. Knows no cache.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # before the import that reads it

import httpx2
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,  # pyright: ignore[reportUnknownVariableType]  # one of its options is a bare dict
    get_token,
    hf_hub_url,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from llmos.engine.store.spec import HubSpec, choose_file, is_model
from llmos.errors import DownloadError, LlmosError, ModelNotFound, StorageError

TIMEOUT = httpx2.Timeout(30.0, connect=10.0)
"""Seconds without a byte; 10 to connect."""
RESUME = "What arrived is kept: the same command goes on from there."

_LOOK_UP_SECONDS = 10.0
_FAILURES = (HfHubHTTPError, httpx2.HTTPError, httpx2.InvalidURL, OfflineModeIsEnabled, EntryNotFoundError)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")


class Hasher(Protocol):
    """Computes a hash of what it is fed."""

    def update(self, data: bytes, /) -> None:
        """More bytes."""
        ...

    def hexdigest(self) -> str:
        """The hash so far."""
        ...


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file at the hub. `hash` is its SHA-256 (large files) or its git blob SHA-1 (small ones)."""

    repo: str
    file: str
    commit: str
    hash: str
    size: int
    url: str

    def hasher(self) -> Hasher:
        """What computes a hash of the kind that the hub gives for this file."""
        if _SHA256.fullmatch(self.hash):
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)


def address_of(endpoint: str) -> str:
    """The hub's address: the given one, or `HF_ENDPOINT`, or huggingface.co."""
    return (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def authorization() -> dict[str, str]:
    """The header with the user's token, if there is one and it may be used unasked."""
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


@contextmanager
def explained(spec: HubSpec, address: str) -> Generator[None]:
    """What `huggingface_hub` and the network raise, as errors of ours."""
    try:
        yield
    except LlmosError:
        raise
    except (*_FAILURES, ValueError) as error:
        raise _explain(error, spec, address) from error
    except OSError as error:
        raise disk_error(error) from error


def _explain(error: Exception, spec: HubSpec, address: str) -> LlmosError:
    match error:
        case GatedRepoError():
            hint = f"Accept its terms at {address}/{spec.repo} and log in with `hf auth login`."
            return DownloadError(f"{spec.repo!r} is only given to those who accept its terms.", hint=hint)
        case RepositoryNotFoundError() | HFValidationError():
            hint = "Check the spelling; for a private one log in with `hf auth login`."
            return ModelNotFound(f"The hub {address} has no repository {spec.repo!r}.", hint=hint)
        case EntryNotFoundError():
            hint = f"Pull {spec.repo!r} without a file name to take its usual one."
            return ModelNotFound(f"The repository {spec.repo!r} has no file {spec.file!r}.", hint=hint)
        case OfflineModeIsEnabled():
            hint = "Unset HF_HUB_OFFLINE to pull; models that are here work without it: `llmos model list`."
            return DownloadError(f"{str(spec)!r} was not pulled: the offline mode is on.", hint=hint)
        case HfHubHTTPError():
            status = error.response.status_code
            return DownloadError(f"The hub {address} answered {status} for {str(spec)!r}.", hint="Try later.")
        case httpx2.HTTPError() | httpx2.InvalidURL():
            hint = "Check the network and the proxy (HTTPS_PROXY), or set HF_ENDPOINT to a mirror."
            what = f"{type(error).__name__} {error}".strip()
            message = f"{str(spec)!r} could not be pulled from {address}: {what}."
            return DownloadError(message, hint=hint)
        case _:
            hint = "Check that HF_ENDPOINT, if it is set, is a hub."
            return DownloadError(f"The hub {address} gave an answer for {str(spec)!r} that can't be read.", hint=hint)


def disk_error(error: OSError) -> StorageError:
    """A failed write, as an error of ours."""
    place = f" to {error.filename!r}" if error.filename else ""
    hint = "Free some disk space" if error.errno == errno.ENOSPC else "Check the folder's rights"
    message = f"The model can't be written{place}: {error.strerror or error}."
    return StorageError(message, hint=f"{hint}, or set HF_HUB_CACHE to another place. {RESUME}")


def remote_files(repo: str, address: str) -> list[str]:
    """The names of all files of a repository."""
    siblings = HfApi(endpoint=address).model_info(repo, timeout=_LOOK_UP_SECONDS).siblings or []
    return [sibling.rfilename for sibling in siblings]


def choose(files: Sequence[str], spec: HubSpec) -> str:
    """The file that a spec means; `ModelNotFound` says which there are."""
    file = choose_file(files, spec)
    if file:
        return file
    models = sorted(filter(is_model, files))
    if models:
        names = ", ".join(models[:12]) + (" …" if len(models) > 12 else "")
        raise ModelNotFound(f"{spec.repo!r} has no {spec.quant!r}.", hint=f"It has: {names}.")
    hint = f"Look for a repository with GGUF files, often named {spec.repo.split('/')[-1]}-GGUF."
    raise ModelNotFound(f"{spec.repo!r} has no GGUF file.", hint=hint)


def look_up(repo: str, file: str, address: str) -> RemoteFile:
    """Ask for a file's hash, size and commit (HEAD)."""
    url = hf_hub_url(repo, file, endpoint=address)
    found = get_hf_file_metadata(url, timeout=_LOOK_UP_SECONDS, endpoint=address)
    commit, hash, size = found.commit_hash or "", found.etag or "", found.size
    if size is None or not _COMMIT.fullmatch(commit) or not (_SHA256.fullmatch(hash) or _GIT_SHA1.fullmatch(hash)):
        hint = "Use a hub or mirror that sends them."
        raise DownloadError(f"{address} does not say size, commit and hash of {file!r} in {repo!r}.", hint=hint)
    return RemoteFile(repo, file, commit, hash, size, hf_hub_url(repo, file, revision=commit, endpoint=address))
