"""Secrets that a model handles without seeing them: it writes `secret://name`, the value is put in after the gate.

Each is bound to tools and hosts. Values live in the system's keyring, or in a file that only its owner can read. What
comes back is searched for them, in the usual encodings too. Knows no particular tool.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import fnmatch
import html
import json
import os
import re
import secrets as randomness
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast
from urllib.parse import quote, quote_plus

from llmos.errors import ConfigError, Denied, StorageError

_HOST = re.compile(r"[^\s/:@]*|[^\s/@]*:[^\s/@]*:[^\s/@]*")  # without a port; addresses of IPv6 have two colons or more
HANDLE = re.compile(r"secret://([A-Za-z0-9_-]{1,64})")
SERVICE = "llmos"
MIN_LENGTH = 6
"""Characters. A shorter one could be guessed, and hiding it would tear words apart."""
MAX_LENGTH = 10_000


class Vault(Protocol):
    """Where values are kept. `keyring` and its backends have these methods."""

    def get_password(self, service: str, username: str, /) -> str | None:
        """The value, None if there is none."""
        ...

    def set_password(self, service: str, username: str, password: str, /) -> None:
        """Keep a value."""
        ...

    def delete_password(self, service: str, username: str, /) -> None:
        """Forget a value."""
        ...


@dataclass(frozen=True, slots=True)
class Binding:
    """What a secret may be used for.

    Attributes:
        name: As in `secret://name`.
        tool: `fnmatch` pattern of tools.
        host: `fnmatch` pattern of hosts it may be sent to; empty for tools that send nothing.
        kept: Where its value is.
    """

    name: str
    tool: str
    host: str
    kept: Literal["keyring", "file"]


class Secrets:
    """The secrets of a user.

    Args:
        folder: Where bindings are kept, and values without a keyring. Made if it is missing.
        vault: The keyring; by default the system's, None for no keyring. Found out when it is first needed.
    """

    def __init__(self, folder: Path, *, vault: Vault | Literal["system"] | None = "system") -> None:
        self._file = folder / "secrets.json"
        self._given: Vault | Literal["system"] | None = vault
        self._lock = threading.RLock()
        self._values: dict[str, str] = {}
        self._stamp: tuple[int, int] | None = None
        self._pattern: tuple[re.Pattern[str], dict[str, str]] | None = None

    @property
    def file(self) -> Path:
        """Where bindings are, and values without a keyring."""
        return self._file

    def set(self, name: str, value: str, *, tool: str, host: str) -> Binding:
        """Keep a secret, or replace it.

        Raises:
            ConfigError: The name, the value or the binding can't be used.
            StorageError: It can't be written, or the keyring refuses.
        """
        if not HANDLE.fullmatch(f"secret://{name}"):
            raise ConfigError(f"A secret can't be named {name!r}.", hint="Use letters, digits, '_' and '-'.")
        if not MIN_LENGTH <= len(value) <= MAX_LENGTH:
            raise ConfigError(
                f"The secret {name!r} has {len(value)} characters.", hint=f"It needs {MIN_LENGTH} to {MAX_LENGTH:,}."
            )
        if not tool:
            raise ConfigError(f"The secret {name!r} is bound to no tool.", hint="Name one, such as http_request.")
        if not _HOST.fullmatch(host):
            raise ConfigError(f"{host!r} is no host.", hint="Such as api.example.com or *.example.com, and no more.")
        with self._changed() as stored:
            vault = self._vault()
            if vault is not None:
                with _asked(f"keep {name!r}"):
                    vault.set_password(SERVICE, name, value)
            binding = Binding(name, tool, host.lower(), "file" if vault is None else "keyring")
            stored[name] = asdict(binding) | ({"value": value} if vault is None else {})
            return binding

    def delete(self, name: str) -> None:
        """Forget a secret.

        Raises:
            ConfigError: There is none of this name.
            StorageError: It can't be written, or the keyring refuses.
        """
        with self._changed() as stored:
            if name not in stored:
                raise ConfigError(f"There is no secret {name!r}.", hint=_known(stored))
            vault = self._vault()
            if stored.pop(name).get("kept") == "keyring" and vault is not None:
                with _asked(f"forget {name!r}"):
                    if vault.get_password(SERVICE, name) is not None:
                        vault.delete_password(SERVICE, name)

    def bindings(self) -> tuple[Binding, ...]:
        """All secrets, without their values."""
        with self._lock:
            return tuple(_binding(name, entry) for name, entry in sorted(self._read().items()))

    def resolve(self, arguments: Mapping[str, Any], *, tool: str, host: str) -> dict[str, Any]:
        """Arguments with the values in place of handles, to be passed on to the tool and nowhere else.

        Args:
            arguments: JSON data.
            tool: Which tool is called.
            host: Where it sends them; empty if nowhere.

        Raises:
            Denied: A secret is not bound to this tool and host.
            ConfigError: There is no such secret.
        """

        def put_in(found: re.Match[str]) -> str:
            return self.value(found[1], tool=tool, host=host)

        return cast("dict[str, Any]", _mapped(dict(arguments), lambda text: HANDLE.sub(put_in, text)))

    def value(self, name: str, *, tool: str, host: str) -> str:
        """One secret, for a tool and a host.

        Raises:
            Denied: It is not bound to them.
            ConfigError: There is no such secret.
        """
        with self._lock:
            stored = self._read()
            if name not in stored:
                raise ConfigError(f"There is no secret {name!r}.", hint=_known(stored))
            binding = _binding(name, stored[name])
            if not fnmatch.fnmatchcase(tool, binding.tool) or not fnmatch.fnmatchcase(host.lower(), binding.host):
                raise Denied(
                    f"The secret {name!r} may not be used by {tool!r}" + (f" for {host!r}." if host else "."),
                    hint=f"It is for {binding.tool!r}" + (f" and {binding.host!r}." if binding.host else "."),
                )
            return self._load(binding, stored)

    def redact(self, text: str) -> str:
        """A text with every secret in it replaced by its handle, plain or encoded."""
        with self._lock:
            pattern = self._compiled()
        if pattern is None:
            return text
        return pattern[0].sub(lambda found: pattern[1][found[0]], text)

    def _load(self, binding: Binding, stored: Mapping[str, Mapping[str, Any]]) -> str:
        if binding.name not in self._values:
            vault = self._vault() if binding.kept == "keyring" else None
            if vault is None:
                value = stored[binding.name].get("value")
            else:
                with _asked(f"give {binding.name!r}"):
                    value = vault.get_password(SERVICE, binding.name)
            if not isinstance(value, str):
                raise ConfigError(f"The value of the secret {binding.name!r} is gone.", hint="Set it again.")
            self._values[binding.name] = value
        return self._values[binding.name]

    def _compiled(self) -> tuple[re.Pattern[str], dict[str, str]] | None:
        stored = self._read()
        if self._pattern is None and stored:
            names: dict[str, str] = {}
            for name, entry in stored.items():
                # its value is gone, or the keyring is locked: nobody here can have it
                with contextlib.suppress(ConfigError, StorageError):
                    value = self._load(_binding(name, entry), stored)
                    names |= dict.fromkeys(forms(value), f"secret://{name}")
            if names:
                longest_first = sorted(names, key=len, reverse=True)
                self._pattern = re.compile("|".join(map(re.escape, longest_first))), names
        return self._pattern

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            info = self._file.stat()
            stamp = (info.st_mtime_ns, info.st_ino)
            if stamp != self._stamp:
                if info.st_mode & 0o077:
                    os.chmod(self._file, 0o600)
                self._stored = cast("dict[str, dict[str, Any]]", json.loads(self._file.read_text("utf-8")))
                self._stamp, self._pattern = stamp, None
                self._values.clear()
        except FileNotFoundError:
            self._stored, self._stamp, self._pattern = {}, None, None
        except (OSError, ValueError) as error:
            raise StorageError(f"{str(self._file)!r} can't be read: {error}.", hint="Repair or remove it.") from error
        return self._stored

    @contextlib.contextmanager
    def _changed(self) -> Generator[dict[str, dict[str, Any]]]:
        """The stored secrets, written back in one step to a file that only the owner can read."""
        with self._lock, self._locked():
            stored = dict(self._read())
            yield stored
            self._write(stored)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """Alone on the folder, which other processes share."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"Secrets can't be kept in {str(self._file.parent)!r}: {error.strerror or error}.",
                hint="Check the folder's rights, or set LLMOS_HOME to another one.",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, stored: Mapping[str, Any]) -> None:
        draft = self._file.with_name(f".{self._file.name}.{randomness.token_hex(6)}")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(stored, file, indent=1)
                file.flush()
                os.fsync(descriptor)
            os.replace(draft, self._file)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StorageError(f"{str(self._file)!r} can't be written: {error}.") from error
        self._stamp, self._pattern = None, None
        self._values.clear()

    def _vault(self) -> Vault | None:
        if isinstance(self._given, str):
            self._given = system_vault()
        return self._given


@contextlib.contextmanager
def _asked(what: str) -> Generator[None]:
    """Something is asked of the keyring.

    Raises:
        StorageError: It refuses.
    """
    from keyring.errors import KeyringError

    try:
        yield
    except (KeyringError, OSError, RuntimeError) as error:
        raise StorageError(
            f"The system's keyring did not {what}: {error or type(error).__name__}.", hint="Unlock it and try again."
        ) from error


def system_vault() -> Vault | None:
    """The system's keyring; None where there is none that works."""
    import keyring
    from keyring.backends import chainer, fail
    from keyring.errors import KeyringError

    backend = keyring.get_keyring()
    if isinstance(backend, fail.Keyring) or (isinstance(backend, chainer.ChainerBackend) and not backend.backends):
        return None
    try:
        backend.get_password(SERVICE, "-")
    except (KeyringError, OSError, RuntimeError):
        return None
    return backend


def forms(value: str) -> set[str]:
    """A secret as it may turn up in a text: as it is, and encoded for URLs, JSON, HTML, base64 and hexadecimal."""
    raw = value.encode()
    found = {value, raw.hex(), html.escape(value), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    for encoded in (quote(value), quote(value, safe=""), quote_plus(value)):
        found |= {encoded, re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)}
    found.add(raw.hex().upper())
    for before in range(3):  # inside a longer base64 text it starts at one of three places
        packed = base64.b64encode(b"\0" * before + raw).decode()
        # characters that also depend on what stands around are left out
        start, end = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        middle = packed[start:end]
        if len(middle) >= MIN_LENGTH:
            found |= {middle, middle.replace("+", "-").replace("/", "_")}
    return found


def _mapped(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON data
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value)
        return {key: _mapped(entry, change) for key, entry in entries.items()}
    if isinstance(value, list | tuple):
        return [_mapped(entry, change) for entry in cast("list[Any]", value)]
    return value


def _binding(name: str, entry: Mapping[str, Any]) -> Binding:
    return Binding(name, str(entry.get("tool", "")), str(entry.get("host", "")), entry.get("kept", "file"))


def _known(stored: Mapping[str, object]) -> str:
    return f"There are: {', '.join(sorted(stored))}." if stored else "None has been set."
