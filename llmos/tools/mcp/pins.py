"""What was accepted of each server: the definitions of its tools, as they were when the user saw them.

Agents are shown these and never what a server says today; a tool whose definition has changed since is refused. Knows
no protocol: a definition is JSON data with `name`, `description` and `inputSchema`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from llmos.config import data_dir, write_atomically
from llmos.errors import StorageError
from llmos.tools.mcp.settings import Server

Definition = Mapping[str, Any]
State = Literal["accepted", "new", "changed", "gone"]

PARTS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
"""What of a definition is accepted, and compared later."""


def digest(definition: Definition) -> str:
    """By which a definition is compared: SHA-256 of its parts as JSON."""
    parts = {key: definition[key] for key in PARTS if definition.get(key) is not None}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def accepted(server: Server) -> dict[str, Definition]:
    """The definitions that were accepted, by the server's own name of the tool; empty if none were.

    Raises:
        StorageError: They can't be read.
    """
    path = _path(server)
    try:
        data: object = json.loads(path.read_bytes())
        tools = cast("dict[str, Any]", data)["tools"]
        return {str(tool["name"]): cast("Definition", tool) for tool in cast("list[dict[str, Any]]", tools)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{str(path)!r} can't be read: {error}.", hint=f"`llmos mcp test {server.name} --accept` writes it anew."
        ) from error


def accept(server: Server, definitions: Iterable[Definition]) -> None:
    """Write down what the user has seen.

    Raises:
        StorageError: It can't be written.
    """
    kept = [{key: one[key] for key in PARTS if one.get(key) is not None} for one in definitions]
    write_atomically(_path(server), json.dumps({"server": server.where, "tools": kept}, indent=1))


def forget(server: Server) -> None:
    """Accept nothing of a server any more.

    Raises:
        StorageError: The file can't be removed.
    """
    try:
        _path(server).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{str(_path(server))!r} can't be removed: {error.strerror}.") from error


def compare(before: Mapping[str, Definition], now: Mapping[str, Definition]) -> dict[str, State]:
    """Each tool of then and now with what has become of it, in order."""
    found: dict[str, State] = {}
    for name in sorted({*before, *now}):
        if name not in before:
            found[name] = "new"
        elif name not in now:
            found[name] = "gone"
        else:
            found[name] = "accepted" if digest(before[name]) == digest(now[name]) else "changed"
    return found


def _path(server: Server) -> Path:
    project = "" if server.project is None else f"@{hashlib.sha256(str(server.project).encode()).hexdigest()[:16]}"
    return data_dir() / "mcp" / f"{server.name}{project}.json"
