"""A server's JSON schema of a tool's arguments, as a model may see it and as arguments are checked against it.

What comes in is anybody's: it is bounded, references are written out, text is cleaned, and only keywords stay that
constrained decoding knows. What is left out makes the schema wider, never narrower: the server checks for itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from llmos.errors import BadArguments
from llmos.tools.output import visible
from llmos.tools.schema import MAX_ITEMS, MAX_STRING

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

MAX_BYTES = 64 * 1024
MAX_NODES = 2000
MAX_DEPTH = 12
MAX_NOTE = 500
MAX_NAME = 64
MAX_OPTIONS = 200
MAX_COUNT, MAX_LEAST = 1_000_000, 100
_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
# those that llguidance knows
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})


class Unusable(ValueError):
    """A schema that no tool can have; the message says why."""


class Arguments:
    """The arguments of one tool.

    Args:
        tool: The tool's name, for errors.
        schema: As the server sent it.

    Raises:
        Unusable: It is too big, or does not describe an object.
    """

    def __init__(self, tool: str, schema: Mapping[str, Any]) -> None:
        self.tool = tool
        self.strict = _Cleaner(schema).root()

    @cached_property
    def shown(self) -> dict[str, Any]:
        """For the model: without null alternatives, every text and list bounded."""
        return _bounded(self.strict)

    @property
    def names(self) -> frozenset[str]:
        """The arguments that it names."""
        return frozenset(cast("dict[str, Any]", self.strict["properties"]))

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments that fit. Defaults are left to the server: here they would count as the user's.

        Raises:
            BadArguments: They don't; the message is for the model.
        """
        try:
            plain = cast("dict[str, Any]", json.loads(json.dumps(dict(arguments), allow_nan=False)))
        except (TypeError, ValueError, RecursionError) as error:
            raise BadArguments(f"{self.tool} can't be called so: the arguments are not JSON.") from error
        problems = [_complaint(error) for error in self._validator.iter_errors(plain)]
        if problems:
            said = "; ".join(dict.fromkeys(problems[:3]))
            raise BadArguments(f"{self.tool} can't be called so: {said}.", hint=self._usage())
        return plain

    @cached_property
    def _validator(self) -> Validator:
        import jsonschema

        return jsonschema.Draft202012Validator(self.strict)

    def _usage(self) -> str:
        required = set(cast("list[str]", self.strict.get("required", [])))
        parts = [
            f"{name}{'' if name in required else '?'}: {_kind(schema)}"
            for name, schema in cast("dict[str, dict[str, Any]]", self.strict["properties"]).items()
        ]
        return f"It takes ({', '.join(parts)})."


class _Cleaner:
    """Makes one schema anew out of what is known to be good."""

    def __init__(self, schema: object) -> None:
        try:
            text = json.dumps(schema, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise Unusable("its schema is not JSON") from error
        if len(text) > MAX_BYTES:
            raise Unusable(f"its schema has more than {MAX_BYTES:,} bytes")
        self._whole: object = json.loads(text)
        self._nodes = 0
        self._open: list[str] = []

    def root(self) -> dict[str, Any]:
        clean = self._schema(self._whole, 0)
        if clean is None or clean.get("type", "object") != "object":
            raise Unusable("its schema does not describe an object")
        kept = {key: part for key, part in clean.items() if key not in _BRANCHES}
        clean = {**_EMPTY, **kept}
        if clean["properties"]:
            # an argument without a name in the schema would be one that nobody has seen before
            clean["additionalProperties"] = False
        return clean

    def _schema(self, value: object, depth: int) -> dict[str, Any] | None:
        """A clean schema; None for one that allows nothing."""
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Unusable(f"its schema has more than {MAX_NODES:,} parts")
        if value is False:
            return None
        if not isinstance(value, dict) or depth > MAX_DEPTH:
            return {}
        raw = cast("dict[str, Any]", value)
        if isinstance(reference := raw.get("$ref"), str):
            return self._referred(reference, raw, depth)
        if options := _options(raw):
            return {**_annotated(raw), "enum": options}
        own = self._object(raw, depth)
        if "properties" not in own and (branches := self._branches(raw, depth)):
            return {**branches, **_annotated(raw)}
        return {**_annotated(raw), **_typed(raw), **own, **self._array(raw, depth)}

    def _referred(self, reference: str, raw: Mapping[str, Any], depth: int) -> dict[str, Any] | None:
        """What a reference inside this schema stands for; anything, for one that leads out or to itself."""
        if reference in self._open or not reference.startswith("#"):
            return _annotated(raw)
        target: object = self._whole
        for part in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            key = part.replace("~1", "/").replace("~0", "~")
            target = cast("dict[str, Any]", target).get(key) if isinstance(target, dict) else None
        if target is None:
            return _annotated(raw)
        self._open.append(reference)
        try:
            found = self._schema(target, depth + 1)
        finally:
            self._open.pop()
        return None if found is None else {**found, **_annotated(raw)}

    def _object(self, raw: Mapping[str, Any], depth: int) -> dict[str, Any]:
        clean: dict[str, Any] = {}
        properties: object = raw.get("properties")
        if isinstance(properties, dict):
            parts = {
                str(name): self._schema(part, depth + 1) for name, part in cast("dict[str, Any]", properties).items()
            }
            if odd := next((name for name in parts if len(name) > MAX_NAME or not name.isprintable()), None):
                raise Unusable(f"it has an argument named {brief(odd, 60)!r}")
            clean["properties"] = {name: part for name, part in parts.items() if part is not None}
            required: object = raw.get("required")
            if isinstance(required, list):
                known = [name for name in cast("list[object]", required) if isinstance(name, str)]
                clean["required"] = list(dict.fromkeys(name for name in known if name in clean["properties"]))
        more: object = raw.get("additionalProperties")
        if isinstance(more, bool):
            clean["additionalProperties"] = more
        elif isinstance(more, dict):
            found = self._schema(cast("object", more), depth + 1)
            clean["additionalProperties"] = False if found is None else found
        return clean

    def _array(self, raw: Mapping[str, Any], depth: int) -> dict[str, Any]:
        items: object = raw.get("items")
        if isinstance(items, dict):
            found = self._schema(cast("object", items), depth + 1)
            return {} if found is None else {"items": found}
        return {}

    def _branches(self, raw: Mapping[str, Any], depth: int) -> dict[str, Any]:
        """Alternatives, which then are all there is. `oneOf` becomes `anyOf`; `allOf` only stays where it is one."""
        for key in ("anyOf", "oneOf"):
            options: object = raw.get(key)
            if isinstance(options, list) and options:
                parts = [self._schema(option, depth + 1) for option in cast("list[object]", options)]
                kept = [part for part in parts if part is not None]
                return {"anyOf": kept} if kept and all(kept) else {}
        every: object = raw.get("allOf")
        if isinstance(every, list) and len(cast("list[object]", every)) == 1:
            return self._schema(cast("list[object]", every)[0], depth + 1) or {}
        return {}


_EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
_BRANCHES = frozenset({"anyOf", "enum", "const", "description"})


def _annotated(raw: Mapping[str, Any]) -> dict[str, Any]:
    note: object = raw.get("description") or raw.get("title")
    return {"description": brief(note, MAX_NOTE)} if isinstance(note, str) and note.strip() else {}


def _options(raw: Mapping[str, Any]) -> list[Any]:
    """The few values that there are; empty where there are others, or too many."""
    given: object = raw.get("enum", [raw["const"]] if "const" in raw else None)
    options = cast("list[object]", given) if isinstance(given, list) else []
    plain = [one for one in options if isinstance(one, str | int | float | bool)]
    return plain if len(plain) == len(options) <= MAX_OPTIONS else []


def _typed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The type, with those bounds that belong to it."""
    given: object = raw.get("type")
    named = cast("list[object]", given) if isinstance(given, list) else [given]
    kinds = list(dict.fromkeys(one for one in named if isinstance(one, str) and one in _TYPES))
    if not kinds:
        return {}
    clean: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds}
    form: object = raw.get("format")
    if isinstance(form, str) and form in _FORMATS and "string" in kinds:
        return {**clean, "format": form}
    if "string" in kinds:
        clean |= _counts(raw, "minLength", "maxLength")
    if "array" in kinds:
        clean |= _counts(raw, "minItems", "maxItems")
    if "number" in kinds or "integer" in kinds:
        clean |= _numbers(raw)
    return clean


def _counts(raw: Mapping[str, Any], least: str, most: str) -> dict[str, Any]:
    found = {key: raw[key] for key in (least, most) if isinstance(raw.get(key), int) and raw[key] is not True}
    low, high = int(found.get(least, 0)), int(found.get(most, MAX_COUNT))
    if not 0 <= low <= min(high, MAX_LEAST):
        return {}
    return {key: int(value) for key, value in found.items() if value <= MAX_COUNT}


def _numbers(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Bounds with few digits: what decodes under them has one branch for each."""
    found: dict[str, float] = {}
    for key in _NUMBERS:
        value: object = raw.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if abs(value) < 1e12 and round(value, 6) == value:
            found[key] = value
    low = max(found.get("minimum", -math.inf), found.get("exclusiveMinimum", -math.inf))
    high = min(found.get("maximum", math.inf), found.get("exclusiveMaximum", math.inf))
    exclusive = "exclusiveMinimum" in found or "exclusiveMaximum" in found
    return found if high - low >= 1 + exclusive else {}  # so that there is a whole number between them


def brief(text: str, most: int) -> str:
    """A server's text on one line: what hides or reorders is written as escapes, too much is cut."""
    clean = visible(" ".join(text.encode("utf-8", "replace").decode().split()))
    return clean if len(clean) <= most else f"{clean[:most]}…"


def _bounded(schema: Mapping[str, Any]) -> dict[str, Any]:
    plain = dict(schema)
    required = set(cast("list[str]", plain.get("required", ())))
    if "properties" in plain:
        parts = cast("dict[str, dict[str, Any]]", plain["properties"])
        plain["properties"] = {
            name: _bounded(part if name in required else _without_null(part)) for name, part in parts.items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(plain.get(key), dict):
            plain[key] = _bounded(plain[key])
    if "anyOf" in plain:
        plain["anyOf"] = [_bounded(part) for part in plain["anyOf"]]
    if plain.get("type") == "string" and not {"maxLength", "enum", "format"} & plain.keys():
        plain["maxLength"] = max(MAX_STRING, plain.get("minLength", 0))
    if plain.get("type") == "array" and "maxItems" not in plain:
        plain["maxItems"] = max(MAX_ITEMS, plain.get("minItems", 0))
    return plain


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An argument that may be left out: it is left out, and never written as null."""
    plain = dict(schema)
    if isinstance(plain.get("type"), list):
        kinds = [kind for kind in plain["type"] if kind != "null"]
        plain["type"] = kinds[0] if len(kinds) == 1 else kinds
    if "anyOf" in plain:
        kept = [part for part in plain["anyOf"] if part.get("type") != "null"]
        if len(kept) == 1:
            del plain["anyOf"]
            plain = {**kept[0], **plain}
        elif kept:
            plain["anyOf"] = kept
    return plain


def _complaint(error: Any) -> str:  # noqa: ANN401 - jsonschema's error, whose parts have no types
    place = ".".join(map(str, error.absolute_path))
    match error.validator:
        case "required":
            missing = re.sub(r"^'(.*)' is a required property$", r"\1", str(error.message))
            return f"{place}.{missing}: is missing".lstrip(".")
        case "additionalProperties":
            extra = sorted(set(error.instance) - set(error.schema.get("properties", {})))
            return f"{'.'.join(filter(None, (place, extra[0])))}: there is no such argument"
        case _:
            said = str(error.message)
            return f"{place}: {said[:200]}".lstrip(": ")


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"][:8])
    kind = schema.get("type", "any")
    return kind if isinstance(kind, str) else "any"
