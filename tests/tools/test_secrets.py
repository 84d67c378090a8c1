"""Secrets are put in after the gate, only where they are bound to, and taken out of whatever comes back."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keyring.errors import KeyringLocked

from llmos.errors import ConfigError, Denied, StorageError
from llmos.tools.secrets import Secrets, forms

VALUE = 'pa/ss+"wörd"&<1>'


class Keyring:
    """A keyring of its own, with the methods that `keyring`'s backends have."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str, /) -> str | None:
        return self.values.get((service, username))

    def set_password(self, service: str, username: str, password: str, /) -> None:
        self.values[service, username] = password

    def delete_password(self, service: str, username: str, /) -> None:
        del self.values[service, username]


def test_a_handle_becomes_its_value_for_its_tool_and_host_only(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, vault=None)
    secrets.set("github", VALUE, tool="http_*", host="*.github.com")
    arguments = {"headers": {"Authorization": "Bearer secret://github"}, "list": ["secret://github", 1, None]}
    resolved = secrets.resolve(arguments, tool="http_request", host="API.github.com")
    assert resolved == {"headers": {"Authorization": f"Bearer {VALUE}"}, "list": [VALUE, 1, None]}
    assert "secret://github" in json.dumps(arguments)
    for tool, host in (("shell", "api.github.com"), ("http_get", "github.com.evil.org"), ("http_get", "")):
        with pytest.raises(Denied, match="may not be used by"):
            secrets.resolve(arguments, tool=tool, host=host)
    with pytest.raises(ConfigError, match="There is no secret 'other'"):
        secrets.resolve({"a": "secret://other"}, tool="http_get", host="api.github.com")


def test_a_host_is_not_needed_where_a_secret_is_bound_to_none(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, vault=None)
    secrets.set("local", VALUE, tool="unlock", host="")
    assert secrets.resolve({"a": "secret://local"}, tool="unlock", host="") == {"a": VALUE}
    with pytest.raises(Denied):
        secrets.resolve({"a": "secret://local"}, tool="unlock", host="example.org")


def encodings(value: str) -> list[str]:
    raw = value.encode()
    return [
        value,
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        quote(value, safe="").lower() if value.islower() else quote(value),
        json.dumps(value),
        json.dumps(value, ensure_ascii=False),
        raw.hex(),
        raw.hex().upper(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        base64.b64encode(b"user:" + raw).decode(),
        base64.b64encode(b"a:" + raw + b"!").decode(),
        base64.urlsafe_b64encode(b"abc" + raw + b"xy").decode(),
    ]


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=8, max_size=40))
def test_a_secret_is_taken_out_however_it_is_encoded(value: str) -> None:
    import re

    pattern = re.compile("|".join(map(re.escape, sorted(forms(value), key=len, reverse=True))))
    for text in encodings(value):
        assert pattern.search(f"before {text} after"), text


def test_texts_are_redacted(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path, vault=None)
    assert secrets.redact("nothing yet") == "nothing yet"
    secrets.set("a", VALUE, tool="*", host="*")
    secrets.set("b", VALUE + "-longer", tool="*", host="*")
    for text in encodings(VALUE)[:9]:
        redacted = secrets.redact(f"before {text} after")
        assert "secret://a" in redacted
        assert VALUE not in redacted
    assert secrets.redact(f"x {VALUE}-longer y") == "x secret://b y"
    assert VALUE.encode() not in base64.b64decode(
        secrets.redact(base64.b64encode(f"user:{VALUE}".encode()).decode()).replace("secret://a", "A" * 4) + "==="
    )
    secrets.delete("a")
    assert secrets.redact(VALUE) == VALUE


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path / "data", vault=None)
    secrets.set("a", VALUE, tool="*", host="*")
    file = tmp_path / "data" / "secrets.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file.parent.iterdir() if path.suffix != ".lock"] == ["secrets.json"]
    file.chmod(0o644)
    assert Secrets(tmp_path / "data", vault=None).redact(VALUE) == "secret://a"
    assert file.stat().st_mode & 0o777 == 0o600


def test_with_a_keyring_the_file_has_no_values(tmp_path: Path) -> None:
    keyring = Keyring()
    secrets = Secrets(tmp_path, vault=keyring)
    binding = secrets.set("a", VALUE, tool="http_get", host="example.org")
    assert binding.kept == "keyring"
    assert "wörd" not in json.loads((tmp_path / "secrets.json").read_text()).__repr__()
    assert keyring.values == {("llmos", "a"): VALUE}
    again = Secrets(tmp_path, vault=keyring)
    assert again.bindings() == (binding,)
    assert again.redact(VALUE) == "secret://a"
    again.delete("a")
    assert keyring.values == {}
    assert secrets.bindings() == ()


def test_a_value_that_is_gone_from_the_keyring_is_said(tmp_path: Path) -> None:
    keyring = Keyring()
    secrets = Secrets(tmp_path, vault=keyring)
    secrets.set("a", VALUE, tool="*", host="*")
    keyring.values.clear()
    fresh = Secrets(tmp_path, vault=keyring)
    with pytest.raises(ConfigError, match="is gone"):
        fresh.value("a", tool="x", host="y")
    assert fresh.redact("text") == "text"


def test_the_system_without_a_keyring_falls_back_to_the_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from llmos.tools.secrets import Secrets\n"
        "print(Secrets(Path(sys.argv[1])).set('a', 'a long value', tool='*', host='*').kept)"
    )
    env = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, env=env, check=True
    )
    assert done.stdout.strip() == "file"


def test_another_process_sees_a_change(tmp_path: Path) -> None:
    one, other = Secrets(tmp_path, vault=None), Secrets(tmp_path, vault=None)
    one.set("a", VALUE, tool="*", host="*")
    assert other.redact(VALUE) == "secret://a"
    one.set("a", "another value", tool="*", host="*")
    assert other.redact(f"{VALUE} another value") == f"{VALUE} secret://a"


@pytest.mark.parametrize(
    ("name", "value", "tool"), [("a b", VALUE, "*"), ("", VALUE, "*"), ("a", "short", "*"), ("a", VALUE, "")]
)
def test_what_can_not_be_a_secret_is_refused(name: str, value: str, tool: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Secrets(tmp_path, vault=None).set(name, value, tool=tool, host="*")


def test_a_damaged_file_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{", encoding="utf-8")
    with pytest.raises(StorageError):
        Secrets(tmp_path, vault=None).bindings()


class Locked(Keyring):
    """A keyring that refuses."""

    def get_password(self, service: str, username: str, /) -> str | None:
        raise KeyringLocked("it is locked")

    def set_password(self, service: str, username: str, password: str, /) -> None:
        raise KeyringLocked("it is locked")


def test_a_locked_keyring_is_said_and_stops_only_what_needs_it(tmp_path: Path) -> None:
    ring = Keyring()
    Secrets(tmp_path, vault=ring).set("github", VALUE, tool="http_*", host="api.github.com")
    locked = Secrets(tmp_path, vault=Locked())
    for trouble in (
        lambda: locked.value("github", tool="http_get", host="api.github.com"),
        lambda: locked.set("other", VALUE, tool="pay", host=""),
        lambda: locked.delete("github"),
    ):
        with pytest.raises(StorageError, match=r"keyring did not .*: it is locked"):
            trouble()
    assert [binding.name for binding in locked.bindings()] == ["github"]
    assert locked.redact("a text") == "a text"
    assert Secrets(tmp_path, vault=ring).value("github", tool="http_get", host="api.github.com") == VALUE


def test_a_secret_whose_value_is_gone_from_the_keyring_can_be_forgotten(tmp_path: Path) -> None:
    ring = Keyring()
    secrets = Secrets(tmp_path, vault=ring)
    secrets.set("github", VALUE, tool="http_*", host="api.github.com")
    ring.values.clear()
    secrets.delete("github")
    assert secrets.bindings() == ()


@pytest.mark.parametrize("host", ["https://a.example", "a.example/x", "a.example:443", "me@a.example", "a example"])
def test_a_host_is_a_host_and_no_more(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="is no host"):
        Secrets(tmp_path, vault=None).set("x", VALUE, tool="t", host=host)


@pytest.mark.parametrize("host", ["", "*.example.com", "api.example.com", "127.0.0.1", "::1"])
def test_patterns_and_addresses_are_hosts(tmp_path: Path, host: str) -> None:
    assert Secrets(tmp_path, vault=None).set("x", VALUE, tool="t", host=host).host == host
