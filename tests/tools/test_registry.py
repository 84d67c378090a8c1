"""Tools come in by entry points, the built-in ones too."""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path

import pytest

from llmos.errors import ConfigError
from llmos.events import Notice
from llmos.tools import Tool, load_tools
from llmos.tools.registry import BUILT_IN

ROOT = Path(__file__).resolve().parent.parent.parent


def install(folder: Path, package: str, entries: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package with entry points into a folder of its own on the path, as pip would."""
    site = folder / package
    site.mkdir()
    (site / f"{package}.py").write_text(code, encoding="utf-8")
    metadata = site / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[llmos.tools]\n{entries}\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, package, raising=False)


GOOD = "from llmos.tools import tool\n@tool(effect='pure')\ndef weather(city: str) -> str:\n    return city\n"


def test_the_table_of_built_in_tools_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["entry-points"]["llmos.tools"] == BUILT_IN


def test_every_built_in_tool_loads_is_described_and_has_examples_that_fit() -> None:
    said: list[Notice] = []
    tools = load_tools(notify=said.append)
    assert said == []
    assert set(BUILT_IN) <= set(tools)
    for name in BUILT_IN:
        tool = tools[name]
        assert isinstance(tool, Tool)
        assert tool.spec.name == name
        assert 20 <= len(tool.spec.description) <= 130, name
        # what can't be taken back is agreed to with everything that hangs on it
        assert len(tool.spec.parameters["properties"]) <= (5 if tool.traits.confirmed else 4), name
        assert len(tool.examples) == 2, name
        for request, arguments in tool.examples:
            assert request
            tool.check(arguments)


def test_the_traits_of_the_built_in_tools() -> None:
    tools = load_tools(BUILT_IN)
    assert {name for name, tool in tools.items() if tool.traits.effect == "pure"} == {
        *("calculator", "datetime", "date_add", "date_between", "todo")
    }
    confined = {name for name, tool in tools.items() if tool.traits.confined == "workspace"}
    assert confined == {
        *("python", "shell", "list_files", "read_file", "search_files", "write_file", "edit_file"),
        *("calendar_add", "calendar_search", "chart"),
    }
    for name, tool in tools.items():
        assert tool.traits.steers <= set(tool.spec.parameters["properties"]), name
        if tool.traits.effect == "external":
            assert tool.traits.returns == "outside", name


def test_a_plug_in_brings_a_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "plug_good", "weather = plug_good:weather", GOOD, monkeypatch)
    assert load_tools(["weather", "calculator"]).keys() == {"weather", "calculator"}
    assert "weather" in load_tools()


@pytest.mark.parametrize(
    ("code", "entry", "said"),
    [
        ("raise RuntimeError('no luck')", "weather = plug_bad:weather", "RuntimeError: no luck"),
        ("raise SystemError", "weather = plug_bad:weather", "SystemError"),
        ("weather = 3", "weather = plug_bad:weather", "is a int and no tool"),
        (GOOD, "rain = plug_bad:weather", "is named 'weather'"),
        (GOOD, "weather = plug_bad:nothing", "AttributeError"),
        (
            "from llmos.tools import tool\n@tool\ndef weather(a: 'Nowhere') -> None: ...",
            "weather = plug_bad:weather",
            "not defined",
        ),
    ],
)
def test_a_broken_plug_in_does_not_take_the_others_down(
    code: str, entry: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "plug_bad", entry, code, monkeypatch)
    notices: list[Notice] = []
    tools = load_tools(notify=notices.append)
    assert set(BUILT_IN) <= set(tools)
    assert len(notices) == 1
    assert said in notices[0].text
    assert "plug_bad" in notices[0].text
    with pytest.raises(ConfigError):
        load_tools([entry.split()[0]])


def test_two_tools_of_one_name_are_an_error_that_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "plug_one", "weather = plug_one:weather", GOOD, monkeypatch)
    install(tmp_path, "plug_two", "weather = plug_two:weather", GOOD, monkeypatch)
    with pytest.raises(ConfigError, match=r"'weather'.*plug_\w+ \(plug_\w+:weather\) and plug_\w+ \("):
        load_tools()


def test_a_plug_in_can_not_replace_a_built_in_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "plug_calc", "calculator = plug_calc:weather", GOOD, monkeypatch)
    with pytest.raises(ConfigError, match=r"'calculator': llmos .* and plug_calc"):
        load_tools(["calculator"])


def test_an_unknown_tool_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'calculator'"):
        load_tools(["calculater"])
