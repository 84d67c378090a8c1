"""`llmos agents …` and `/agents`: show the agents and skills that there are, write a new agent, approve a project's.

Talks to the user; what an agent in a file is and whether it counts is decided in `llmos.agents.markdown`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmos.agents import approvals, built_in, markdown, skills
from llmos.agents.card import AgentCard, card_of
from llmos.agents.markdown import Declared, Found
from llmos.agents.skills import Skill
from llmos.config import write_atomically
from llmos.errors import ConfigError, NoSuchProcess, StorageError
from llmos.shell.confirming import confirmed
from llmos.shell.text import columns, harmless

if TYPE_CHECKING:
    from llmos.kernel.entry import AgentCode

_WIDTH = 90
_NEW = """---
name: {name}
description: {description}
# Without these lines it has what the run has that starts it; they only ever narrow it.
# tools: [read_file, list_files]
# level: L3
# budget: {{tokens: 20000, seconds: 300}}
# engine: a name from [engines.NAME] of the settings
# output: {{title: text, pages: integer, kind: [report, letter]}}
examples:
  - {example}
---
Say here how it is to go about its tasks.
"""


def find(name: str) -> AgentCode:
    """An agent that can be started, by name.

    Raises:
        NoSuchProcess: There is none, or it waits for approval.
    """
    own = built_in()
    if name in own:
        return own[name]
    found = markdown.load(own)
    if name in found.agents:
        return found.agents[name].agent
    raise _missing(name, found, own)


def _missing(name: str, found: Found, own: Any) -> NoSuchProcess:  # noqa: ANN401  # names
    if name in found.waiting:
        return NoSuchProcess(
            f"The agent {name!r} of this folder is not approved.", hint=f"`llmos agents approve {name}` shows it."
        )
    known = f"Known: {', '.join(sorted([*own, *found.agents]))}."
    wrong = [problem for problem in found.problems if f"{name}.md:" in problem]
    return NoSuchProcess(f"There is no agent {name!r}.", hint=" ".join((known, *wrong)))


def listing() -> list[dict[str, Any]]:
    """All agents, and where each comes from and stands."""
    own = built_in()
    found = markdown.load(own)
    rows = [_row(card_of(name, code), "llmos", "ready") for name, code in sorted(own.items())]
    rows += [_row(one.agent.card, one.origin, "ready", one.path) for one in found.agents.values()]
    rows += [
        _row(one.agent.card, one.origin, "changed" if one.changed else "not approved", one.path)
        for one in found.waiting.values()
    ]
    return rows


def _row(card: AgentCard, origin: str, state: str, path: Path | None = None) -> dict[str, Any]:
    return {
        "name": card.name,
        "description": card.description,
        "from": origin,
        "state": state,
        "file": str(path) if path is not None else "",
    }


def listing_text() -> str:
    """The same for people, with the skills, and with what is to be told of files that can't be used."""
    rows = listing()
    shown = [(row["name"], _brief(row["description"]) + _note(row)) for row in rows]
    known = skills.load()
    parts = [columns(shown, indent=0)]
    if known.skills:
        lines = [(one.name, _brief(one.description) + _noted(one)) for one in known.skills.values()]
        parts.append(f"skills:\n{columns(lines)}")
    notices = [*markdown.load(built_in()).notices, *known.problems]
    return harmless("\n".join([*parts, *notices]))


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"


def _note(row: dict[str, Any]) -> str:
    notes = [row[key] for key, usual in (("from", "llmos"), ("state", "ready")) if row[key] != usual]
    return f"  ({', '.join(notes)})" if notes else ""


def _noted(one: Skill) -> str:
    return "" if one.origin == "user" else "  (project)" if one.approved else "  (project, not approved)"


def show_list(*, as_json: bool) -> None:
    """Print them."""
    if not as_json:
        print(listing_text())
        return
    known = [
        {"name": one.name, "description": one.description, "from": one.origin, "approved": one.approved}
        for one in skills.load().skills.values()
    ]
    problems = [*markdown.load(built_in()).notices, *skills.load().problems]
    _print_json({"agents": listing(), "skills": known, "problems": problems})


def show_one(name: str, *, as_json: bool) -> None:
    """Print an agent's card; of one in a file also the file, of a skill its text.

    Raises:
        NoSuchProcess: There is none.
    """
    from llmos.runs import skill_tools
    from llmos.tools import load_tools

    own = built_in()
    found = markdown.load(own)
    one = found.agents.get(name) or found.waiting.get(name)
    code = one.agent if one is not None else own.get(name)
    if code is None:
        skill = skills.load().skills.get(name)
        if skill is None:
            raise _missing(name, found, own)
        _show_skill(skill, as_json=as_json)
        return
    card = card_of(name, code, {**load_tools(), **skill_tools()})
    if as_json:
        _print_json(card.as_data())
        return
    rows = [
        ("agent", card.name),
        ("description", card.description),
        ("from", str(one.path) if one is not None else "llmos"),
        ("tools", "all" if card.tools is None else ", ".join(card.tools) or "none"),
        ("effects", ", ".join(card.effects or ()) or "none"),
        *([("level", card.level)] if card.level else []),
        *([("engine", card.engine)] if card.engine else []),
        *([("output", json.dumps(card.output, ensure_ascii=False))] if card.output.get("properties") else []),
        *[("example", example) for skill in card.skills for example in skill.examples[:3]],
    ]
    print(harmless(columns(rows, indent=0)))
    if one is not None:
        print(harmless(f"\n{one.text.rstrip()}"))
        for notice in found.notices:
            if str(one.path) in notice:
                print(harmless(f"\n{notice}"))


def _show_skill(skill: Skill, *, as_json: bool) -> None:
    if as_json:
        _print_json({"name": skill.name, "description": skill.description, "from": skill.origin, "text": skill.body})
        return
    rows = [("skill", skill.name), ("description", skill.description), ("from", str(skill.folder))]
    print(harmless(f"{columns(rows, indent=0)}\n\n{skill.body}"))


def new(name: str, *, description: str, project: bool) -> int:
    """Write the file of a new agent, to be filled in.

    Raises:
        ConfigError: The name can't be used, or is taken.
        StorageError: The file can't be written.
    """
    own = built_in()
    found = markdown.load(own)
    if name in own or name in found.agents or name in found.waiting:
        raise ConfigError(f"There is an agent {name!r} already.", hint=f"`llmos agents show {name}`.")
    folder = Path.cwd() / markdown.PROJECT if project else markdown.user_folder()
    path = folder / f"{name}.md"
    if path.exists():
        raise StorageError(f"{str(path)!r} exists already.", hint="Choose another name.")
    text = _NEW.format(
        name=name,
        description=json.dumps(description or "What it is for, in one line.", ensure_ascii=False),
        example=json.dumps("a task that is for it, as a user would say it"),
    )
    from llmos.agents import frontmatter

    markdown.agent_of(frontmatter.parse(text.encode(), str(path)), name)  # sees that the name can be used
    write_atomically(path, text)
    if project:
        markdown.approve(markdown.declared(path, "project"))
    print(f'written to {path}\nFill it in; then: llmos agents run {name} "…"')
    if project:
        print(f"When it is changed, `llmos agents approve {name}` asks again.")
    return 0


def approve(name: str, *, yes: bool) -> int:
    """Show a project's agent or skill whole, ask, and let it be used as it is.

    Returns:
        Exit code: 1 if the user did not agree.

    Raises:
        NoSuchProcess: Nothing of this name waits.
    """
    own = built_in()
    found = markdown.load(own)
    skill = skills.load().skills.get(name)
    if name in found.waiting:
        return _approve_agent(found.waiting[name], yes=yes)
    if skill is not None and not skill.approved:
        return _approve_skill(skill, yes=yes)
    if name in found.agents or name in own or skill is not None:
        print(f"{name} is in use already")
        return 0
    raise _missing(name, found, own)


def _approve_agent(one: Declared, *, yes: bool) -> int:
    changed = " (it has changed since you approved it)" if one.changed else ""
    print(harmless(f"{one.path}{changed}:\n\n{_quoted(one.text)}\n"))
    print("It never gets more tools, a higher level or more budget than the run that starts it.")
    if not yes and not _agreed("agent"):
        return 1
    markdown.approve(one)
    print(f"approved {one.agent.name}")
    return 0


def _approve_skill(skill: Skill, *, yes: bool) -> int:
    for path in skill.files:
        data = (skill.folder / path).read_bytes()
        if approvals.digest_of({path: data}) != skill.files[path]:
            raise StorageError(f"{path!r} was changed just now.", hint="Try again.")
        text = f"{len(data):,} bytes that are no text" if b"\0" in data else data.decode("utf-8", "replace")
        print(harmless(f"{skill.folder / path}:\n\n{_quoted(text)}\n"))
    print("Its text becomes a part of agents' instructions. It authorizes nothing.")
    if not yes and not _agreed("skill"):
        return 1
    approvals.approve(skill.folder.resolve(), skill.digest)
    print(f"approved {skill.name}")
    return 0


def _agreed(kind: str) -> bool:
    return confirmed(
        f"let this {kind} be used?",
        whether="this may be used",
        hint="--yes approves it.",
        declined="nothing was changed",
    )


def _quoted(text: str) -> str:
    return "\n".join(f"  │ {line}" for line in text.splitlines())


def _print_json(data: object) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=2))
