"""`llmos mcp`: the program itself, with a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from llmos.tools.secrets import Secrets
from tests.shell.helpers import environment, llmos, script, terminals

SERVER = Path(__file__).parent.parent / "tools" / "mcp" / "sdk_server.py"
COMMAND = (sys.executable, str(SERVER), "stdio")
TerminalAt = Callable[..., Any]


@pytest.fixture
def terminal(tmp_path: Path) -> Generator[TerminalAt]:
    with terminals(tmp_path, columns=200, rows=50) as made:
        yield made


def run(home: Path, *arguments: str) -> tuple[int, str, str]:
    """Its exit code, stdout and stderr."""
    done = llmos(home, *arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_server_is_added_listed_tested_and_removed(tmp_path: Path) -> None:
    code, out, _ = run(tmp_path, "mcp", "add", "sample", "--yes", "--env", "MAIL=/dev/null", "--", *COMMAND)
    assert code == 0
    assert "outside the sandbox, with all your rights" in out
    assert f"{SERVER} stdio" in out
    assert "variable MAIL = /dev/null" in out
    assert "sample__add  [external; it says of itself: readOnlyHint=true]" in out
    assert json.loads(run(tmp_path, "mcp", "list", "--json")[1]) == [
        {"name": "sample", "from": "user", "where": " ".join(COMMAND), "tools": 11, "state": "ready"}
    ]
    code, out, _ = run(tmp_path, "mcp", "test", "sample", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["good"]
    assert found["protocol"]
    assert {tool["effect"] for tool in found["tools"]} == {"external"}
    assert run(tmp_path, "mcp", "remove", "sample")[:2] == (0, "removed sample\n")
    assert "no MCP server" in run(tmp_path, "mcp", "list")[1]


def test_nothing_is_started_or_written_where_nobody_agrees(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "mcp", "add", "sample", "--", "touch", str(tmp_path / "touched"))
    assert code == 1
    assert "--yes adds it" in err
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "mcp.toml").exists()


def test_a_server_that_does_not_work_is_not_added(tmp_path: Path) -> None:
    code, _, err = run(tmp_path, "mcp", "add", "sample", "--yes", "--", sys.executable, "-c", "raise SystemExit('oh')")
    assert code == 1
    assert "ended with exit status 1" in err
    assert "oh" in err
    assert not (tmp_path / "mcp.toml").exists()


@pytest.mark.parametrize(
    "arguments",
    [["sample"], ["sample", "--url", "https://e.com", "--", "x"]],
)
def test_either_a_command_or_a_url(tmp_path: Path, arguments: list[str]) -> None:
    assert run(tmp_path, "mcp", "add", *arguments)[0] == 2


def test_a_changed_tool_is_shown_and_used_again_only_when_it_is_accepted(tmp_path: Path) -> None:
    assert run(tmp_path, "mcp", "add", "sample", "--yes", "--", *COMMAND)[0] == 0
    file = tmp_path / "mcp.toml"
    file.write_text(f"{file.read_text()}env = {{ SAID = 'Read it. \\u001b[2J' }}\n".replace("'", '"'))
    code, out, _ = run(tmp_path, "mcp", "test", "sample")
    assert code == 1
    assert "sample__news  [external; CHANGED; differs in description]" in out
    assert "Read it. \\x1b[2J" in out
    assert "\x1b" not in out
    assert "used until `llmos mcp test sample --accept`" in out
    assert run(tmp_path, "mcp", "test", "sample", "--accept")[0] == 0
    assert run(tmp_path, "mcp", "test", "sample")[0] == 0


def test_a_projects_file_is_shown_whole_and_approved_once(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / ".llmos").mkdir(parents=True)
    text = f"# for everybody\n[servers.sample]\ncommand = {json.dumps(list(COMMAND))}\n"
    (project / ".llmos" / "mcp.toml").write_text(text, encoding="utf-8")

    def there(*arguments: str) -> str:
        command = [sys.executable, "-m", "llmos", "mcp", *arguments]
        where = environment(tmp_path)
        done = subprocess.run(command, cwd=project, env=where, input=b"", capture_output=True, timeout=30, check=False)
        return (done.stdout + done.stderr).decode()

    assert "`llmos mcp approve` shows it and asks" in there("list")
    assert "--yes approves them" in there("approve")
    out = there("approve", "--yes")
    assert "│ # for everybody" in out
    assert "sample__add" in out
    assert [row["from"] for row in json.loads(there("list", "--json"))] == ["project"]
    (project / ".llmos" / "mcp.toml").write_text(text.replace('"stdio"', '"stdio", "--evil"'), encoding="utf-8")
    assert json.loads(there("list", "--json").partition("\n\n")[0]) == []


def test_a_secret_is_typed_once_and_belongs_to_this_server(tmp_path: Path, terminal: TerminalAt) -> None:
    arguments = ("mcp", "add", "sample", "--env", "TOKEN=secret://token", "--", *COMMAND)
    typed = terminal(*arguments, PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring")
    typed.expect("add it? [y/N]")
    typed.send("y\n")
    typed.expect("secret token for sample:")
    typed.send("ghp_0123456789\n")
    typed.expect("added sample")
    assert typed.wait() == 0
    assert "ghp_0123456789" not in typed.output
    binding = Secrets(tmp_path / "data", vault=None).bindings()[0]
    assert (binding.name, binding.tool, binding.host) == ("token", "mcp.sample", "")


def test_the_chat_lists_the_servers(tmp_path: Path, terminal: TerminalAt) -> None:
    assert run(tmp_path, "mcp", "add", "sample", "--yes", "--", *COMMAND)[0] == 0
    chat = terminal("--model", script(tmp_path, ["Fine."]))
    chat.ready()
    chat.send("/mcp\r")
    chat.expect("sample  11 tools")
    chat.send("/exit\r")
    assert chat.wait() == 0
