"""`llmos secret` and `/secrets`: values go in unseen and never come out."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Generator
from pathlib import Path

import pytest

from llmos.tools.secrets import Secrets
from tests.shell.helpers import Terminal, llmos, script

VALUE = "s3cr3t-välue"
NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NO_KEYRING.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def terminal(tmp_path: Path) -> Generator[Terminal]:
    begun = Terminal(tmp_path, "secret", "set", "brave", "--tool", "web_search", "--host", "api.search.brave.com")
    yield begun
    begun.close()


def kept(home: Path) -> Secrets:
    return Secrets(home / "data", vault=None)


def test_a_value_is_piped_in_kept_for_its_owner_only_and_never_shown(tmp_path: Path) -> None:
    arguments = ("secret", "set", "brave", "--tool", "web_search", "--host", "api.search.brave.com")
    done = llmos(tmp_path, *arguments, stdin=f"{VALUE}\n".encode())
    file = tmp_path / "data" / "secrets.json"
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == (
        f"kept secret://brave in '{file}', which only you can read: there is no keyring here that works\n"
        "for tool web_search, host api.search.brave.com\n"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert kept(tmp_path).value("brave", tool="web_search", host="api.search.brave.com") == VALUE
    shown = llmos(tmp_path, "secret", "list").stdout.decode()
    assert shown == "secret://brave  tool web_search, host api.search.brave.com, in the file\n"
    listed = json.loads(llmos(tmp_path, "secret", "list", "--json").stdout)
    assert listed == [{"name": "brave", "tool": "web_search", "host": "api.search.brave.com", "kept": "file"}]


def test_on_a_terminal_the_value_is_asked_for_without_echo(tmp_path: Path, terminal: Terminal) -> None:
    terminal.expect("value of brave:")
    terminal.send(f"{VALUE}\r")
    assert terminal.wait() == 0
    assert "kept secret://brave in " in terminal.screen.text
    assert VALUE not in terminal.output
    assert kept(tmp_path).value("brave", tool="web_search", host="api.search.brave.com") == VALUE


def test_leaving_the_question_keeps_nothing(tmp_path: Path, terminal: Terminal) -> None:
    terminal.expect("value of brave:")
    os.kill(terminal.pid, signal.SIGINT)
    assert terminal.wait() == 130
    assert kept(tmp_path).bindings() == ()


def test_a_keyring_is_used_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "ring.py").write_text(
        "import json, pathlib\n"
        "from keyring.backend import KeyringBackend\n"
        "class Ring(KeyringBackend):\n"
        "    priority = 1\n"
        "    file = pathlib.Path(__file__).with_name('ring.json')\n"
        "    def read(self): return json.loads(self.file.read_text()) if self.file.exists() else {}\n"
        "    def get_password(self, service, username): return self.read().get(service + username)\n"
        "    def set_password(self, service, username, password):\n"
        "        self.file.write_text(json.dumps({**self.read(), service + username: password}))\n"
        "    def delete_password(self, service, username):\n"
        "        self.file.write_text(json.dumps({k: v for k, v in self.read().items() if k != service + username}))\n"
    )
    ring = {"PYTHON_KEYRING_BACKEND": "ring.Ring", "PYTHONPATH": str(tmp_path)}
    done = llmos(tmp_path, "secret", "set", "key", "--tool", "pay", stdin=VALUE.encode(), **ring)
    assert done.stdout.decode() == "kept secret://key in the system's keyring\nfor tool pay, no host\n"
    assert json.loads((tmp_path / "ring.json").read_text()) == {"llmoskey": VALUE}
    assert VALUE not in (tmp_path / "data" / "secrets.json").read_text()
    assert llmos(tmp_path, "secret", "rm", "key", stdin=b"", **ring).stdout == b"forgot secret://key\n"
    assert json.loads((tmp_path / "ring.json").read_text()) == {}
    listed = llmos(tmp_path, "secret", "list", stdin=b"", **ring).stdout
    assert listed == b"no secret is kept; llmos secret set keeps one\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (("set", "a b", "--tool", "t"), b"long enough", 1, "A secret can't be named 'a b'"),
        (("set", "x", "--tool", "t"), b"", 1, "The secret 'x' has 0 characters"),
        (("set", "x", "--tool", "t"), b"v\xffalue", 1, "is not UTF-8 text"),
        (("set", "x", "--tool", "t", "--host", "https://a.example/"), b"long enough", 1, "'https://a.example/' is no"),
        (("set", "x", "--tool", "t", "--host", "a.example:443"), b"long enough", 1, "'a.example:443' is no host"),
        (("set", "x"), b"long enough", 2, "Missing option '--tool'"),
        (("set", "x", "long enough", "--tool", "t"), b"", 2, "unexpected extra argument"),
        (("rm", "x"), b"", 1, "There is no secret 'x'"),
    ],
)
def test_what_can_not_be_used_is_said_and_keeps_nothing(
    tmp_path: Path, arguments: tuple[str, ...], stdin: bytes, code: int, said: str
) -> None:
    done = llmos(tmp_path, "secret", *arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert kept(tmp_path).bindings() == ()


def test_the_chat_lists_them(tmp_path: Path) -> None:
    kept(tmp_path).set("github", VALUE, tool="http_*", host="api.github.com")
    done = llmos(tmp_path, "--model", script(tmp_path, "Hi."), stdin=b"/secrets\n")
    assert b"secret://github  tool http_*, host api.github.com, in the file" in done.stdout + done.stderr
    assert VALUE.encode() not in done.stdout + done.stderr
