"""`llmos secret` and `/secrets`: keeping, listing and forgetting secrets. No value is ever shown.

Knows no command line: `llmos.shell.cli_secrets` has the commands.
"""

from __future__ import annotations

import getpass
import sys
from dataclasses import asdict

from llmos.config import data_dir
from llmos.errors import ConfigError
from llmos.shell import jsonl
from llmos.shell.text import columns, harmless
from llmos.tools.secrets import MAX_LENGTH, Binding, Secrets

_MOST_BYTES = 4 * MAX_LENGTH + 4


def keep(name: str, *, tool: str, host: str, as_json: bool) -> None:
    """Ask for a value, without echo, or read what is piped in; keep it, and say where.

    Raises:
        ConfigError: Name, value or binding can't be used.
        StorageError: It can't be written.
    """
    secrets = Secrets(data_dir())
    binding = secrets.set(name, _value(name), tool=tool, host=host)
    if as_json:
        print(jsonl.line(asdict(binding)))
        return
    place = "the system's keyring"
    if binding.kept == "file":
        place = f"{str(secrets.file)!r}, which only you can read: there is no keyring here that works"
    print(harmless(f"kept secret://{name} in {place}\nfor {_purpose(binding)}"))


def _value(name: str) -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        try:
            return getpass.getpass(f"value of {name}: ")
        except EOFError:
            return ""
    try:
        text = sys.stdin.buffer.read(_MOST_BYTES).decode("utf-8") if sys.stdin is not None else ""
    except UnicodeDecodeError:  # it holds the value: not to be shown with the error
        raise ConfigError("The value that is piped in is not UTF-8 text.", hint="Encode it first.") from None
    return text.removesuffix("\n").removesuffix("\r")


def forget(names: list[str]) -> None:
    """Forget secrets.

    Raises:
        ConfigError: There is none of a name.
        StorageError: It can't be written.
    """
    secrets = Secrets(data_dir())
    for name in names:
        secrets.delete(name)
        print(f"forgot secret://{name}")


def show(*, as_json: bool) -> None:
    """List what there is."""
    found = Secrets(data_dir()).bindings()
    print(jsonl.line([asdict(binding) for binding in found]) if as_json else listed(found))


def listed(bindings: tuple[Binding, ...] | None = None) -> str:
    """All secrets, a line each: the handle, what it is for, where its value is.

    Args:
        bindings: Those that are kept, by default.
    """
    found = Secrets(data_dir()).bindings() if bindings is None else bindings
    if not found:
        return "no secret is kept; llmos secret set keeps one"
    rows = [(f"secret://{one.name}", f"{_purpose(one)}, in the {one.kept}") for one in found]
    return harmless(columns(rows, indent=0))


def _purpose(binding: Binding) -> str:
    return f"tool {binding.tool}, {f'host {binding.host}' if binding.host else 'no host'}"
