"""Scripted engines from a model name, so that the command line and its tests run without a model.

`scripted:` echoes the user's words. `scripted:PATH` follows a JSON file with one of these forms:

- a list of replies, used in turn;
- an object with `replies` (such a list, one reply for everything, or an object from the user's words to the reply) and
  any of `context` (tokens), `seconds_per_token`, `load_seconds` (how long opening it takes) and `name`.

A reply is a text, or an object with the fields of `Reply`: `text`, `reasoning`, `logprob`, and `error` (a message).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard, cast

from llmos.engine.script import DEFAULT_LOGPROB, Reply, last_words
from llmos.engine.scripted import Script, ScriptedEngine
from llmos.errors import ConfigError, EngineError, ModelNotFound
from llmos.messages import Generate

PREFIX = "scripted:"
_FIELDS = {"text", "reasoning", "logprob", "error"}


async def open_scripted(spec: str, *, context: int | None = None) -> ScriptedEngine:
    """The scripted engine of a model name that begins with `scripted:`.

    Args:
        spec: `scripted:` or `scripted:PATH`.
        context: Tokens of its context, instead of what the file says.

    Raises:
        ModelNotFound: There is no such file.
        ConfigError: The file has none of the forms above.
    """
    path = spec.removeprefix(PREFIX)
    if not path:
        return ScriptedEngine(_echo, context=context or 4096)
    values = _read(Path(path))
    await asyncio.sleep(_number(values, "load_seconds", 0.0))
    return ScriptedEngine(
        _replies(values.get("replies"), path),
        name=str(values.get("name", "scripted")),
        context=context or int(_number(values, "context", 4096)),
        seconds_per_token=_number(values, "seconds_per_token", 0.0),
    )


def _echo(request: Generate) -> Reply:
    return Reply(last_words(request.context))


def _read(path: Path) -> Mapping[str, object]:
    try:
        values: object = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelNotFound(f"The script {str(path)!r} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"The script {str(path)!r} is not JSON: {error}.") from error
    if isinstance(values, list):
        return {"replies": cast("object", values)}
    if _is_table(values):
        return values
    raise ConfigError(f"The script {str(path)!r} holds neither a list nor an object.")


def _number(values: Mapping[str, object], key: str, default: float) -> float:
    value = values.get(key, default)
    if not isinstance(value, int | float):
        raise ConfigError(f"{key!r} of a script is {value!r}.", hint="Allowed is a number.")
    return value


def _replies(value: object, path: str) -> Script:
    if isinstance(value, list):
        return [_reply(item, path) for item in cast("list[object]", value)]
    if _is_table(value) and not value.keys() <= _FIELDS:
        return {words: _reply(item, path) for words, item in value.items()}
    return _reply(value, path)


def _is_table(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _reply(value: object, path: str) -> Reply:
    if isinstance(value, str):
        return Reply(value)
    if not _is_table(value):
        raise ConfigError(f"A reply of the script {path!r} is {value!r}.", hint="Allowed are a text and an object.")
    error = value.get("error")
    return Reply(
        str(value.get("text", "")),
        reasoning=str(value.get("reasoning", "")),
        logprob=_number(value, "logprob", DEFAULT_LOGPROB),
        error=EngineError(str(error)) if error else None,
    )
