"""What the documentation says is so: its Python runs, its commands exist, its tables are complete.

`python tests/test_docs.py` writes the command reference in `docs/reference.md` anew.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from llmos.config import SETTINGS, Settings, variable
from llmos.shell.cli import run_app
from llmos.shell.commands_browse import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference.md"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*DOCUMENTS, *(ROOT / name for name in ("AGENTS.md", "CHANGELOG.md", "CONTRIBUTING.md"))]
PROGRAMS = [ROOT / "README.md", ROOT / "docs" / "guide.md"]
COMMAND_NAMES = [
    "",
    *("run", "tokens", "next", "doctor", "model"),
    *("ps", "top", "log", "trace", "resume", "kill", "undo", "replay", "audit", "forget"),
    *("grants", "grants list", "grants add", "grants revoke"),
    *("mcp", "mcp add", "mcp list", "mcp test", "mcp approve", "mcp remove"),
    *("agents", "agents list", "agents show", "agents new", "agents run", "agents approve", "route"),
    "learn",
    *(f"learn {name}" for name in ("train", "eval", "from-traces", "list", "use", "rollback")),
    "memory",
    *(f"memory {name}" for name in ("add", "watch", "search", "list", "show", "forget")),
    *(f"memory {name}" for name in ("pin", "stats", "export", "import", "map")),
    *("browse", "teach", "skill", "skill list", "skill show", "skill run", "skill rm"),
    *("secret", "secret set", "secret list", "secret rm"),
    *(f"model {name}" for name in ("list", "pull", "show", "use", "rm", "tune")),
]
BEGIN, END = "<!-- help -->\n", "<!-- end of help -->"
# What the model would answer; anything else is an error of the script.
REPLIES = {
    "Our lease ends on 31 March 2027, the rent is 900 euros. When does the lease end?": "On 31 March 2027.",
    "How much is the rent?": "900 euros.",
    "Tell me about Paris.": "It is a city.",
    "Where is the Eiffel Tower?": '{"name": "Paris", "country": "France"}',
    "Name a fruit.": "A pear.",
    "Is a whale a fish?": "no",
    "Think of an animal.": "A whale.",
    "Where does it live?": "In the sea.",
    "What does it eat?": "Krill.",
    "Once upon a time": " there was a test.",
}


@cache
def help_of(command: str) -> str:
    """What `--help` prints, for a terminal of 80 columns."""
    out = io.StringIO()
    with mock.patch.dict("os.environ", {"COLUMNS": "80", "NO_COLOR": "1"}), redirect_stdout(out):
        assert run_app([*command.split(), "--help"]) == 0
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def command_reference() -> str:
    """The reference of all commands, as it stands in `docs/reference.md`."""
    parts = (f"### {f'llmos {name}'.strip()}\n\n```\n{help_of(name)}\n```\n" for name in COMMAND_NAMES)
    return "\n" + "\n".join(parts) + "\n"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language in a page."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for found, text in fenced if found == language]


def programs() -> Iterator[Any]:
    for page in PROGRAMS:
        for number, source in enumerate(blocks(page, "python"), 1):
            yield pytest.param(source, id=f"{page.name}-{number}")


def command_lines() -> Iterator[Any]:
    for page in DOCUMENTS:
        for block in blocks(page, "sh"):
            for line in block.splitlines():
                found = re.search(r"(?:^|\| |= ?|\.\.\. )(llmos\b.*)", line)
                if found:
                    yield pytest.param(found[1], id=f"{page.name}: {found[1][:50]}")


def table(page: Path, title: str) -> list[list[str]]:
    """The cells of the first table below a title, without its head."""
    section = page.read_text("utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


@pytest.mark.parametrize("source", list(programs()))
def test_every_program_in_the_documentation_runs(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"replies": REPLIES}), encoding="utf-8")
    monkeypatch.setenv("LLMOS_MODEL", f"scripted:{script}")
    monkeypatch.chdir(tmp_path)
    exec(compile(source, "<documentation>", "exec", dont_inherit=True), {"__name__": "__main__"})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("line", list(command_lines()))
def test_every_command_in_the_documentation_exists(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    words = words[: next((place for place, word in enumerate(words) if word in "|<>"), len(words))]
    names = [word for word in words if not word.startswith("-")]
    candidates = (" ".join(names[:2]), " ".join(names[:1]), "")
    command = next(name for name in candidates if name in COMMAND_NAMES)
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(option)}\b", help_of(command)), f"{command!r} has no {option}"


def test_the_command_reference_is_what_help_prints() -> None:
    written = REFERENCE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    assert written == command_reference(), "write it anew: python tests/test_docs.py"


def test_every_command_has_a_reference() -> None:
    listed = re.findall(r"^  (\w+) ", help_of("").partition("Commands:")[2].partition("\n\n")[0], re.MULTILINE)
    groups = ("secret", "memory", "model", "grants", "mcp", "agents", "skill", "learn")
    below = {
        f"{group} {name}"
        for group in groups
        for name in re.findall(r"^  ([\w-]+) ", help_of(group).partition("Commands:")[2], re.MULTILINE)
    }
    assert {*listed, *below, ""} == set(COMMAND_NAMES)


def test_every_setting_is_documented_with_its_values_and_default() -> None:
    rows = {cells[0].strip("`"): cells[1:] for cells in table(REFERENCE, "Settings")}
    assert list(rows) == list(SETTINGS)
    defaults = Settings()
    parts = {
        "": defaults,
        "sampling": defaults.sampling,
        "engine": defaults.engine,
        "runs": defaults.runs,
        "memory": defaults.memory,
    }
    for name, setting in SETTINGS.items():
        assert rows[name][1] == setting.allowed
        value = getattr(parts[setting.part], name.rpartition(".")[2])
        if isinstance(value, int | float):
            assert rows[name][2] == str(value).lower()


def test_every_variable_of_ours_is_documented() -> None:
    sources = [*(ROOT / "llmos").rglob("*.py"), ROOT / "scripts" / "setup.py", ROOT / "Makefile"]
    found = {name for file in sources for name in re.findall(r"LLMOS_[A-Z]+(?:_[A-Z]+)*\b", file.read_text("utf-8"))}
    documented = set(re.findall(r"LLMOS_[A-Z_]+", REFERENCE.read_text("utf-8")))
    assert found - {variable(name) for name in SETTINGS} <= documented


def test_the_guide_has_every_command_of_the_chat() -> None:
    listed = set(re.findall(r"`/([a-z]+)", (ROOT / "docs" / "guide.md").read_text("utf-8")))
    assert set(COMMANDS) <= listed


def test_the_readme_has_every_file_of_the_package() -> None:
    tree = next(block for block in blocks(ROOT / "README.md", "") if block.startswith("llmos/\n"))
    folders: list[str] = []
    listed: set[str] = set()
    for line in tree.splitlines():
        name = line.split()[0]
        del folders[(len(line) - len(line.lstrip())) // 2 :]
        if name.endswith("/"):
            folders.append(name)
        else:
            listed.add("".join(folders) + name)
    files = (file for file in (ROOT / "llmos").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    assert listed == {file.relative_to(ROOT).as_posix() for file in files}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, title = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if title:
            titles = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            assert title in {re.sub(r"[^\w -]", "", name).lower().replace(" ", "-") for name in titles}, target


if __name__ == "__main__":
    before, _, rest = REFERENCE.read_text("utf-8").partition(BEGIN)
    REFERENCE.write_text(before + BEGIN + command_reference() + END + rest.partition(END)[2], encoding="utf-8")
    sys.exit(0)
