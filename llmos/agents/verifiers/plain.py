"""Verifiers that need nothing but the value: its form, and what a function of the user's says of it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from llmos.agents.verdict import Found, Verdict, Verifier
from llmos.agents.verifiers.common import brief, data_of, several
from llmos.errors import BadArguments

if TYPE_CHECKING:
    from pydantic import BaseModel

T = TypeVar("T")


def schema(model: type[BaseModel] | Mapping[str, Any]) -> Verifier[Any]:
    """The value, or the JSON that its text is, fits a pydantic model or a JSON schema (2020-12 unless it says another).

    References out of a JSON schema are not followed.

    Raises:
        BadArguments: The schema itself is none.
    """
    errors = _by_model(model) if inspect.isclass(model) else _by_schema(model)

    def check(value: object) -> Verdict:
        try:
            data = data_of(value)
        except ValueError as error:
            return Verdict("fail", (brief(f"It is no JSON: {error}."),))
        found = errors(data)
        return Verdict("fail", several(found)) if found else Verdict("pass")

    return Verifier(check, name="schema")


def _by_model(model: type[BaseModel]) -> Callable[[object], list[str]]:
    from pydantic import ValidationError

    def errors(data: object) -> list[str]:
        try:
            model.model_validate(data)
        except ValidationError as error:
            return [_said([str(part) for part in one["loc"]], one["msg"]) for one in error.errors()]
        return []

    return errors


def _by_schema(schema: Mapping[str, Any]) -> Callable[[object], list[str]]:
    from jsonschema import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    kind: Any = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise BadArguments(f"This is no JSON schema: {brief(str(error.message))}.") from error
    validator = kind(schema, registry=EMPTY_REGISTRY)  # nothing is fetched

    def errors(data: object) -> list[str]:
        try:
            return [
                _said([str(part) for part in one.absolute_path], one.message) for one in validator.iter_errors(data)
            ]
        except Unresolvable as error:
            raise ValueError(f"the schema refers to {error}, which is not in it") from error

    return errors


def _said(path: list[str], message: str) -> str:
    return f"{'.'.join(path)}: {brief(message)}" if path else brief(message)


def predicate(
    fn: Callable[[T], Found | Awaitable[Found]], *, name: str = "", reason: str = "", seconds: float | None = None
) -> Verifier[T]:
    """A function of your own says whether the value is right.

    Args:
        fn: Sync or async; may return True, False, None for "can't tell", or a `Verdict`.
        reason: Said where it returns False.
        seconds: It can't tell if it takes longer. A sync function then runs in a thread of its own, which can't be
            ended: it is left behind.
    """
    name = name or getattr(fn, "__name__", "predicate")
    if seconds is None:
        return Verifier(fn, name=name, reason=reason)

    async def bounded(value: T) -> Found:
        try:
            async with asyncio.timeout(seconds):
                found = await fn(value) if inspect.iscoroutinefunction(fn) else await _apart(lambda: fn(value))
                return cast("Found", await found if inspect.isawaitable(found) else found)
        except TimeoutError:
            return Verdict("unsure", (f"{name} did not end within {seconds:g} s.",))

    return Verifier(bounded, name=name, reason=reason)


async def _apart(work: Callable[[], T]) -> T:
    """Call a function in a thread that nothing waits for at the program's end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if not done.done():
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(cast("T", result))

    def run() -> None:
        result: T | None = None
        problem: BaseException | None = None
        try:
            result = work()
        except Exception as error:  # a check is the user's code: whoever waits is told
            problem = error
        try:
            loop.call_soon_threadsafe(tell, result, problem)
        except RuntimeError:
            return  # the loop has ended meanwhile

    threading.Thread(target=run, name="predicate", daemon=True).start()
    return await done
