"""Tools as data: kinds of tools from TOML files, shown to the model under changing names, and requests for them.

A file of `tools/` holds tools by family (near-duplicates share one; splits are by family). A request is a template with
slots in braces: the name of a parameter, or of a kind of values (`{city}`, `{city2}`) for words that are no argument.
Instead of a string, a request may be a table: `say` the template, `with` arguments that are not said word for word
(texts with slots: `{ say = "take {a} from {b}", with = { expression = "{b} - {a}" } }`; a constant:
`{ say = "remove {url}", with = { method = "DELETE" } }`), `slots` kinds of slots with other names
(`slots = { a = "integer" }`), and `fill = false` where the words only show which tool is meant. Text arguments are
copied from the request. Knows no job.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, cast

from llmos.agents.assistant import is_offered
from llmos.errors import ConfigError
from llmos.learn.data import values
from llmos.learn.data.example import Split, part, split_of
from llmos.learn.data.noise import dressed, noisy
from llmos.messages import ToolSpec
from llmos.tools.registry import load_tools

BUILTIN = "builtin.toml"
"""The file whose tools are those of llmos: schemas, types and notes come from the tools themselves."""

_FOLDER = Path(__file__).with_name("tools")
_TYPES = {"string", "integer", "number", "boolean", "enum", "list", "object"}
_NUMBERS = {"integer", "number"}
_SLOT = re.compile(r"\{(\w+)\}")
_TRIES = 40
_RENAMED = 0.5
_WITHOUT_NOTE = 0.1
_SHUFFLED = 0.2
_TOOL_KEYS = {"family", "name", "also_named", "description", "also", "parameters", "requests", "vague", "results"}
_PARAMETER_KEYS = {"name", "also_named", "type", "kind", "note", "also_notes", "required", "options"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a kind of tools.

    Attributes:
        type: string, integer, number, boolean, enum, list or object (an object is shown but never filled in).
        kind: Its pool of values; empty for an enum, a boolean or an object.
        notes: What it may be described as.
        options: For an enum or a boolean: what people say for each value.
        schema: The JSON schema; empty if it follows from the type.
    """

    name: str
    also_named: tuple[str, ...]
    type: str
    kind: str
    notes: tuple[str, ...]
    required: bool
    options: Mapping[str, tuple[str, ...]]
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def shown(self, note: str) -> dict[str, Any]:
        """Its JSON schema."""
        noted = {"description": note} if note else {}
        if self.schema:
            return {**{key: value for key, value in self.schema.items() if key != "description"}, **noted}
        match self.type:
            case "enum":
                return {"type": "string", "enum": list(self.options), **noted}
            case "list":
                numbers = values.is_number(self.kind)
                return {"type": "array", "items": {"type": "number" if numbers else "string"}, **noted}
            case kind:
                return {"type": kind, **noted}


@dataclass(frozen=True, slots=True)
class Template:
    """One way to ask for a tool.

    Attributes:
        given: Arguments that are not slots of their own: constants, or texts with slots.
        slots: Kinds of slots that are named after neither a parameter nor a kind.
        fill: Whether the arguments follow from the words.
    """

    say: str
    given: Mapping[str, Any] = field(default_factory=dict[str, Any])
    slots: Mapping[str, str] = field(default_factory=dict[str, str])
    fill: bool = True


@dataclass(frozen=True, slots=True)
class Shown:
    """A tool as a model sees it.

    Attributes:
        names: The shown name of each parameter, by its own.
    """

    kind: ToolKind
    spec: ToolSpec
    names: Mapping[str, str]

    @property
    def name(self) -> str:
        """The tool's shown name."""
        return self.spec.name


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a tool, and what it says.

    Attributes:
        arguments: By shown names, in the order of the schema.
        said: What stands in each slot.
        template: What it was made from.
    """

    text: str
    arguments: Mapping[str, Any]
    said: Mapping[str, str]
    template: Template


@dataclass(frozen=True, slots=True, eq=False)
class ToolKind:
    """A tool with all that is known of it: how it may be named and described, asked for, and what it may print."""

    family: str
    name: str
    also_named: tuple[str, ...]
    descriptions: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    requests: tuple[Template, ...]
    vague: tuple[str, ...]
    results: tuple[str, ...]
    domain: str
    builtin: bool = False

    def spec(self, random: Random, *, original: bool = False) -> Shown:
        """The tool under a name, with a description, parameter names and notes chosen at random.

        Args:
            original: Show it as it is.
        """
        chosen = list(self.parameters)
        if original:
            names = {one.name: one.name for one in chosen}
            properties = {one.name: one.shown(one.notes[0]) for one in chosen}
            return Shown(self, _spec(self.name, self.descriptions[0], properties, chosen, names), names)
        if random.random() < _SHUFFLED:
            random.shuffle(chosen)
        names = _names(random, chosen)
        properties = {
            names[one.name]: one.shown("" if random.random() < _WITHOUT_NOTE else random.choice(one.notes))
            for one in chosen
        }
        name = random.choice((self.name, *self.also_named))
        return Shown(self, _spec(name, random.choice(self.descriptions), properties, chosen, names), names)

    def templates(self, split: Split, *, fill: bool = False) -> list[Template]:
        """Its requests for a split: a part of them if the tool belongs to training, else all
        whose words training does not see.

        Args:
            fill: Only those whose arguments follow from the words.
        """
        return [one for one in _templates(self, split) if one.fill or not fill]

    def vague_requests(self, split: Split) -> Sequence[str]:
        """Requests for a split that lack what the tool needs."""
        return _vague(self, split)

    def request(
        self, random: Random, split: Split, shown: Shown, *, fill: bool = False, template: Template | None = None
    ) -> Asked:
        """A request for the tool.

        Args:
            fill: Only one whose arguments follow from the words.
            template: What to make it from; any of the split's by default.

        Raises:
            LookupError: The split has no template of this tool.
        """
        if template is None:
            templates = self.templates(split, fill=fill)
            if not templates:
                raise LookupError(self.name)
            template = random.choice(templates)
        say = dressed(random, template.say, split)
        texts: dict[str, str] = {}
        arguments = self._say(replace(template, say=say), random, split, texts)
        arguments |= {name: _filled(value, texts) for name, value in template.given.items()}
        fixed = [value for value in template.given.values() if isinstance(value, str) and "{" not in value]
        text = noisy(random, _filled(say, texts), keep=(*texts.values(), *fixed))
        ordered = {shown.names[name]: arguments[name] for name in _order(shown) if name in arguments}
        return Asked(text, ordered, texts, template)

    def _say(self, template: Template, random: Random, split: Split, texts: dict[str, str]) -> dict[str, Any]:
        """Fill `texts`, what stands in each slot; the arguments that are slots of their own."""
        own = {one.name: one for one in self.parameters}
        arguments: dict[str, Any] = {}
        for slot in _slots(template.say, template.given):
            if slot in own:
                texts[slot], arguments[slot] = _argument(own[slot], random, split, texts)
            else:
                texts[slot] = _distinct(template.slots.get(slot) or _plain(slot), random, split, texts).text
        return arguments

    def unclear(self, random: Random, split: Split) -> str:
        """A request that means the tool and lacks what it needs; empty if there is none for the split."""
        said = self.vague_requests(split)
        if not said:
            return ""
        say = dressed(random, random.choice(said), split)
        texts: dict[str, str] = {}
        self._say(Template(say), random, split, texts)
        return noisy(random, _filled(say, texts), keep=tuple(texts.values()))

    def result(self, random: Random, split: Split, asked: Asked) -> str:
        """What the tool prints for a request.

        Raises:
            LookupError: No results are known.
        """
        if not self.results:
            raise LookupError(self.name)
        template = random.choice(self.results)
        texts = dict(asked.said)
        for slot in _SLOT.findall(template):
            if slot not in texts:
                kind = next((one.kind for one in self.parameters if one.name == slot), "") or _plain(slot)
                texts[slot] = values.draw(kind, random, split).text if kind in values.kinds() else ""
        return str(_filled(template, texts))


@cache
def tools(split: Split) -> tuple[ToolKind, ...]:
    """All tools of a split, by family, without those of llmos itself."""
    return tuple(one for one in _all() if not one.builtin and split_of(one.family) == split)


@cache
def builtin_tools() -> tuple[ToolKind, ...]:
    """The tools of llmos that stand to choice."""
    return tuple(one for one in _all() if one.builtin)


@cache
def families(split: Split) -> Mapping[str, tuple[ToolKind, ...]]:
    """The tools of a split by family."""
    found: dict[str, list[ToolKind]] = {}
    for one in tools(split):
        found.setdefault(one.family, []).append(one)
    return {family: tuple(members) for family, members in found.items()}


def skeleton(template: str) -> str:
    """What a template says apart from its slots."""
    return " ".join(_SLOT.sub("{}", template).lower().split()).strip(" .?!")


# -- requests


@cache
def _vague(kind: ToolKind, split: Split) -> tuple[str, ...]:
    own = not kind.builtin and split_of(kind.family) != "train"
    return kind.vague if own else tuple(part(kind.vague, split))


@cache
def _templates(kind: ToolKind, split: Split) -> tuple[Template, ...]:
    if not kind.builtin and split_of(kind.family) != "train":
        return tuple(one for one in kind.requests if skeleton(one.say) not in _trained())
    allowed = set(part([skeleton(one.say) for one in kind.requests], split))
    return tuple(one for one in kind.requests if skeleton(one.say) in allowed)


@cache
def _trained() -> frozenset[str]:
    """The skeletons of all requests that training may see."""
    known = [one for one in _all() if one.builtin or split_of(one.family) == "train"]
    return frozenset(skeleton(request.say) for one in known for request in one.templates("train"))


def _plain(slot: str) -> str:
    """The kind that a slot is named after, without its number."""
    return slot.rstrip("0123456789")


def _slots(say: str, given: Mapping[str, Any]) -> list[str]:
    found = _SLOT.findall(say)
    for value in given.values():
        found += _SLOT.findall(value) if isinstance(value, str) else []
    return list(dict.fromkeys(found))


def _argument(parameter: Parameter, random: Random, split: Split, taken: Mapping[str, str]) -> tuple[str, Any]:
    """What is said for a parameter, and its value."""
    if parameter.options:
        value = random.choice(list(parameter.options))
        return random.choice(parameter.options[value]), value == "true" if parameter.type == "boolean" else value
    if parameter.type == "list":
        return _items(parameter.kind, random, split, taken)
    drawn = _distinct(parameter.kind, random, split, taken)
    return drawn.text, drawn.text if parameter.type == "string" else drawn.value


def _items(kind: str, random: Random, split: Split, taken: Mapping[str, str]) -> tuple[str, list[Any]]:
    found: dict[str, values.Value] = {}
    for number in range(random.choice((2, 2, 3, 3, 4))):
        drawn = _distinct(kind, random, split, {**taken, **{key: one.text for key, one in found.items()}})
        found[str(number)] = drawn
    items = list(found.values())
    said = [one.text for one in items]
    joiner = random.choice((" and ", " and ", ", ", " & "))
    text = ", ".join(said[:-1]) + joiner + said[-1]
    return text, [one.value if values.is_number(kind) else one.text for one in items]


def _distinct(kind: str, random: Random, split: Split, taken: Mapping[str, str]) -> values.Value:
    """A value whose words are not those of another of the request, nor part of them."""
    drawn = values.draw(kind, random, split)
    for _ in range(_TRIES):
        words = drawn.text.lower()
        if not any(words in other.lower() or other.lower() in words for other in taken.values()):
            break
        drawn = values.draw(kind, random, split)
    return drawn


def _filled(value: Any, texts: Mapping[str, str]) -> Any:  # noqa: ANN401 - a constant of any type stays
    if not isinstance(value, str):
        return value
    return _SLOT.sub(lambda found: texts.get(found[1], found[0]), value)


def _order(shown: Shown) -> list[str]:
    own = {name: canonical for canonical, name in shown.names.items()}
    return [own[name] for name in shown.spec.parameters["properties"]]


def _names(random: Random, parameters: Sequence[Parameter]) -> dict[str, str]:
    names: dict[str, str] = {}
    for one in parameters:
        taken = {*names.values(), *(other.name for other in parameters if other is not one)}
        free = [name for name in one.also_named if name not in taken]
        names[one.name] = random.choice(free) if free and random.random() < _RENAMED else one.name
    return names


def _spec(
    name: str, about: str, properties: dict[str, Any], parameters: Sequence[Parameter], names: Mapping[str, str]
) -> ToolSpec:
    required = [names[one.name] for one in parameters if one.required]
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return ToolSpec(name, about, {**schema, "required": required} if required else schema)


# -- files


@cache
def _all() -> tuple[ToolKind, ...]:
    found: list[ToolKind] = []
    for path in sorted(_FOLDER.glob("*.toml")):
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"The tools in {path.name!r} can't be read: {error}.", hint="Mend the TOML.") from error
        for entry in data.get("tool", []):
            found.append(_tool(entry, path.name))
    for one in found:
        other = next(two for two in found if two.name == one.name and two.builtin == one.builtin)
        if other is not one:
            raise ConfigError(f"Two tools are called {one.name!r}.", hint="Rename one.")
    return tuple(found)


def _tool(entry: Mapping[str, Any], file: str) -> ToolKind:
    name = str(entry.get("name", ""))
    where = f"The tool {name!r} in {file!r}"
    _known(entry, _TOOL_KEYS, where)
    requests = tuple(_template(one, where) for one in entry.get("requests", ()))
    builtin = file == BUILTIN
    parameters = tuple(_parameter(one, where) for one in entry.get("parameters", ()))
    descriptions = (str(entry.get("description", "")), *_texts(entry, "also"))
    if builtin:
        spec = _offered(name, where)
        parameters = _as_built(parameters, spec, where)
        descriptions = (spec.description, *_texts(entry, "also"))
    kind = ToolKind(
        str(entry.get("family", "")), name, _texts(entry, "also_named"), descriptions, parameters, requests,
        _texts(entry, "vague"), _texts(entry, "results"), file.removesuffix(".toml"), builtin,
    )  # fmt: skip
    _check(kind, where)
    return kind


def _template(entry: Any, where: str) -> Template:  # noqa: ANN401 - what TOML says
    if isinstance(entry, str):
        return Template(entry)
    if not isinstance(entry, dict) or "say" not in entry:
        raise ConfigError(f"{where} has a request that is no text: {entry!r}.", hint="Write a text or { say = … }.")
    table = cast("dict[str, Any]", entry)
    _known(table, {"say", "with", "slots", "fill"}, where)
    return Template(table["say"], table.get("with", {}), table.get("slots", {}), bool(table.get("fill", True)))


def _parameter(entry: Mapping[str, Any], where: str) -> Parameter:
    name = str(entry.get("name", ""))
    where = f"{where}: the parameter {name!r}"
    _known(entry, _PARAMETER_KEYS, where)
    kind, type_ = str(entry.get("kind", "")), str(entry.get("type", "string"))
    options = {str(value): tuple(said) for value, said in entry.get("options", {}).items()}
    if not name or type_ not in _TYPES:
        raise ConfigError(f"{where} has the type {type_!r}.", hint=f"It is one of {', '.join(sorted(_TYPES))}.")
    if type_ in ("enum", "boolean"):
        if not options or (type_ == "boolean" and not options.keys() <= {"true", "false"}):
            raise ConfigError(f"{where} needs options.", hint='options = { value = ["what people say for it"] }')
    elif type_ != "object" and kind not in values.kinds():
        raise ConfigError(f"{where} has the kind {kind!r}, of which there are no values.", hint="See values.toml.")
    elif type_ in _NUMBERS and not values.is_number(kind):
        raise ConfigError(f"{where} is a number, and {kind!r} has none.", hint="Take integer, small, decimal, money …")
    notes = (str(entry.get("note", "")), *_texts(entry, "also_notes"))
    required = bool(entry.get("required", False))
    return Parameter(name, _texts(entry, "also_named"), type_, kind, notes, required, options)


def _check(kind: ToolKind, where: str) -> None:
    if not (kind.family and kind.name and kind.descriptions[0] and kind.requests):
        raise ConfigError(f"{where} lacks its family, name, description or requests.", hint="Add it.")
    own = {one.name: one for one in kind.parameters}
    if len(own) < len(kind.parameters):
        raise ConfigError(f"{where} has two parameters of one name.", hint="Rename one.")
    for template in kind.requests:
        filled = {*_SLOT.findall(template.say), *template.given}
        for slot in _slots(template.say, template.given):
            known = slot in own or (template.slots.get(slot) or _plain(slot)) in values.kinds()
            if not known:
                raise ConfigError(
                    f"{where}: nothing fills {slot!r} in {template.say!r}.", hint="Name a parameter or kind."
                )
        if unknown := [name for name in template.given if name not in own]:
            raise ConfigError(f"{where} has no parameter {unknown[0]!r}: {template.say!r}.", hint="Mend `with`.")
        missing = [
            one.name for one in kind.parameters if one.required and one.name not in filled | template.given.keys()
        ]
        if template.fill and missing:
            raise ConfigError(f"{where}: {template.say!r} does not say {missing[0]!r}.", hint="Add its slot.")
    for text in (*kind.vague, *kind.results):
        for slot in _SLOT.findall(text):
            if slot not in own and _plain(slot) not in values.kinds():
                raise ConfigError(f"{where}: nothing fills {slot!r} in {text!r}.", hint="Name a parameter or kind.")


def _offered(name: str, where: str) -> ToolSpec:
    """The tool of llmos of that name."""
    tool = _built().get(name)
    if tool is None or not is_offered(name):
        raise ConfigError(f"{where} is none of those that llmos offers.", hint="Take it out.")
    return tool


@cache
def _built() -> Mapping[str, ToolSpec]:
    return {name: tool.spec for name, tool in load_tools().items()}


def _as_built(parameters: Sequence[Parameter], spec: ToolSpec, where: str) -> tuple[Parameter, ...]:
    """Parameters as the tool has them, with the names and values of the file."""
    own = {one.name: one for one in parameters}
    properties: Mapping[str, Mapping[str, Any]] = spec.parameters["properties"]
    if own.keys() != properties.keys():
        raise ConfigError(f"{where} has the parameters {', '.join(properties)}.", hint="Name the same ones.")
    required = spec.parameters.get("required", ())
    return tuple(
        Parameter(
            name, own[name].also_named, own[name].type, own[name].kind,
            (str(schema.get("description", "")), *(note for note in own[name].notes if note)),
            name in required, own[name].options, schema,
        )
        for name, schema in properties.items()
    )  # fmt: skip


def _texts(entry: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(one) for one in entry.get(key, ()))


def _known(entry: Mapping[str, Any], keys: set[str], where: str) -> None:
    if unknown := sorted(entry.keys() - keys):
        raise ConfigError(f"{where} has an entry {unknown[0]!r}.", hint=f"There are {', '.join(sorted(keys))}.")
