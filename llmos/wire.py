"""Messages, requests, events and errors as lines of JSON, and back.

A line is one JSON object in UTF-8 with a newline at its end. Its `type` names the class, the rest are the fields. NaN
and Infinity are written as such, which JSON proper does not have. Knows no pipe, socket or engine: another layer with
more classes to send makes its own `Codec`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from llmos import errors, events, messages
from llmos.errors import EngineError, LlmosError, RemoteError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MESSAGES: tuple[type, ...] = (
    messages.ToolSpec,
    messages.ToolCall,
    messages.Message,
    messages.Context,
    messages.Sampling,
    messages.JsonSchema,
    messages.Regex,
    messages.Choices,
    messages.Grammar,
    messages.Generate,
    messages.Score,
    messages.ScoredChoice,
    messages.Scores,
    messages.Microcode,
    messages.EngineInfo,
    events.Usage,
    events.Started,
    events.Alternative,
    events.Token,
    events.Finished,
    events.Notice,
    events.ProcessChanged,
    events.CallStarted,
    events.CallEnded,
)
_SHOWN = 200
_SURROGATE = re.compile("[\ud800-\udfff]")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ErrorData:
    """An error as plain data.

    Attributes:
        name: Its class, one of `llmos.errors`.
        status: `RemoteError.status`; 0 for all others.
    """

    name: str
    message: str
    hint: str = ""
    status: int = 0

    @classmethod
    def of(cls, error: LlmosError) -> ErrorData:
        """The data of an error. A subclass that `llmos.errors` does not have becomes the base that it has."""
        known = error_classes()
        name = next(base.__name__ for base in type(error).__mro__ if known.get(base.__name__) is base)
        return cls(name, error.message, error.hint, error.status if isinstance(error, RemoteError) else 0)

    def error(self) -> LlmosError:
        """The error itself, not raised.

        Raises:
            EngineError: No class of `llmos.errors` has this name.
        """
        kind = error_classes().get(self.name)
        if kind is None:
            raise EngineError(f"Can't decode an error of the unknown class {self.name!r}: {self.message}")
        if issubclass(kind, RemoteError):
            return kind(self.message, hint=self.hint, status=self.status)
        return kind(self.message, hint=self.hint)


@cache
def error_classes() -> Mapping[str, type[LlmosError]]:
    """The classes that an error may be decoded to, by name: those of `llmos.errors` and no others."""
    found = (value for value in vars(errors).values() if isinstance(value, type))
    return {value.__name__: value for value in found if issubclass(value, LlmosError)}


class Codec(Generic[T]):
    """Encodes and decodes the instances of some dataclasses; `T` is their union.

    Args:
        classes: What it accepts, each told by its name; none may have a field `type`.
    """

    def __init__(self, *classes: type[T]) -> None:
        self._classes = {kind.__name__: kind for kind in classes}
        reserved = [kind.__name__ for kind in classes if "type" in getattr(kind, "__dataclass_fields__", ())]
        if reserved or len(self._classes) < len(classes):
            raise TypeError(f"classes with a field 'type', or two with one name: {reserved or classes}")

    def encode(self, value: T) -> bytes:
        """A line, newline included.

        Lone surrogates, which UTF-8 can't hold, become U+FFFD.

        Raises:
            EngineError: Its class is not one of the codec's, or a value inside has no JSON form.
        """
        kind = type(value)
        if self._classes.get(kind.__name__) is not kind:
            raise EngineError(f"Can't encode a {kind.__name__!r}: it is not one of {sorted(self._classes)}.")
        body = _json(value)
        separator = b"" if body == b"{}" else b","
        return b'{"type":"' + kind.__name__.encode() + b'"' + separator + body[1:] + b"\n"

    def decode(self, line: bytes) -> T:
        """What a line holds.

        Raises:
            EngineError: It is malformed, or of a class that the codec does not have.
        """
        from pydantic import ValidationError

        try:
            name = cast("_Tag", _adapter(_Tag).validate_json(line, strict=True)).type
            kind: type | None = self._classes.get(name)
            if kind is None:
                raise EngineError(f"Can't decode a line of the unknown type {name!r}: {_shown(line)}")
            return cast("T", _adapter(kind).validate_json(line, strict=True))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise EngineError(f"Can't decode a line: {place or 'line'}: {first['msg']}: {_shown(line)}") from error


@dataclass(frozen=True, slots=True)
class _Tag:
    type: str


def encode(value: object) -> bytes:
    """A message, request, event or error as a line of JSON, newline included.

    Raises:
        EngineError: It is none of these, or a value inside has no JSON form.
    """
    return _codec().encode(ErrorData.of(value) if isinstance(value, LlmosError) else value)


def decode(line: bytes) -> object:
    """The message, request, event or error that `encode` made a line of. An error is returned, not raised.

    Raises:
        EngineError: The line is malformed.
    """
    value = _codec().decode(line)
    return value.error() if isinstance(value, ErrorData) else value


@cache
def _codec() -> Codec[object]:
    return Codec(*MESSAGES, ErrorData)


@cache
def _adapter(kind: type) -> TypeAdapter[object]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _json(value: object) -> bytes:
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(value, inf_nan_mode="constants", fallback=_plain)
    except PydanticSerializationError as error:
        if "UnicodeEncodeError" not in str(error):
            raise EngineError(f"Can't encode a {type(value).__name__!r}: {error}.") from error
    return to_json(_without_surrogates(value), inf_nan_mode="constants", fallback=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    raise TypeError(f"a {type(value).__name__!r} has no JSON form")


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if is_dataclass(value):
        return {item.name: _without_surrogates(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {_without_surrogates(key): _without_surrogates(item) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_surrogates(item) for item in cast("Collection[object]", value)]
    return value


def _shown(line: bytes) -> str:
    return repr(line[:_SHOWN]) + (f" and {len(line) - _SHOWN:,} bytes more" if len(line) > _SHOWN else "")
