"""From a typed function to a JSON schema for the model and a validator of its arguments.

pydantic, and griffe where a docstring describes parameters, are imported when the first schema is asked for: declaring
a tool costs nothing. Knows nothing of running a tool.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args, get_origin, get_type_hints

from llmos.errors import BadArguments, ConfigError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

MAX_STRING = 500
MAX_ITEMS = 20
"""A small model writes to its token limit where a string or a list has no end: these bound what has no bound of its
own, in the schema that the model sees. Arguments that a program passes may be longer."""

_PARAMETER_SECTION = re.compile(r"^\s*(Args|Arguments|Params|Parameters)\s*:?\s*$|^\s*:param\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a tool: its name, its type with what is annotated, and its default (`inspect` style)."""

    name: str
    hint: Any
    default: Any


def parameters(
    function: Callable[..., Any], *, names: Mapping[str, Any], globals: Mapping[str, Any] | None = None
) -> tuple[Parameter, ...]:
    """The parameters of a function with their types resolved.

    Args:
        function: Any function; every parameter needs a type.
        names: What else types may refer to, such as the variables where the function was defined.
        globals: Where types are looked up first; those of the function by default.

    Raises:
        ConfigError: A parameter has no type, or its kind is not one that a JSON object can fill.
        NameError: A type refers to a name that is not defined (yet).
    """
    hints = get_type_hints(
        function, globalns=dict(globals) if globals else None, localns=dict(names), include_extras=True
    )
    name = getattr(function, "__name__", repr(function))
    found: list[Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(
                f"The function {name!r} can't be a tool: its parameter {str(parameter)!r} has no name of its own.",
                hint="Give every parameter a name and a type.",
            )
        if parameter.name not in hints:
            raise ConfigError(
                f"The function {name!r} can't be a tool: its parameter {parameter.name!r} has no type.",
                hint=f"Write {parameter.name}: str, for example.",
            )
        if parameter.name.startswith("_"):
            raise ConfigError(
                f"The function {name!r} can't be a tool: its parameter {parameter.name!r} looks private.",
                hint="Give it a name that a model understands.",
            )
        found.append(Parameter(parameter.name, hints[parameter.name], parameter.default))
    return tuple(found)


def described(docstring: str | None) -> tuple[str, dict[str, str]]:
    """What a docstring says of a function, and of each parameter; Google, NumPy or Sphinx style."""
    text = inspect.cleandoc(docstring or "")
    if not _PARAMETER_SECTION.search(text):
        return re.split(r"\n\s*(?:Returns?|Raises|Yields|Examples?)\s*:?\s*\n|\n\s*:returns?:", text)[0].strip(), {}
    import griffe

    source = griffe.Docstring(text)
    style, _ = griffe.infer_docstring_style(source)
    # a warning would be of types that the docstring leaves to the signature
    sections = source.parse(style or "google", warnings=False)
    summary: list[str] = []
    notes: dict[str, str] = {}
    for section in sections:
        if section.kind is griffe.DocstringSectionKind.text:
            summary.append(str(section.value))
        elif section.kind is griffe.DocstringSectionKind.parameters:
            notes |= {entry.name: " ".join(entry.description.split()) for entry in section.value}
    return "\n\n".join(summary).strip(), notes


class Schema:
    """The arguments of one tool: what the model is told about them, and how they are checked.

    Args:
        tool: The tool's name, for errors.
        parameters: Those the model fills in.
        notes: What each is for; a plain string in `Annotated[...]` says it too.
        string: The default `maxLength` of strings in the schema shown.
    """

    def __init__(
        self, tool: str, parameters: tuple[Parameter, ...], notes: Mapping[str, str], *, string: int = MAX_STRING
    ) -> None:
        import pydantic

        self.tool = tool
        # fields are numbered, so that a parameter may be called `json` or `copy` like an attribute of a model
        self._fields = {f"field_{number}": parameter.name for number, parameter in enumerate(parameters)}
        definitions: dict[str, Any] = {}
        for field, parameter in zip(self._fields, parameters, strict=True):
            note = notes.get(parameter.name) or _note(parameter.hint)
            extra = pydantic.Field(alias=parameter.name, description=note or None)
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            definitions[field] = (Annotated[parameter.hint, extra], default)
        try:
            self._model: type[BaseModel] = pydantic.create_model(
                tool, __config__=pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=False), **definitions
            )
            shown = self._model.model_json_schema()
        except pydantic.errors.PydanticUserError as error:
            raise ConfigError(
                f"The tool {tool!r} can't be described as JSON: {error.message.splitlines()[0]}",
                hint="Use types that JSON knows, dataclasses, enums or pydantic models.",
            ) from error
        self.json: Mapping[str, Any] = _simple(shown, string)

    def parse(self, arguments: Mapping[str, Any]) -> BaseModel:
        """The arguments as validated Python values.

        Raises:
            BadArguments: They don't fit; the message is for the model.
        """
        import pydantic

        try:
            return self._model.model_validate_json(json.dumps(dict(arguments), allow_nan=False), strict=True)
        except pydantic.ValidationError as error:
            raise BadArguments(f"{self.tool} can't be called so: {_complaints(error)}.", hint=self.usage()) from error
        except (TypeError, ValueError, RecursionError) as error:
            message = f"{self.tool} can't be called so: the arguments are not JSON."
            raise BadArguments(message, hint=self.usage()) from error

    def values(self, parsed: BaseModel) -> dict[str, Any]:
        """The Python value of each parameter."""
        return {name: getattr(parsed, field) for field, name in self._fields.items()}

    def plain(self, parsed: BaseModel) -> dict[str, Any]:
        """The arguments as JSON data, defaults filled in."""
        return parsed.model_dump(mode="json", by_alias=True)

    def usage(self) -> str:
        """How the tool is called, in one line."""
        required = set(cast("list[str]", self.json.get("required", [])))
        parts = [
            f"{name}{'' if name in required else '?'}: {_type_name(schema)}"
            for name, schema in cast("dict[str, dict[str, Any]]", self.json["properties"]).items()
        ]
        return f"It takes ({', '.join(parts)})."


def _note(hint: Any) -> str:  # noqa: ANN401 - any type can be annotated
    """The plain string that a type is annotated with."""
    if get_origin(hint) is not Annotated:
        return ""
    return next((note for note in get_args(hint)[1:] if isinstance(note, str)), "")


def _type_name(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    return kind if isinstance(kind, str) else "any"


def _complaints(error: ValidationError) -> str:
    """What is wrong with some arguments, for a model: at most three things."""
    said: list[str] = []
    for problem in error.errors(include_url=False, include_context=False)[:3]:
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"][:1].lower() + problem["msg"][1:]
        if problem["type"] == "extra_forbidden":
            message = "there is no such argument"
        elif problem["type"] == "missing":
            message = "is missing"
        else:
            message = f"{message}, not {_brief(problem['input'])}"
        said.append(f"{place}: {message}" if place else message)
    return "; ".join(said)


def _brief(value: Any) -> str:  # noqa: ANN401 - whatever was passed
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _simple(schema: Mapping[str, Any], string: int) -> dict[str, Any]:
    """A schema without titles and null alternatives, every string and list of it bounded."""
    plain = {key: value for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    for key in ("properties", "$defs", "patternProperties"):
        if key in plain:
            plain[key] = {name: _simple(part, string) for name, part in plain[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(plain.get(key), dict):
            plain[key] = _simple(plain[key], string)
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if key in plain:
            plain[key] = [_simple(part, string) for part in plain[key]]
    if "default" in plain and plain["default"] is None and "anyOf" in plain:
        plain = _without_null(plain)
    if plain.get("type") == "string" and not {"maxLength", "enum", "const", "format", "pattern"} & plain.keys():
        plain["maxLength"] = string
    if plain.get("type") == "array" and not {"maxItems", "prefixItems"} & plain.keys():
        plain["maxItems"] = MAX_ITEMS
    return plain


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """An optional value: it is left out, and never written as null."""
    kept = [part for part in schema["anyOf"] if part != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**kept[0], **rest} if len(kept) == 1 else {**rest, "anyOf": kept}
