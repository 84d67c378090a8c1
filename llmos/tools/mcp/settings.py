"""Which MCP servers there are: `mcp.toml` beside the settings file, and `.llmos/mcp.toml` of a project.

A project's file counts only while the user has approved exactly its bytes, and it can't weaken what a tool counts as.
Knows no protocol and starts nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import urlsplit

from llmos.config import config_path, data_dir, write_atomically
from llmos.errors import ConfigError, StorageError
from llmos.kernel.calls import Effect

NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*")
MAX_NAME = 32
MAX_FILE = 256 * 1024
SECONDS = 60.0
PROJECT = Path(".llmos", "mcp.toml")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_WORSE: tuple[Effect, ...] = ("external", "irreversible")
_SERVER_KEYS = {"command", "env", "cwd", "url", "headers", "seconds", "only", "tools"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRule:
    """What the user says of one tool; None leaves it at the safe assumption.

    Attributes:
        effect: The worst it can do.
        steers: The arguments that decide what is affected.
    """

    effect: Effect | None = None
    steers: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server: a command that is started, or a URL.

    Attributes:
        project: The project folder whose file names it; None for the user's own.
        command: Program and arguments; empty for a URL.
        env: Variables for the command, `secret://` handles in their values.
        cwd: Where the command runs; empty for the current folder, or the project's.
        headers: For a URL, `secret://` handles in their values.
        seconds: A call may take so long.
        only: Names of the tools that are offered; empty for all.
        rules: By tool, as the server names it.
    """

    name: str
    project: Path | None = None
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    seconds: float = SECONDS
    only: tuple[str, ...] = ()
    rules: Mapping[str, ToolRule] = field(default_factory=dict[str, ToolRule])

    @property
    def host(self) -> str:
        """The host that its secrets are sent to; empty for a command."""
        return urlsplit(self.url).hostname or "" if self.url else ""

    @property
    def scope(self) -> str:
        """As what it asks for secrets: they are bound to this."""
        return f"mcp.{self.name}" if self.project is None else f"mcp.project.{self.name}"

    @property
    def where(self) -> str:
        """What it is, for people."""
        return self.url or " ".join(map(_shown, self.command))


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A project's file as it is now.

    Attributes:
        digest: SHA-256 of its bytes.
        approved: The user approved exactly these.
    """

    path: Path
    text: str
    digest: str
    approved: bool


@dataclass(frozen=True, slots=True)
class Found:
    """All servers that count, and what is to be told about those that don't."""

    servers: Mapping[str, Server]
    notices: tuple[str, ...] = ()


def user_path() -> Path:
    """The user's own file, which need not exist."""
    return config_path().with_name("mcp.toml")


def is_present(folder: Path | None = None) -> bool:
    """Whether there is any file at all: two looks at the disk."""
    return user_path().exists() or ((folder or Path.cwd()) / PROJECT).exists()


def load(folder: Path | None = None) -> Found:
    """The servers of the user, and of the project in a folder (by default the current one) if it was approved.

    Raises:
        ConfigError: The user's own file has a mistake.
        StorageError: It can't be read.
    """
    servers = {server.name: server for server in own_servers()}
    notices: list[str] = []
    file = project_file(folder)
    if file is None:
        return Found(servers)
    if not file.approved:
        notices.append(f"{file.path} brings MCP servers, which are not used. `llmos mcp approve` shows it and asks.")
        return Found(servers, tuple(notices))
    try:
        for server in parse(file.text, str(file.path), project=file.path.parent.parent):
            if server.name in servers:
                notices.append(
                    f"The MCP server {server.name!r} of this project is not used: you have one of this name."
                )
            servers.setdefault(server.name, server)
    except ConfigError as error:
        notices.append(str(error))
    return Found(servers, tuple(notices))


def own_servers() -> tuple[Server, ...]:
    """Those of the user's own file.

    Raises:
        ConfigError: It has a mistake.
        StorageError: It can't be read.
    """
    path = user_path()
    data = _bytes(path)
    return () if data is None else tuple(parse(_decoded(data, path), str(path)))


def project_file(folder: Path | None = None) -> ProjectFile | None:
    """The project's file in a folder; None if there is none.

    Raises:
        ConfigError: It is not text.
        StorageError: It can't be read.
    """
    path = ((folder or Path.cwd()) / PROJECT).resolve()
    data = _bytes(path)
    if data is None:
        return None
    digest = hashlib.sha256(data).hexdigest()
    return ProjectFile(path, _decoded(data, path), digest, _approved().get(str(path)) == digest)


def approve(file: ProjectFile) -> None:
    """Let a project's file count as long as its bytes stay the same.

    Raises:
        ConfigError: It has a mistake.
        StorageError: That can't be written down.
    """
    for _ in parse(file.text, str(file.path), project=file.path.parent.parent):
        pass
    write_atomically(_approvals(), json.dumps({**_approved(), str(file.path): file.digest}, indent=1))


def check(server: Server) -> None:
    """See that a server could be added.

    Raises:
        ConfigError: It has a mistake, or there is one of this name.
        StorageError: The user's file can't be read.
    """
    list(parse(_section(server), "this command"))
    if any(known.name == server.name for known in own_servers()):
        raise ConfigError(f"There is an MCP server {server.name!r} already.", hint=f"`llmos mcp remove {server.name}`.")


def add(server: Server) -> None:
    """Write a server into the user's own file; what else stands there stays as it is.

    Raises:
        ConfigError: There is one of this name, or it has a mistake.
        StorageError: The file can't be written.
    """
    check(server)
    path = user_path()
    before = (_bytes(path) or b"").decode()
    text = f"{before.rstrip()}\n\n{_section(server)}".lstrip()
    list(parse(text, str(path)))
    write_atomically(path, text)


def remove(name: str) -> None:
    """Take a server out of the user's own file; what else stands there stays as it is.

    Raises:
        ConfigError: There is none of this name, or it is written in a way that can't be cut out.
        StorageError: The file can't be written.
    """
    path = user_path()
    servers = {server.name: server for server in own_servers()}
    if name not in servers:
        known = f"There are: {', '.join(sorted(servers))}." if servers else "There is none."
        raise ConfigError(f"There is no MCP server {name!r} in {str(path)!r}.", hint=known)
    kept: list[str] = []
    inside = False
    for line in (_bytes(path) or b"").decode().splitlines(keepends=True):
        if re.match(r"\s*\[", line) and not line.lstrip().startswith("[["):
            header = re.sub(r"[\s\"']", "", line.partition("#")[0])
            inside = header == f"[servers.{name}]" or header.startswith(f"[servers.{name}.")
        if not inside:
            kept.append(line)
    text = "".join(kept)
    try:
        left = {server.name: server for server in parse(text, str(path))}
    except ConfigError:
        left = {}
    if left != {other: server for other, server in servers.items() if other != name}:
        raise ConfigError(f"{name!r} can't be taken out of {str(path)!r}.", hint="Take its lines out by hand.")
    write_atomically(path, text)


# -- reading


def parse(text: str, where: str, *, project: Path | None = None) -> Iterator[Server]:
    """The servers in the text of a file.

    Args:
        where: The file's name, for errors.
        project: Whose file it is; None for the user's own.

    Raises:
        ConfigError: It has a mistake.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where!r} is not valid TOML: {error}.") from error
    servers = data.pop("servers", {})
    if data or not isinstance(servers, dict):
        wrong = next(iter(data), "servers")
        raise ConfigError(f"{where!r} has {wrong!r} at its top.", hint="A server begins with [servers.NAME].")
    for name, entry in cast("dict[str, object]", servers).items():
        reader = _Reader(name, entry, where, project)
        yield reader.server()


class _Reader:
    """One server's table."""

    def __init__(self, name: str, entry: object, where: str, project: Path | None) -> None:
        self._where = f"[servers.{name}] in {where}"
        if not NAME.fullmatch(name) or len(name) > MAX_NAME:
            raise ConfigError(
                f"An MCP server can't be named {name!r}.",
                hint=f"Use up to {MAX_NAME} letters, digits and single '-' or '_', a letter first.",
            )
        self._name, self._project = name, project
        self._entry = self._table(entry, "")
        if unknown := sorted(self._entry.keys() - _SERVER_KEYS):
            raise self._wrong(unknown[0], f"known are {', '.join(sorted(_SERVER_KEYS))}")

    def server(self) -> Server:
        """What it says."""
        command, url = self._texts("command"), self._text("url")
        if bool(command) == bool(url):
            raise self._wrong("command", "a server has either a command or a url")
        for key in ("env", "cwd") if url else ("headers",):
            if self._entry.get(key):
                raise self._wrong(key, "env and cwd with a command, headers with a url")
        if url:
            check_url(url)
        seconds = self._entry.get("seconds", SECONDS)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 3600:
            raise self._wrong("seconds", "a number above 0, up to 3600")
        rules = {
            tool: self._rule(tool, rule) for tool, rule in self._table(self._entry.get("tools", {}), "tools").items()
        }
        return Server(
            name=self._name,
            project=self._project,
            command=command,
            env=self._strings("env"),
            cwd=self._text("cwd"),
            url=url,
            headers=self._strings("headers"),
            seconds=float(seconds),
            only=self._texts("only"),
            rules=rules,
        )

    def _rule(self, tool: str, value: object) -> ToolRule:
        key = f"tools.{tool}"
        table = self._table(value, key)
        if unknown := sorted(table.keys() - {"effect", "steers"}):
            raise self._wrong(f"{key}.{unknown[0]}", "known are effect and steers")
        effect, steers = table.get("effect"), table.get("steers")
        if effect is not None and effect not in get_args(Effect):
            raise self._wrong(f"{key}.effect", f"one of {', '.join(get_args(Effect))}")
        if self._project is not None and (effect not in (None, *_WORSE) or steers is not None):
            raise self._wrong(key, "only your own mcp.toml says that a tool does less than the worst")
        given = None if steers is None else frozenset(_list_of_texts(steers) or ())
        if steers is not None and _list_of_texts(steers) is None:
            raise self._wrong(f"{key}.steers", "a list of names of arguments")
        return ToolRule(effect=cast("Effect | None", effect), steers=given)

    def _table(self, value: object, key: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._wrong(key, "a table")
        return cast("dict[str, Any]", value)

    def _text(self, key: str) -> str:
        value = self._entry.get(key, "")
        if not isinstance(value, str) or "\0" in value:
            raise self._wrong(key, "a text")
        return value

    def _texts(self, key: str) -> tuple[str, ...]:
        texts = _list_of_texts(self._entry.get(key, []))
        if texts is None:
            raise self._wrong(key, "a list of texts")
        return texts

    def _strings(self, key: str) -> Mapping[str, str]:
        table = self._table(self._entry.get(key, {}), key)
        if any(not isinstance(value, str) or re.search(r"[\0\r\n]", value) for value in table.values()):
            raise self._wrong(key, "a table of texts of one line")
        return table

    def _wrong(self, key: str, allowed: str) -> ConfigError:
        return ConfigError(f"{key!r} of {self._where} can't be used.", hint=f"Allowed: {allowed}.")


def check_url(url: str) -> None:
    """See that a URL may be used: https, or http on this machine.

    Raises:
        ConfigError: It may not.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is no URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{url!r} is no URL of an MCP server.", hint="It begins with https://.")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ConfigError(f"{url!r} would be read by anybody on the way.", hint="Use https; http is for this machine.")
    if parts.username or parts.password:
        raise ConfigError(f"The URL of {host!r} has a password in it.", hint="Use a header with secret://NAME.")


def _list_of_texts(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    items = cast("list[object]", value)
    texts = tuple(item for item in items if isinstance(item, str) and "\0" not in item)
    return texts if len(texts) == len(items) else None


def _bytes(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"{str(path)!r} can't be read: {error.strerror or error}.") from error
    if len(data) > MAX_FILE:
        raise StorageError(f"{str(path)!r} is longer than {MAX_FILE:,} bytes.", hint="It is no list of MCP servers.")
    return data


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{str(path)!r} is not UTF-8 text.") from error


def _approvals() -> Path:
    return data_dir() / "mcp" / "approved.json"


def _approved() -> dict[str, str]:
    data = _bytes(_approvals())
    try:
        found: object = json.loads(data) if data else {}
    except ValueError as error:
        raise StorageError(f"{str(_approvals())!r} is damaged.", hint="Remove it and approve again.") from error
    return cast("dict[str, str]", found) if isinstance(found, dict) else {}


# -- writing


def _section(server: Server) -> str:
    lines = [f"[servers.{server.name}]"]
    if server.command:
        lines.append(f"command = [{', '.join(map(_quoted, server.command))}]")
    if server.url:
        lines.append(f"url = {_quoted(server.url)}")
    for key, table in (("env", server.env), ("headers", server.headers)):
        if table:
            inside = ", ".join(f"{_quoted(name)} = {_quoted(value)}" for name, value in table.items())
            lines.append(f"{key} = {{ {inside} }}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A text as TOML writes it: JSON's escapes are a part of TOML's, but for the character DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _shown(word: str) -> str:
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else json.dumps(word, ensure_ascii=False)
