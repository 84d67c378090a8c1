"""Agents in Markdown files: what a file says, what is wrong with it, and which files count."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.agents import built_in, markdown
from llmos.agents.frontmatter import MAX_FILE, parse
from llmos.agents.markdown import KEYS, agent_of
from llmos.errors import ConfigError
from llmos.kernel.budget import Budget
from llmos.kernel.entry import Profile

WHOLE = """---
name: reviewer
description: Reads a text and says what is unclear.
tools: [read_file, list_files]
skills: []
engine: big
level: L2
budget: {tokens: 2000, seconds: 30.5}
output:
  verdict: [clear, unclear]
  reason: text
  lines: numbers
examples:
  - review the plan
---
You review texts.

Be brief.
"""
LEAST = "---\ndescription: Says hi.\n---\nSay hi.\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMOS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


def write(folder: Path, name: str, text: str = LEAST) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    path.write_text(text, encoding="utf-8")
    return path


def theirs(project: Path, name: str, text: str = LEAST) -> Path:
    return write(project / markdown.PROJECT, name, text)


def mine(home: Path, name: str, text: str = LEAST) -> Path:
    return write(home / "agents", name, text)


def test_a_file_says_all_of_an_agent() -> None:
    agent = agent_of(parse(WHOLE.encode(), "r.md"), "r")
    assert (agent.name, agent.description) == ("reviewer", "Reads a text and says what is unclear.")
    assert agent.instructions == "You review texts.\n\nBe brief."
    assert agent.examples == ("review the plan",)
    budget = Budget(tokens=2000, seconds=30.5)
    assert agent.profile == Profile(tools=("read_file", "list_files"), level="L2", budget=budget, engine="big")
    assert agent.output is not None
    assert agent.output.model_validate({"verdict": "clear", "reason": "", "lines": [1]})
    for wrong in ('{"verdict": "maybe", "reason": "", "lines": []}', '{"verdict": "clear", "reason": ""}'):
        with pytest.raises(ValueError, match="validation error"):
            agent.output.model_validate_json(wrong)


def test_most_of_it_may_be_left_out() -> None:
    agent = agent_of(parse(LEAST.encode(), "hi.md"), "hi")
    assert (agent.name, agent.description, agent.instructions) == ("hi", "Says hi.", "Say hi.")
    assert agent.profile == Profile()
    assert agent.output is None


def test_tools_may_be_written_with_commas_and_windows_line_ends_and_a_byte_order_mark_are_read() -> None:
    text = "\ufeff---\r\ndescription: Hi.\r\ntools: read_file, calculator\r\n---\r\nSay hi.\r\n"
    agent = agent_of(parse(text.encode(), "hi.md"), "hi")
    assert agent.tools == ("read_file", "calculator")
    assert agent.instructions == "Say hi."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "a.md:1: it does not begin with front matter"),
        ("", "a.md:1: it does not begin with front matter"),
        ("---\ndescription: x\n", "a.md:1: the front matter does not end"),
        ("---\n---\nx", "a.md:1: 'description' is missing"),
        ("---\ndescription: x\n---\n\n", "a.md:1: there are no instructions"),
        ("---\ndescription: x\ntols: [a]\n---\nx", "a.md:3: unknown key 'tols'"),
        ("---\ndescription: x\nname: A b\n---\nx", "a.md:3: 'A b' is no name"),
        ("---\ndescription: x\nname: ../a\n---\nx", "a.md:3: '../a' is no name"),
        ("---\ndescription: 3\n---\nx", "a.md:2: 'description' is 3 and no text"),
        ("---\ndescription: x\ntools: {a: 1}\n---\nx", "a.md:3: 'tools' is"),
        ("---\ndescription: x\n\nlevel: L9\n---\nx", "a.md:4: there is no level 'L9'"),
        ("---\ndescription: x\nbudget: {tokns: 3}\n---\nx", "a.md:3: the budget has no 'tokns'"),
        ("---\ndescription: x\nbudget: {tokens: -3}\n---\nx", "a.md:3: 'tokens' is -3"),
        ("---\ndescription: x\nbudget: {tokens: .nan}\n---\nx", "a.md:3: 'tokens' is nan"),
        ("---\ndescription: x\nbudget: 7\n---\nx", "a.md:3: 'budget' is 7"),
        ("---\ndescription: x\noutput: {a: date}\n---\nx", "a.md:3: 'a' is 'date', which is no type"),
        ("---\ndescription: x\noutput: {_a: text}\n---\nx", "a.md:3: '_a' is no name of a field"),
        ("---\ndescription: x\ntools: [a\n---\nx", "a.md:3: no valid YAML"),
        ("---\ndescription: x\ndescription: y\n---\nx", "a.md:3: 'description' stands there twice"),
        ("---\n- a\n- b\n---\nx", "a.md:2: the front matter has no keys"),
        ("---\ndescription: &a x\n---\nx", "a.md:2: '&' and '*'"),
        ("---\ndescription: !!python/object/apply:os.system [id]\n---\nx", "a.md:2:"),
        ("---\ndescription: 2026-13-45\n---\nx", "a.md:2:"),
        ("---\ndescription: " + "[" * 5000 + "\n---\nx", "a.md:"),
        ("---\ndescription: " + "x" * 20_000 + "\n---\nx", "a.md:1: the front matter has"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_what_it_is(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        agent_of(parse(text.encode(), "a.md"), "a")
    assert said in error.value.message


def test_what_is_no_text_is_told_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"a\.md:3: it is not UTF-8"):
        parse(b"---\ndescription: x\nname: \xff\n---\nx", "a.md")


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"---\n{text}\n---\nx".encode()))
def test_any_bytes_are_an_agent_or_a_typed_error(data: bytes) -> None:
    try:
        said = agent_of(parse(data, "a.md"), "a").description
    except ConfigError as error:
        said = error.message if error.message.startswith("a.md:") else ""
    assert said


def test_the_user_s_own_agents_count_at_once(home: Path, project: Path) -> None:
    mine(home, "greeter")
    found = markdown.load(built_in(), project)
    assert list(found.agents) == ["greeter"]
    assert not found.waiting
    assert not found.notices


def test_a_project_s_agent_counts_only_after_it_was_approved(project: Path) -> None:
    theirs(project, "greeter")
    found = markdown.load(built_in(), project)
    assert not found.agents
    (notice,) = found.notices
    assert "brings the agent 'greeter'" in notice
    assert "llmos agents approve greeter" in notice
    markdown.approve(found.waiting["greeter"])
    assert list(markdown.load(built_in(), project).agents) == ["greeter"]


def test_no_project_s_agent_takes_a_name_of_llmos_or_of_the_user(home: Path, project: Path) -> None:
    mine(home, "greeter", LEAST.replace("Says hi.", "Mine."))
    for name in ("greeter", "assistant", "manager"):
        markdown.approve(markdown.declared(theirs(project, name), "project"))
    found = markdown.load([*built_in(), "manager"], project)
    assert {name: one.agent.description for name, one in found.agents.items()} == {"greeter": "Mine."}
    assert len(found.problems) == 3
    assert all("is not used" in problem for problem in found.problems)


def test_a_name_inside_a_file_is_no_way_around_that(project: Path) -> None:
    text = LEAST.replace("description", "name: assistant\ndescription", 1)
    markdown.approve(markdown.declared(theirs(project, "harmless", text), "project"))
    found = markdown.load(built_in(), project)
    assert not found.agents
    assert "'assistant' comes with llmos" in found.problems[0]


def test_a_file_with_a_mistake_hides_no_other(home: Path, project: Path) -> None:
    mine(home, "good")
    mine(home, "broken", "---\ndescription: [\n---\nx")
    (home / "agents" / "large.md").write_bytes(b"x" * (MAX_FILE + 1))
    (home / "agents" / "binary.md").write_bytes(b"\xff\xfe\x00")
    (home / "agents" / "folder.md").mkdir()
    (home / "agents" / "gone.md").symlink_to(home / "nothing.md")
    theirs(project, "worse", "no front matter")
    found = markdown.load(built_in(), project)
    assert list(found.agents) == ["good"]
    assert len(found.problems) == 4
    assert any("broken.md:2:" in problem for problem in found.problems)


def test_no_folder_is_no_agent(project: Path) -> None:
    assert markdown.load(built_in(), project) == markdown.Found({}, {})


def test_the_known_keys_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "agents-in-markdown.md").read_text(encoding="utf-8")
    assert not [key for key in KEYS if f"`{key}`" not in page]
