"""Taught skills: what a person has shown once, written so that people can read and change it, and done again by code.

A skill is a TOML file with the words of its task, in which `{name}` stands for what changes, and a step for each
action. Other skills, folders with a `SKILL.md`, are texts for models (`llmos.agents.skills`). Knows no browser:
`learning` makes skills of demonstrations, `replaying` carries them out.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from llmos.agents.operator.page import origin_of
from llmos.config import data_dir, write_atomically
from llmos.errors import ConfigError, StorageError

VERSION = 1
MAX_STEPS = 200
MAX_BYTES = 1_000_000
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_HOLE = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_GOES = re.compile(r"[{@]|://|\w\.\w|\d{8}")  # a parameter, an address, an account
_ANY = "…"

Action = Literal["click", "fill", "select", "press", "goto"]
ACTIONS: tuple[Action, ...] = ("click", "fill", "select", "press", "goto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What is another thing each time.

    Attributes:
        name: By which `{name}` stands for it.
        kind: `words`, or `secret`: a value that is kept nowhere.
        quoted: It stood in quotes where it was shown.
    """

    name: str
    kind: Literal["words", "secret"] = "words"
    quoted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One action. In all texts `{name}` stands for a parameter, and `…` at either end for anything.

    Attributes:
        action: What is done.
        role, name, label, near: Of the control, as an observation has them.
        beside: What stands in the same row, card or part of the page.
        tag, kind: Its element, and the type of a field.
        place, among: Which one it was of those with its role and name, from 1.
        width, height: Of its box, in CSS pixels; 0 where that is not known.
        value: What is typed, the keys, or the address.
        options: What is chosen.
        expects: What the action must have brought about: `value`, `chosen`, `unchosen`, `change`, `opens /path`,
            `shows TEXT`; empty for nothing.
    """

    action: Action
    role: str = ""
    name: str = ""
    label: str = ""
    near: str = ""
    beside: str = ""
    tag: str = ""
    kind: str = ""
    place: int = 1
    among: int = 1
    width: int = 0
    height: int = 0
    value: str = ""
    options: tuple[str, ...] = ()
    expects: str = ""

    @property
    def does(self) -> str:
        """It in words, one line."""
        on = self.role or self.tag or "element"
        said = self.name or self.label or self.near[:40]
        where = f"{on} “{said}”" if said else on
        where += f" beside “{self.beside}”" if self.beside else ""
        match self.action:
            case "goto":
                return f"go to {self.value}"
            case "fill":
                return f"type “{self.value}” into {where}"
            case "select":
                return f"choose “{', '.join(self.options)}” in {where}"
            case "press":
                return f"press {self.value} in {where}"
            case _:
                return f"click {where}"

    @property
    def parameters(self) -> frozenset[str]:
        """The names of those that its texts have."""
        return frozenset(name for text in self.texts for name in _HOLE.findall(text))

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts in which parameters may stand."""
        return (self.name, self.label, self.near, self.beside, self.value, *self.options, self.expects)

    def filled(self, values: Mapping[str, str]) -> Step:
        """It with values in place of parameters; those that are not there stay."""
        return replace(
            self,
            name=fill(self.name, values),
            label=fill(self.label, values),
            near=fill(self.near, values),
            beside=fill(self.beside, values),
            value=fill(self.value, values),
            options=tuple(fill(one, values) for one in self.options),
            expects=fill(self.expects, values),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """Something that a person has shown.

    Attributes:
        name: What it is called.
        task: The words of the task.
        url: Where it begins. It is only done on this address's origin, and on those of `origins`.
        origins: Others that it led to.
        parameters: In the order in which the words have them; those that the words don't have come last.
        steps: In their order.
    """

    name: str
    task: str
    url: str
    origins: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def origin(self) -> str:
        """Of the address where it begins."""
        return origin_of(self.url)

    @property
    def handles(self) -> tuple[str, ...]:
        """The secrets that it needs, as `secret://NAME`."""
        return tuple(dict.fromkeys(one.value for one in self.steps if one.value.startswith("secret://")))

    @property
    def typed(self) -> tuple[str, ...]:
        """What the user typed and chose when they showed it, but for what changes.

        Addresses and accounts are not among it: a page may have put them into its fields.
        """
        texts = [one.value for one in self.steps if one.action == "fill"]
        texts += [text for one in self.steps if one.action == "select" for text in one.options]
        return tuple(dict.fromkeys(one for one in texts if one and not _GOES.search(one)))

    @property
    def told(self) -> str:
        """It in words, for searching and for people."""
        return "\n".join([self.task, *(f"{number}. {one.does}" for number, one in enumerate(self.steps, 1))])


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text with values in place of `{name}`; names that have none stay as they are."""
    return _HOLE.sub(lambda found: values.get(found[1], found[0]), text)


def holes(text: str) -> list[str]:
    """The names of the parameters in a text, in their order."""
    return _HOLE.findall(text)


def says(pattern: str, text: str) -> bool:
    """Whether a text is what a pattern says, in which `…` at either end stands for anything."""
    wanted, given = " ".join(pattern.split()).casefold(), " ".join(text.split()).casefold()
    core = wanted.strip(_ANY).strip()
    if not wanted.startswith(_ANY) and not wanted.endswith(_ANY):
        return given == wanted
    before, after = (r"(?<!\w)" if core[:1].isalnum() else ""), (r"(?!\w)" if core[-1:].isalnum() else "")
    found = re.search(before + re.escape(core) + after, given)
    if found is None or not core:
        return False
    begins = wanted.startswith(_ANY) or found.start() == 0
    return begins and (wanted.endswith(_ANY) or given.endswith(core))


# ---- Files


def folder() -> Path:
    """Where taught skills are."""
    return data_dir() / "skills"


def path_of(name: str) -> Path:
    """The file of a skill.

    Raises:
        ConfigError: That can't be a name.
    """
    if not _NAME.fullmatch(name) or len(name) > 64:
        raise ConfigError(
            f"{name!r} can't be the name of a skill.", hint="Small letters, digits and '-': for example order-tea."
        )
    return folder() / f"{name}.toml"


def names() -> list[str]:
    """The skills that there are."""
    return sorted(path.stem for path in folder().glob("*.toml") if _NAME.fullmatch(path.stem))


def load(name: str) -> Skill:
    """A skill by its name.

    Raises:
        ConfigError: There is none, or its file has a mistake.
        StorageError: It can't be read.
    """
    path = path_of(name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{str(path)!r} is larger than {MAX_BYTES:,} bytes.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(names()) or "none"
        raise ConfigError(f"There is no taught skill {name!r}.", hint=f"There are: {known}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{str(path)!r} can't be read: {error}.") from error
    return parse(text, name, where=str(path))


def save(skill: Skill) -> Path:
    """Write a skill's file.

    Raises:
        ConfigError: It can't have that name.
        StorageError: It can't be written.
    """
    path = path_of(skill.name)
    write_atomically(path, write(skill))
    return path


def write(skill: Skill) -> str:
    """A skill as the text of its file."""
    lines = [
        "# A task that was shown once. {name} stands for what changes, … at either end of a text for anything.",
        f"version = {VERSION}",
        f"task = {_quoted(skill.task)}",
        f"url = {_quoted(skill.url)}",
    ]
    if skill.origins:
        lines.append(f"origins = [{', '.join(map(_quoted, skill.origins))}]")
    for one in skill.parameters:
        lines += ["", "[[parameters]]", f"name = {_quoted(one.name)}", f"kind = {_quoted(one.kind)}"]
        lines += ["quoted = true"] if one.quoted else []
    for number, step in enumerate(skill.steps, 1):
        lines += ["", f"# {number}. {_line(step.does)}", "[[steps]]"]
        lines += [f"{key} = {_written(value)}" for key, value in _set(step).items()]
    return "\n".join([*lines, ""])


def parse(text: str, name: str, *, where: str = "") -> Skill:
    """A skill from the text of its file.

    Raises:
        ConfigError: It has a mistake.
    """
    where = where or name
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where!r} is not valid TOML: {error}.") from error
    return read(data, name, where=where)


def data_of(skill: Skill) -> dict[str, Any]:
    """A skill as JSON data, as the operator takes it; `read` makes one of it."""
    return {
        "version": VERSION, "name": skill.name, "task": skill.task, "url": skill.url, "origins": list(skill.origins),
        "parameters": [{"name": one.name, "kind": one.kind, "quoted": one.quoted} for one in skill.parameters],
        "steps": [_set(one) for one in skill.steps],
    }  # fmt: skip


def read(data: Mapping[str, Any], name: str = "", *, where: str = "") -> Skill:
    """A skill from JSON or TOML data.

    Raises:
        ConfigError: It has a mistake.
    """
    where = where or name or str(data.get("name", "a skill"))
    if data.get("version") != VERSION:
        raise ConfigError(f"{where!r} has version {data.get('version')!r}; this llmos reads {VERSION}.")
    unknown = sorted(set(data) - {"version", "name", "task", "url", "origins", "parameters", "steps"})
    if unknown:
        raise ConfigError(f"{where!r}: there is no {unknown[0]!r}.")
    try:
        skill = Skill(
            name=name or str(data["name"]),
            task=_text(data["task"]),
            url=_text(data["url"]),
            origins=tuple(_text(one) for one in data.get("origins", ())),
            parameters=tuple(_parameter(one) for one in data.get("parameters", ())),
            steps=tuple(_step(one, number, where) for number, one in enumerate(data.get("steps", ()), 1)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{where!r} has a mistake: {type(error).__name__}: {error}.") from error
    _check(skill, where)
    return skill


def _check(skill: Skill, where: str) -> None:
    if not skill.steps or len(skill.steps) > MAX_STEPS:
        raise ConfigError(f"{where!r} has {len(skill.steps)} steps; 1 to {MAX_STEPS} can be done.")
    if not skill.origin:
        raise ConfigError(f"{where!r}: {skill.url!r} is no address of a page.")
    known = {one.name for one in skill.parameters}
    used = {hole for step in skill.steps for hole in step.parameters} | set(holes(skill.task))
    if missing := sorted(used - known):
        raise ConfigError(
            f"{where!r}: {{{missing[0]}}} is not among its parameters.", hint="Add it under [[parameters]]."
        )


def _parameter(data: Mapping[str, Any]) -> Parameter:
    secret = data.get("kind") == "secret"
    return Parameter(
        name=_text(data["name"]), kind="secret" if secret else "words", quoted=bool(data.get("quoted", False))
    )


_STEP = {one.name for one in fields(Step)}


def _step(data: Mapping[str, Any], number: int, where: str) -> Step:
    unknown = sorted(set(data) - _STEP)
    if unknown:
        raise ConfigError(f"{where!r}, step {number}: there is no {unknown[0]!r}.")
    if data.get("action") not in ACTIONS:
        raise ConfigError(f"{where!r}, step {number}: there is no action {data.get('action')!r}.")
    given: dict[str, Any] = {
        key: tuple(map(_text, value)) if key == "options" else int(value) if isinstance(value, int) else _text(value)
        for key, value in data.items()
    }
    return Step(**given)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


_USUAL = {one.name: one.default for one in fields(Step)}


def _set(step: Step) -> dict[str, Any]:
    """What a step says, without what is as usual."""
    found: dict[str, Any] = {}
    for one in fields(step):
        value: object = getattr(step, one.name)
        if value != _USUAL[one.name]:
            found[one.name] = list(step.options) if one.name == "options" else value
    return found


def _written(value: Any) -> str:  # noqa: ANN401  # what a field of a step is
    if isinstance(value, list):
        return f"[{', '.join(_quoted(str(one)) for one in cast('list[object]', value))}]"
    return str(value) if isinstance(value, int) else _quoted(str(value))


def _quoted(text: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    safe = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(safe, ensure_ascii=False).replace("\x7f", "\\u007f")


def _line(text: str) -> str:
    """A text that stays on its line of comment."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def keep_healed(report: object) -> bool:
    """Write down the steps that a run has found by other marks, after their effect was seen; whether there were any.

    Args:
        report: What the run gave back: with `skill` and `healed` in its `value`.

    Raises:
        StorageError: It can't be written.
    """
    value: Any = cast("Mapping[str, Any]", report).get("value") if isinstance(report, Mapping) else None
    told: Mapping[str, Any] = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
    name, healed = told.get("skill"), told.get("healed")
    if not isinstance(name, str) or not isinstance(healed, Mapping) or not healed:
        return False
    try:
        data = data_of(load(name))
        for number, step in cast("Mapping[str, Any]", healed).items():
            data["steps"][int(number)] = step
        save(read(data, name))
    except (ConfigError, LookupError, ValueError):
        return False  # its file was changed or removed since
    return True


def mended(skill: Skill, healed: Mapping[int, Step]) -> Skill:
    """A skill with steps in place of some of its own."""
    return replace(skill, steps=tuple(healed.get(number, one) for number, one in enumerate(skill.steps)))
