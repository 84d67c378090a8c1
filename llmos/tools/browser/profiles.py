"""Profiles: what a browser remembers of sites (cookies, local storage, databases), kept encrypted between sessions.

A profile is Playwright's storage state, encrypted with Fernet (AES-128 in CBC mode, authenticated by HMAC-SHA256). The
key is in the system's keyring, or in a file that only its owner can read. Knows no browser.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets as randomness
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from llmos.errors import ConfigError, StorageError
from llmos.tools.secrets import Vault, system_vault

if TYPE_CHECKING:
    from playwright.async_api import StorageState

SERVICE = "llmos browser"
"""Name of the key in the keyring; apart from the users' secrets, which could have any name in theirs."""
_ENTRY = "profiles"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Profiles:
    """The profiles of a user.

    Args:
        folder: Where they are kept, and the key without a keyring. Made when the first is saved.
        vault: The keyring; by default the system's, None for no keyring. Found out when it is first needed.
    """

    def __init__(self, folder: Path, *, vault: Vault | Literal["system"] | None = "system") -> None:
        self._folder = folder
        self._given: Vault | Literal["system"] | None = vault

    def names(self) -> tuple[str, ...]:
        """Those that have been saved."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.profile")))

    def load(self, name: str) -> StorageState | None:
        """What a profile remembers; None for a new one.

        Raises:
            ConfigError: The name can't be used.
            StorageError: It can't be read, or was not encrypted with this key.
        """
        from cryptography.fernet import Fernet, InvalidToken

        file = self._file(name)
        try:
            packed = file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"The profile {name!r} can't be read: {error.strerror or error}.") from error
        try:
            return cast("StorageState", json.loads(Fernet(self._key()).decrypt(packed)))
        except (InvalidToken, ValueError) as error:
            raise StorageError(
                f"The profile {name!r} can't be decrypted: it was changed, or its key is gone.",
                hint=f"Remove {str(file)!r} and log in again.",
            ) from error

    def save(self, name: str, state: StorageState) -> None:
        """Keep a profile, in one step: what was there before stays whole if this fails.

        Raises:
            ConfigError: The name can't be used.
            StorageError: It can't be written.
        """
        from cryptography.fernet import Fernet

        file = self._file(name)
        with self._writing():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(file, Fernet(self._key()).encrypt(json.dumps(state).encode()))

    def delete(self, name: str) -> None:
        """Forget a profile.

        Raises:
            ConfigError: There is none of this name.
            StorageError: It can't be removed.
        """
        file = self._file(name)
        if not file.exists():
            raise ConfigError(f"There is no profile {name!r}.", hint=f"There are: {', '.join(self.names()) or 'none'}.")
        with self._writing():
            file.unlink()

    @contextlib.contextmanager
    def used(self, name: str) -> Generator[None]:
        """Have a profile for oneself: of two sessions with the same one, the last to end would undo the other's logins.

        Raises:
            ConfigError: Another session has it, or the name can't be used.
            StorageError: The folder can't be written.
        """
        lock = self._file(name).with_suffix(".lock")
        with self._writing():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(
                    f"The profile {name!r} is in use by another session.", hint="Close it, or take another profile."
                ) from error
            yield
        finally:
            os.close(descriptor)

    def _file(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"A profile can't be named {name!r}.", hint="Use up to 64 letters, digits, '_' and '-'.")
        return self._folder / f"{name}.profile"

    def _key(self) -> bytes:
        """The key, made when there is none."""
        from cryptography.fernet import Fernet

        vault = self._vault()
        if vault is None:
            return self._key_in_file()
        key = vault.get_password(SERVICE, _ENTRY)
        if key is None:
            key = Fernet.generate_key().decode()
            vault.set_password(SERVICE, _ENTRY, key)
        return key.encode()

    def _key_in_file(self) -> bytes:
        from cryptography.fernet import Fernet

        file = self._folder / "key"
        with self._writing():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not file.exists():
                draft = _draft(file, Fernet.generate_key())
                try:
                    # unlike a rename, it fails where another process was quicker
                    with contextlib.suppress(FileExistsError):
                        os.link(draft, file)
                finally:
                    draft.unlink()
            return file.read_bytes()

    def _vault(self) -> Vault | None:
        if isinstance(self._given, str):
            self._given = system_vault()
        return self._given

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"Profiles can't be kept in {str(self._folder)!r}: {error.strerror or error}.",
                hint="Check the folder's rights and the free space.",
            ) from error


def _replace(file: Path, content: bytes) -> None:
    draft = _draft(file, content)
    try:
        os.replace(draft, file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _draft(file: Path, content: bytes) -> Path:
    """A file beside this one that only its owner can read."""
    draft = file.with_name(f".{file.name}.{randomness.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return draft
