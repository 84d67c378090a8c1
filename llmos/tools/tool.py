"""`@tool`: a typed function becomes a device of the kernel.

The schema comes from hints and docstring, arguments are validated, time and output are bounded, and whatever goes wrong
inside comes back as a failed result. Knows no particular tool, and does not decide whether a call is allowed.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import FrameType, UnionType
from typing import Any, Generic, Literal, ParamSpec, TypeVar, Union, cast, get_args, get_origin, overload

from llmos.errors import BadArguments, ConfigError, LlmosError, Unsupported
from llmos.kernel.calls import Effect, Label, Result, Traits
from llmos.kernel.protocols import Access
from llmos.messages import ToolSpec
from llmos.tools.output import as_result, describe, visible
from llmos.tools.schema import MAX_STRING, Parameter, Schema, described, parameters
from llmos.tools.threads import in_thread

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Hook = TypeVar("Hook", bound=Callable[..., Any])
Deps = TypeVar("Deps")

Example = tuple[str, Mapping[str, Any]]
"""A request in a user's words, and the arguments that answer it."""

GRACE = 1.0
"""Seconds that a cancelled call has to clean up before it is left behind."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class Retry(Exception):
    """Raised by a tool: these arguments don't do; the message says what to change."""


class Failed(Exception):
    """Raised by a tool: it can't be done; the message says what went wrong."""


@dataclass(frozen=True, slots=True)
class RunContext(Generic[Deps]):
    """What a tool gets as its first parameter if it asks for it by type: the application's own data, and its access.

    Attributes:
        deps: What the application gave to the run.
        access: Workspace, questions, pre-images, progress; see `Access`.
    """

    deps: Deps
    access: Access


@dataclass(frozen=True, slots=True)
class _Signature:
    """A function as a tool or a hook: what is put in front, and what the model fills in."""

    injected: Literal["", "access", "context"]
    deps: Any
    parameters: tuple[Parameter, ...]


class _Work:
    """One call of the function: whether it has really ended, which a thread may do long after it was given up."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended = False

    def end(self) -> None:
        self.ended = True


class Tool(Generic[P, R]):
    """A function that agents can call: a `Device`. Made by `@tool`; calling it calls the function.

    Attributes:
        name: As the model and the policy know it.
        examples: Requests with the arguments that answer them.
    """

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str,
        description: str,
        traits: Callable[[tuple[str, ...]], Traits],
        examples: tuple[Example, ...],
        string: int,
        frame: FrameType | None,
    ) -> None:
        self.name = name
        self.examples = examples
        self._function = function
        self._description = description
        self._traits = traits
        self._string = string
        self._shows: tuple[Callable[..., str], _Signature] | None = None
        self._reads_back: tuple[Callable[..., Any], _Signature] | None = None
        self._closes: Callable[[], Awaitable[None]] | None = None
        self._left: list[_Work] = []
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"The tool {name!r} has a name that models can't call.",
                hint="Use up to 64 letters, digits, '_' and '-', a letter first.",
            )
        try:
            self._known: _Signature | None = _read_signature(function, frame.f_locals if frame else {})
        except NameError:
            self._known = None  # a type that is defined further down; looked up when it is needed
        if self._known:
            self._check_steers()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The function itself, unchecked and unbounded, for the program that defines it."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self.name!r}, {self.traits.effect}>"

    @property
    def spec(self) -> ToolSpec:
        """Name, description and JSON schema, for the model."""
        return self._spec

    @property
    def traits(self) -> Traits:
        """What it may do to the world."""
        return self._declared

    def shows(self, hook: Hook) -> Hook:
        """Declare what a person sees before agreeing: a function of the same parameters that returns a text."""
        self._shows = (hook, self._hook(hook))
        return hook

    def reads_back(self, hook: Hook) -> Hook:
        """Declare how to find out after a crash whether a call was carried out: a function of the same parameters that
        returns what the tool would have, or None if it was not."""
        self._reads_back = (hook, self._hook(hook))
        return hook

    def closes(self, hook: Hook) -> Hook:
        """Declare what ends with the kernel of this loop: an async function without parameters."""
        self._closes = hook
        return hook

    async def kernel_closed(self) -> None:
        """The kernel of this loop is being closed."""
        if self._closes is not None:
            await self._closes()

    def check(self, arguments: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Arguments as validated JSON data, defaults filled in.

        Raises:
            BadArguments: They don't fit the schema.
        """
        return self._schema.plain(self._schema.parse(arguments))

    def show(self, arguments: Mapping[str, Any], access: Access, /) -> str:
        """The exact effect, for the person who is asked. Characters that hide or reorder are written as escapes."""
        plain = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())
        default = visible(f"{self.name}({plain})")
        if not self._shows:
            return default
        hook, signature = self._shows
        try:
            return visible(str(self._bound(hook, signature, self._values(arguments), access)()))
        except (Failed, Retry, LlmosError) as error:
            return f"{default}\n(It would fail: {visible(str(error))})"
        except Exception as error:
            # a broken preview must not keep the person from seeing the call
            return f"{default}\n(No preview: {visible(describe(error))})"

    async def call(self, arguments: Mapping[str, Any], access: Access, /) -> Result:
        """Do it. Trouble comes back as a `Result` with `failed` or `retry`; only cancellation is raised."""
        traits = self.traits
        self._left = [work for work in self._left if not work.ended]
        if len(self._left) >= traits.parallel:
            count = len(self._left)
            return self._failed(f"{self.name} is out of order: {count} earlier calls of it never ended.")
        try:
            work = _Work()
            running = self._work(self._values(arguments), access, work)
            return await self._bounded(running, work, traits.seconds)
        except (Retry, BadArguments) as error:
            return self._failed(str(error), retry=True)
        except (Failed, LlmosError) as error:
            return self._failed(str(error))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return self._failed(describe(error))
        except Exception as error:
            # whatever a tool raises is its result, and must not end the run
            return self._failed(describe(error))

    async def done(self, arguments: Mapping[str, Any], access: Access, /) -> Result | None:
        """Read back whether this call has been carried out already: its result, or None if it has not.

        Raises:
            Unsupported: The tool has no way to tell, or telling failed.
        """
        if not self._reads_back:
            raise Unsupported(f"{self.name} can't tell whether a call was carried out.", hint="Look for its effect.")
        hook, signature = self._reads_back
        work = _Work()
        try:
            returned = await self._limited(
                self._returned(self._bound(hook, signature, self._values(arguments), access), hook, work),
                work,
                self.traits.seconds,
            )
            return None if returned is None else await self._result(returned, access)
        except Exception as error:
            # not knowing is an answer that the kernel has a rule for
            message = f"{self.name} could not find out whether the call was carried out: {describe(error)}."
            raise Unsupported(message, hint="Look for its effect.") from error

    @cached_property
    def _signature(self) -> _Signature:
        if self._known:
            return self._known
        try:
            self._known = _read_signature(self._function, {})
        except NameError as error:
            raise ConfigError(
                f"The tool {self.name!r} has a type that is not defined: {error}.",
                hint="Import the type where the tool is defined, not under TYPE_CHECKING.",
            ) from error
        self._check_steers()
        return self._known

    @cached_property
    def _declared(self) -> Traits:
        return self._traits(tuple(parameter.name for parameter in self._signature.parameters))

    @cached_property
    def _documented(self) -> tuple[str, dict[str, str]]:
        return described(self._function.__doc__)

    @cached_property
    def _schema(self) -> Schema:
        return Schema(self.name, self._signature.parameters, self._documented[1], string=self._string)

    @cached_property
    def _spec(self) -> ToolSpec:
        return ToolSpec(self.name, self._description or self._documented[0], self._schema.json)

    def _check_steers(self) -> None:
        names = {parameter.name for parameter in self._signature.parameters}
        unknown = sorted(self._declared.steers - names)
        if unknown:
            raise ConfigError(
                f"The tool {self.name!r} is steered by {unknown[0]!r}, which is none of its parameters.",
                hint=f"It has {', '.join(sorted(names)) or 'none'}.",
            )

    def _hook(self, hook: Callable[..., Any]) -> _Signature:
        frame = inspect.currentframe()
        caller = frame.f_back.f_back if frame and frame.f_back else None
        signature = _read_signature(hook, caller.f_locals if caller else {})
        names = {parameter.name for parameter in self._signature.parameters}
        unknown = sorted({parameter.name for parameter in signature.parameters} - names)
        if unknown:
            raise ConfigError(
                f"A hook of the tool {self.name!r} wants {unknown[0]!r}, which is none of its parameters.",
                hint=f"It has {', '.join(sorted(names)) or 'none'}.",
            )
        return signature

    def _values(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return self._schema.values(self._schema.parse(arguments))

    def _bound(
        self, function: Callable[..., Any], signature: _Signature, values: Mapping[str, Any], access: Access
    ) -> Callable[[], Any]:
        """A call of a function with its arguments, and with access or context in front where it asks for it."""
        chosen = {parameter.name: values[parameter.name] for parameter in signature.parameters}
        if not signature.injected:
            return partial(function, **chosen)
        if signature.injected == "access":
            return partial(function, access, **chosen)
        if not _fits(access.deps, signature.deps):
            wanted = getattr(signature.deps, "__name__", str(signature.deps))
            raise Failed(f"{self.name} needs {wanted} as deps, and the run has {type(access.deps).__name__}.")
        return partial(function, RunContext(access.deps, access), **chosen)

    async def _work(self, values: Mapping[str, Any], access: Access, work: _Work) -> Result:
        bound = self._bound(self._function, self._signature, values, access)
        return await self._result(await self._returned(bound, self._function, work), access)

    async def _returned(self, bound: Callable[[], Any], function: Callable[..., Any], work: _Work) -> object:
        """What a function returns. One that would end the process (argument parsers do) fails instead: asyncio passes
        `SystemExit` on to whoever runs the loop."""
        try:
            if inspect.iscoroutinefunction(function):
                return await cast("Awaitable[object]", bound())
            returned: object = await in_thread(bound, name=f"tool {self.name}", ended=work.end)
            return await cast("Awaitable[object]", returned) if inspect.isawaitable(returned) else returned
        except SystemExit as error:
            raise Failed(describe(error)) from error
        finally:
            if inspect.iscoroutinefunction(function):
                work.end()

    async def _result(self, returned: object, access: Access) -> Result:
        limit = self.traits.output_bytes
        return await as_result(returned, tool=self.name, label=self.traits.returns, limit=limit, access=access)

    async def _bounded(self, running: Coroutine[Any, Any, Result], work: _Work, seconds: float) -> Result:
        try:
            return await self._limited(running, work, seconds)
        except _TooSlow:
            return self._failed(f"{self.name} did not finish within {seconds:g} s.")

    async def _limited(self, running: Coroutine[Any, Any, T], work: _Work, seconds: float) -> T:
        """Wait for a coroutine. One that does not even end when it is cancelled is left behind."""
        task = asyncio.create_task(running)
        try:
            finished, _ = await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            await self._give_up(task, work)
            raise
        if not finished:
            await self._give_up(task, work)
            if not task.done() or task.cancelled():
                raise _TooSlow
        return task.result()

    async def _give_up(self, task: asyncio.Task[Any], work: _Work) -> None:
        task.cancel()
        task.add_done_callback(_forget)
        try:
            await asyncio.wait({task}, timeout=GRACE)
        finally:
            if not work.ended:
                self._left.append(work)

    def _failed(self, text: str, *, retry: bool = False) -> Result:
        return Result(text, None, self.traits.returns, failed=True, retry=retry)


def _fits(value: object, kind: Any) -> bool:  # noqa: ANN401 - any type can be declared
    """Whether a value is of a type, as far as that can be told at run time."""
    origin = get_origin(kind)
    try:
        return isinstance(value, kind if origin is None or origin in (Union, UnionType) else origin)
    except TypeError:  # protocols, type variables, Any
        return True


class _TooSlow(Exception):
    """The time of a call is up."""


def _forget(task: asyncio.Task[Any]) -> None:
    """Take note of how an abandoned task ended, so that asyncio does not complain of an error nobody saw."""
    if not task.cancelled():
        task.exception()


def _read_signature(function: Callable[..., Any], names: Mapping[str, Any]) -> _Signature:
    """What a function takes.

    Raises:
        ConfigError: It can't be a tool.
        NameError: A type is not defined yet.
    """
    found = parameters(function, names=names)
    if found:
        first = found[0].hint
        if first is Access:
            return _Signature("access", None, found[1:])
        if first is RunContext or get_origin(first) is RunContext:
            return _Signature("context", next(iter(get_args(first)), None), found[1:])
    return _Signature("", None, found)


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *,
    name: str = "",
    description: str = "",
    effect: Effect = "irreversible",
    steers: Iterable[str] | None = None,
    returns: Label = "outside",
    repeatable: bool | None = None,
    keyed: bool = False,
    confined: Literal["workspace", "origin"] | None = None,
    confirmed: bool = False,
    opens: Iterable[str] = (),
    seconds: float = 60.0,
    output_bytes: int = 16_384,
    parallel: int = 8,
    examples: Iterable[Example] = (),
    max_string: int = MAX_STRING,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    description: str = "",
    effect: Effect = "irreversible",
    steers: Iterable[str] | None = None,
    returns: Label = "outside",
    repeatable: bool | None = None,
    keyed: bool = False,
    confined: Literal["workspace", "origin"] | None = None,
    confirmed: bool = False,
    opens: Iterable[str] = (),
    seconds: float = 60.0,
    output_bytes: int = 16_384,
    parallel: int = 8,
    examples: Iterable[Example] = (),
    max_string: int = MAX_STRING,
) -> Any:
    """Make a typed function a tool. What is not declared is assumed to be dangerous.

    A first parameter of type `Access` or `RunContext[...]` is filled in by the system and not shown to the model. A
    function that is not async runs in a thread; when its time is up it is left behind, since a thread can't be stopped.

    Args:
        function: The function, where the decorator stands without parentheses.
        name: As the model calls it; the function's by default.
        description: For the model; the docstring without its sections by default.
        effect: The worst it can do; see `Effect`.
        steers: Names of the arguments that decide what is affected: all by default, none for a pure tool.
        returns: The label of what it gives back.
        repeatable: Twice is the same as once; by default only for tools that are pure or read.
        keyed: It passes `Access.key` on to a far side that recognizes a repetition.
        confined: It can't reach beyond the workspace, or the origin in its argument `origin`, whatever the others are.
        confirmed: A person or a grant agrees to each call, whatever the request says.
        opens: Names of the arguments whose origins the run may act on afterwards.
        seconds: It is cancelled after so long.
        output_bytes: Longer output is cut, and kept whole in the run's folder.
        parallel: How many calls may run at once, in the whole kernel.
        examples: Requests in a user's words with the arguments that answer them.
        max_string: Characters of a string argument without a bound of its own, in the schema the model sees.

    Raises:
        ConfigError: The function has parameters that can't be described, or `steers` names others.
    """
    given = frozenset(steers) if steers is not None else None

    def traits(names: tuple[str, ...]) -> Traits:
        default = frozenset[str]() if effect == "pure" else frozenset(names)
        return Traits(
            effect=effect,
            steers=default if given is None else given,
            returns=returns,
            repeatable=effect in ("pure", "reads") if repeatable is None else repeatable,
            keyed=keyed,
            confined=confined,
            confirmed=confirmed,
            opens=frozenset(opens),
            seconds=seconds,
            output_bytes=output_bytes,
            parallel=parallel,
        )

    frame = inspect.currentframe()
    caller = frame.f_back if frame else None

    def decorate(function: Callable[..., Any]) -> Tool[..., Any]:
        return Tool(
            function,
            name=name or function.__name__,
            description=description,
            traits=traits,
            examples=tuple(examples),
            string=max_string,
            frame=caller,
        )

    return decorate if function is None else decorate(function)
