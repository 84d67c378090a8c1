"""What of a project's files the user has approved: each by its place and the hash of its bytes.

A file that has changed since counts as new. Knows not what stands in them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from llmos.config import data_dir, write_atomically
from llmos.errors import StorageError


def digest_of(parts: Mapping[str, bytes]) -> str:
    """SHA-256 of some files by name: it changes with any of them."""
    total = hashlib.sha256()
    for name, data in sorted(parts.items()):
        total.update(f"{len(name.encode())} {name} {len(data)} ".encode())
        total.update(data)
    return total.hexdigest()


def is_approved(path: Path, digest: str) -> bool:
    """Whether the user approved a file with exactly this hash.

    Raises:
        StorageError: The list of approvals is damaged.
    """
    return _approved().get(str(path)) == digest


def was_approved(path: Path) -> bool:
    """Whether the user approved a file as it was at some time.

    Raises:
        StorageError: The list of approvals is damaged.
    """
    return str(path) in _approved()


def approve(path: Path, digest: str) -> None:
    """Let a file count as long as its hash stays the same.

    Raises:
        StorageError: That can't be written down.
    """
    write_atomically(_file(), json.dumps({**_approved(), str(path): digest}, indent=1))


def _file() -> Path:
    return data_dir() / "agents" / "approved.json"


def _approved() -> dict[str, str]:
    try:
        found: object = json.loads(_file().read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StorageError(f"{str(_file())!r} can't be read: {error}.", hint="Remove it and approve again.") from error
    return cast("dict[str, str]", found) if isinstance(found, dict) else {}
