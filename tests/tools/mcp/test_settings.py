"""Which servers there are: the user's file, and a project's that the user approved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import ConfigError
from llmos.events import Notice
from llmos.tools import load_tools
from llmos.tools.mcp import pins, settings
from llmos.tools.mcp.device import named
from llmos.tools.mcp.settings import Server, ToolRule

HEADER = """# my servers

[servers.old] # the old one
command = ['old', '--x']

[servers.old.tools.go]
effect = 'reads'
"""
DEFINITION: dict[str, Any] = {"name": "go", "description": "Go.", "inputSchema": {"type": "object", "properties": {}}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_there_is_no_server(home: Path) -> None:
    assert not settings.is_present()
    assert settings.load().servers == {}


def test_a_servers_entry_is_read(home: Path) -> None:
    write(
        settings.user_path(),
        "[servers.git-hub]\ncommand = ['npx', 'a b']\nenv = { TOKEN = 'secret://t' }\ncwd = '~'\nseconds = 5\n"
        "only = ['go']\n[servers.git-hub.tools.go]\neffect = 'reads'\nsteers = ['to']\n"
        "[servers.web]\nurl = 'https://mcp.example.com/x'\nheaders = { Authorization = 'Bearer secret://t' }\n",
    )
    found = settings.load().servers
    assert found["git-hub"] == Server(
        name="git-hub",
        command=("npx", "a b"),
        env={"TOKEN": "secret://t"},
        cwd="~",
        seconds=5.0,
        only=("go",),
        rules={"go": ToolRule(effect="reads", steers=frozenset({"to"}))},
    )
    assert found["git-hub"].where == 'npx "a b"'
    assert found["web"].host == "mcp.example.com"


@pytest.mark.parametrize(
    "text",
    [
        "[servers.a]\n",
        "[servers.a]\ncommand = 'npx'\n",
        "[servers.a]\ncommand = ['x']\nurl = 'https://e.com'\n",
        "[servers.a]\ncommand = ['x']\nheaders = { A = 'b' }\n",
        "[servers.a]\nurl = 'https://e.com'\nenv = { A = 'b' }\n",
        "[servers.a]\nurl = 'https://e.com'\nheaders = { A = \"b\\r\\nC: d\" }\n",
        "[servers.a]\nurl = 'http://e.com'\n",
        "[servers.a]\ncommand = ['x']\nseconds = 0\n",
        "[servers.a]\ncommand = ['x']\nsandbox = false\n",
        "[servers.a]\ncommand = ['x']\n[servers.a.tools.go]\neffect = 'harmless'\n",
        "[servers.a]\ncommand = ['x']\n[servers.a.tools.go]\nsteers = 'to'\n",
        "[servers.a__b]\ncommand = ['x']\n",
        "[servers.'a b']\ncommand = ['x']\n",
        "servers = 3\n",
        "command = ['x']\n",
        "[servers.a\n",
    ],
)
def test_a_mistake_in_the_users_file_is_an_error_that_names_it(home: Path, text: str) -> None:
    write(settings.user_path(), text)
    with pytest.raises(ConfigError):
        settings.load()
    said: list[Notice] = []
    assert "calculator" in load_tools(notify=said.append)
    assert len(said) == 1


def test_adding_and_removing_leave_the_rest_of_the_file_alone(home: Path) -> None:
    write(settings.user_path(), HEADER)
    new = Server(name="new", command=("x", 'say "hi"\\'), env={"A": "b\u202ec", "k.e y": "1"})
    settings.add(new)
    text = settings.user_path().read_text("utf-8")
    assert text.startswith(HEADER)
    assert settings.load().servers["new"] == new
    with pytest.raises(ConfigError, match="already"):
        settings.add(new)
    settings.remove("new")
    assert settings.user_path().read_text("utf-8").rstrip() == HEADER.rstrip()
    settings.remove("old")
    assert settings.user_path().read_text("utf-8") == "# my servers\n\n"
    with pytest.raises(ConfigError, match="There is no MCP server 'old'"):
        settings.remove("old")


@pytest.mark.parametrize(
    "text",
    ["servers.a.command = ['x']\n", "[servers]\na = { command = ['x'] }\n", "[servers]\na.command = ['x']\n"],
)
def test_an_entry_that_can_not_be_cut_out_is_left_to_the_user(home: Path, text: str) -> None:
    write(settings.user_path(), text)
    with pytest.raises(ConfigError, match="by hand"):
        settings.remove("a")
    assert settings.user_path().read_text("utf-8") == text


def test_a_projects_servers_count_only_while_exactly_this_file_is_approved(home: Path) -> None:
    path = write(Path(".llmos/mcp.toml").absolute(), "[servers.mine]\ncommand = ['x']\n")
    found = settings.load()
    assert found.servers == {}
    assert "llmos mcp approve" in found.notices[0]
    file = settings.project_file()
    assert file is not None
    settings.approve(file)
    assert settings.load().servers["mine"].project == path.parent.parent
    write(path, "[servers.mine]\ncommand = ['x', '--more']\n")
    assert settings.load().servers == {}


def test_the_approval_of_one_project_is_none_of_another(home: Path, tmp_path: Path) -> None:
    text = "[servers.mine]\ncommand = ['./run']\n"
    for name in ("one", "two"):
        write(tmp_path / name / ".llmos" / "mcp.toml", text)
    file = settings.project_file(tmp_path / "one")
    assert file is not None
    settings.approve(file)
    assert settings.load(tmp_path / "one").servers.keys() == {"mine"}
    assert settings.load(tmp_path / "two").servers == {}


def test_a_project_can_not_say_that_a_tool_is_harmless(home: Path) -> None:
    for text in ("effect = 'reads'", "effect = 'pure'", "steers = []"):
        write(Path(".llmos/mcp.toml"), f"[servers.mine]\ncommand = ['x']\n[servers.mine.tools.go]\n{text}\n")
        file = settings.project_file()
        assert file is not None
        with pytest.raises(ConfigError, match="only your own"):
            settings.approve(file)
        assert settings.load().servers == {}


def test_a_project_can_not_take_the_place_of_a_server_of_the_user(home: Path) -> None:
    write(settings.user_path(), "[servers.github]\ncommand = ['mine']\n")
    write(Path(".llmos/mcp.toml"), "[servers.github]\ncommand = ['theirs']\n")
    file = settings.project_file()
    assert file is not None
    settings.approve(file)
    found = settings.load()
    assert found.servers["github"].command == ("mine",)
    assert "is not used: you have one of this name" in found.notices[0]


def test_what_was_accepted_of_a_projects_server_and_its_secrets_are_not_those_of_the_users(
    tmp_path: Path, home: Path
) -> None:
    mine = Server(name="a", command=("x",))
    theirs = Server(name="a", command=("x",), project=tmp_path)
    pins.accept(mine, [DEFINITION])
    assert pins.accepted(mine) == {"go": DEFINITION}
    assert pins.accepted(theirs) == {}
    assert mine.scope != theirs.scope


def test_tools_come_in_by_the_same_door_as_all_others(home: Path) -> None:
    write(settings.user_path(), "[servers.far]\ncommand = ['nothing-is-started']\n[servers.new]\ncommand = ['x']\n")
    pins.accept(settings.load().servers["far"], [DEFINITION])
    said: list[Notice] = []
    tools = load_tools(notify=said.append)
    assert {"calculator", "far__go"} <= set(tools)
    assert ["nothing of it was accepted yet" in notice.text for notice in said] == [True]
    assert load_tools(["far__go", "calculator"]).keys() == {"far__go", "calculator"}
    with pytest.raises(ConfigError, match="Did you mean 'far__go'"):
        load_tools(["far__goo"])


def test_names_that_models_can_call_and_no_two_of_them_the_same(home: Path) -> None:
    server = Server(name="s", command=("x",))
    found = named(server, ["a.b", "a/b", "ok", "OK", "x" * 200, "x" * 201, "ü \u202e"])
    assert len(set(found.values())) == 7
    assert all(re.fullmatch(r"s__[A-Za-z0-9_-]{1,61}", name) for name in found.values())


def test_damaged_notes_of_what_was_accepted_take_only_that_servers_tools_away(home: Path) -> None:
    write(settings.user_path(), "[servers.far]\ncommand = ['x']\n[servers.near]\ncommand = ['x']\n")
    write(home / "data" / "mcp" / "far.json", "{")
    pins.accept(settings.load().servers["near"], [DEFINITION])
    said: list[Notice] = []
    assert {"calculator", "near__go"} <= set(load_tools(notify=said.append))
    assert "writes it anew" in said[0].text
