"""`@tool`: schema, validation, limits, hooks, and what becomes of trouble."""

from __future__ import annotations

import asyncio
import enum
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import pytest
from annotated_types import Ge, MaxLen
from pydantic import BaseModel, Field

from llmos.errors import BadArguments, ConfigError, NobodyThere, Unsupported
from llmos.kernel.calls import Result, Traits
from llmos.kernel.protocols import Access, Device
from llmos.tools import Failed, Retry, RunContext, Tool, tool
from tests.tools.helpers import Place


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Order(BaseModel):
    sku: str
    count: int = 1


@dataclass
class Shop:
    stock: dict[str, int]


@tool(effect="reads")
def stock(sku: str) -> int:
    """Units of an article in the warehouse."""
    return {"A-17": 3}[sku]


def test_a_tool_is_a_device_and_still_a_function() -> None:
    device: Device = stock
    assert device.spec.name == "stock"
    assert stock("A-17") == 3


def test_the_schema_comes_from_the_hints_and_bounds_every_string() -> None:
    assert stock.spec.parameters == {
        "type": "object",
        "properties": {"sku": {"type": "string", "maxLength": 500}},
        "required": ["sku"],
        "additionalProperties": False,
    }
    assert stock.spec.description == "Units of an article in the warehouse."


def test_a_bare_tool_is_taken_for_the_worst() -> None:
    @tool
    def send(to: str, text: str) -> None: ...

    assert send.traits == Traits(effect="irreversible", steers=frozenset({"to", "text"}), returns="outside")
    assert not send.traits.repeatable


def test_a_pure_tool_is_steered_by_nothing_and_may_be_repeated() -> None:
    @tool(effect="pure")
    def double(n: int) -> int:
        return 2 * n

    assert double.traits.steers == frozenset()
    assert double.traits.repeatable


@pytest.mark.parametrize(
    "docstring",
    [
        "Look it up.\n\nArgs:\n    sku: The article\n        number.\n    count: How many.\n\nReturns:\n    A text.",
        "Look it up.\n\nParameters\n----------\nsku : str\n    The article\n    number.\ncount : int\n    How many.",
        "Look it up.\n\n:param sku: The article number.\n:param count: How many.\n:returns: A text.",
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_docstrings_of_three_styles_describe_the_parameters(docstring: str, capfd: pytest.CaptureFixture[str]) -> None:
    def look(sku: str, count: int = 1) -> str:
        return sku * count

    look.__doc__ = docstring
    spec = tool(look).spec
    assert spec.description == "Look it up."
    assert spec.parameters["properties"]["sku"]["description"] == "The article number."
    assert spec.parameters["properties"]["count"] == {"type": "integer", "default": 1, "description": "How many."}
    assert capfd.readouterr() == ("", "")


def test_a_string_in_annotated_describes_a_parameter_and_its_own_bound_stays() -> None:
    @tool
    def note(
        text: Annotated[str, "what to write", MaxLen(2000)],
        tags: list[str],
        color: Color = Color.RED,
        kind: Literal["a", "b"] | None = None,
        count: Annotated[int, Ge(1)] = 1,
        title: Annotated[str | None, Field(max_length=7)] = None,
    ) -> None: ...

    properties = note.spec.parameters["properties"]
    assert properties["text"] == {"type": "string", "maxLength": 2000, "description": "what to write"}
    assert properties["tags"] == {"type": "array", "maxItems": 20, "items": {"type": "string", "maxLength": 500}}
    assert properties["kind"] == {"type": "string", "enum": ["a", "b"]}
    assert properties["title"] == {"type": "string", "maxLength": 7}
    assert note.check({"text": "x", "tags": []}) == {
        "text": "x",
        "tags": [],
        "color": "red",
        "kind": None,
        "count": 1,
        "title": None,
    }


def test_a_program_may_pass_a_longer_string_than_a_model_is_told() -> None:
    assert stock.check({"sku": "x" * 5000}) == {"sku": "x" * 5000}


def test_parameters_may_be_called_like_attributes_of_a_model() -> None:
    @tool(effect="pure")
    def odd(json: str, copy: int, model_config: bool, schema: str = "s") -> str:
        return f"{json}{copy}{model_config}{schema}"

    assert odd.check({"json": "j", "copy": 1, "model_config": True})["schema"] == "s"
    assert list(odd.spec.parameters["properties"]) == ["json", "copy", "model_config", "schema"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "sku: is missing"),
        ({"sku": 3}, "sku: input should be a valid string, not 3"),
        ({"sku": "a", "more": 1}, "more: there is no such argument"),
        ({"sku": None}, "valid string"),
        ({"sku": b"x"}, "not JSON"),
        ({"sku": "\ud800"}, "can't be called so"),
        ({"sku": float("nan")}, "not JSON"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_words_for_the_model(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(BadArguments, match=said) as caught:
        stock.check(arguments)
    assert "It takes (sku: string)." in str(caught.value)


def test_numbers_are_not_read_from_strings_nor_strings_from_numbers() -> None:
    @tool(effect="pure")
    def add(a: int, b: float) -> float:
        return a + b

    assert add.check({"a": 1, "b": 2}) == {"a": 1, "b": 2.0}
    for wrong in ({"a": "1", "b": 2}, {"a": 1.5, "b": 2}, {"a": True, "b": 2}):
        with pytest.raises(BadArguments):
            add.check(wrong)


async def test_the_result_has_a_text_for_the_model_and_a_value_for_programs(place: Place) -> None:
    @tool(effect="reads", returns="files")
    def order() -> Order:
        return Order(sku="A")

    @tool(effect="reads")
    def text() -> str:
        return "plain"

    @tool(effect="reads")
    def nothing() -> None: ...

    @tool(effect="reads")
    def raw() -> bytes:
        return b"caf\xc3\xa9 \xff"

    access = place.access()
    assert await stock.call({"sku": "A-17"}, access) == Result("3", 3)
    assert await order.call({}, access) == Result('{"sku":"A","count":1}', {"sku": "A", "count": 1}, "files")
    assert await text.call({}, access) == Result("plain")
    assert (await nothing.call({}, access)).text == "Done."
    assert (await raw.call({}, access)).text == "café \N{REPLACEMENT CHARACTER}"


async def test_values_arrive_as_the_types_that_were_declared(place: Place) -> None:
    got: list[object] = []

    @tool
    def take(order: Order, color: Color, pairs: dict[str, tuple[int, int]]) -> None:
        got.extend([order, color, pairs])

    await take.call(take.check({"order": {"sku": "A"}, "color": "blue", "pairs": {"x": [1, 2]}}), place.access())
    assert got == [Order(sku="A"), Color.BLUE, {"x": (1, 2)}]


class Stocked(Protocol):
    stock: dict[str, int]


@tool
def look_any(context: RunContext[Any]) -> str:
    return type(context.deps).__name__


@tool
def look_optional(context: RunContext[Shop | None]) -> str:
    return type(context.deps).__name__


@tool
def look_stocked(context: RunContext[Stocked]) -> str:
    return type(context.deps).__name__


async def test_access_and_typed_deps_are_put_in_front_and_not_shown_to_the_model(place: Place) -> None:
    @tool
    async def count(context: RunContext[Shop], sku: str) -> int:
        return context.deps.stock[sku]

    @tool
    async def where(access: Access) -> str:
        return access.workspace.name

    place.deps = Shop({"A": 5})
    assert list(count.spec.parameters["properties"]) == ["sku"]
    assert (await count.call({"sku": "A"}, place.access())).value == 5
    assert (await where.call({}, place.access())).text == "workspace"
    for look in (look_any, look_optional, look_stocked):
        assert (await look.call({}, place.access())).text == "Shop"
    place.deps = None
    result = await count.call({"sku": "A"}, place.access())
    assert result.failed
    assert "needs Shop as deps, and the run has NoneType" in result.text


async def test_retry_and_failed_become_results(place: Place) -> None:
    @tool
    def pick(n: int) -> str:
        if n > 3:
            raise Retry("use a number up to 3")
        raise Failed("the shelf is empty")

    assert await pick.call({"n": 9}, place.access()) == Result("use a number up to 3", failed=True, retry=True)
    assert await pick.call({"n": 1}, place.access()) == Result("the shelf is empty", failed=True)
    result = await pick.call({"n": "x"}, place.access())
    assert result.retry
    assert "n: input should be a valid integer" in result.text


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def explode(error: BaseException) -> Tool[[], Any]:
    @tool
    def broken() -> None:
        raise error

    return broken


def explode_later(error: BaseException) -> Tool[[], Any]:
    @tool
    async def broken() -> None:
        await asyncio.sleep(0)
        raise error

    return broken


@pytest.mark.parametrize("make", [explode, explode_later], ids=["thread", "async"])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("A"), "KeyError: 'A'"),
        (ValueError("x" * 5000), "ValueError: " + "x" * 600 + "…"),
        (Unprintable(), "Unprintable"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), "CancelledError"),
        (TimeoutError("its own"), "TimeoutError: its own"),
        (StopAsyncIteration(), "StopAsyncIteration"),
        (NobodyThere("Nobody can answer."), "Nobody can answer."),
        (ExceptionGroup("two", [ValueError("a"), ValueError("b")]), "ExceptionGroup: two (2 sub-exceptions)"),
    ],
)
async def test_whatever_a_tool_raises_is_a_failed_result_without_traceback(
    make: Callable[[BaseException], Tool[[], Any]], error: BaseException, text: str, place: Place
) -> None:
    result = await make(error).call({}, place.access())
    assert result == Result(text, failed=True)


async def test_a_tool_that_hangs_is_given_up_after_its_time(place: Place) -> None:
    release = threading.Event()

    @tool(seconds=0.1, parallel=2)
    def stuck() -> None:
        release.wait(20)

    @tool(seconds=0.1)
    async def asleep() -> None:
        await asyncio.sleep(20)

    started = time.perf_counter()
    assert (await stuck.call({}, place.access())).text == "stuck did not finish within 0.1 s."
    assert (await asleep.call({}, place.access())).text == "asleep did not finish within 0.1 s."
    assert time.perf_counter() - started < 5
    assert (await stuck.call({}, place.access())).failed
    assert "2 earlier calls of it never ended" in (await stuck.call({}, place.access())).text
    release.set()
    result = await stuck.call({}, place.access())
    for _ in range(100):
        if not result.failed:
            break
        await asyncio.sleep(0.02)
        result = await stuck.call({}, place.access())
    assert result.text == "Done."


async def test_a_tool_that_ignores_its_cancellation_is_left_behind(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["llmos.tools.tool"], "GRACE", 0.1)
    release = asyncio.Event()

    @tool(seconds=0.05)
    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with asyncio.timeout(5):
        assert (await stubborn.call({}, place.access())).failed
    release.set()
    await asyncio.sleep(0.05)


async def test_cancelling_a_call_reaches_the_tool_and_is_raised(place: Place) -> None:
    cleaned: list[str] = []

    @tool
    async def slow() -> None:
        try:
            await asyncio.sleep(20)
        finally:
            cleaned.append("yes")

    task = asyncio.create_task(slow.call({}, place.access()))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == ["yes"]


async def test_a_blocking_tool_does_not_delay_the_loop(place: Place) -> None:
    @tool
    def block() -> None:
        time.sleep(0.3)

    running = asyncio.create_task(block.call({}, place.access()))
    ticks = 0
    while not running.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 3


async def test_long_output_is_cut_and_kept_whole(place: Place) -> None:
    text = "ü" * 3000

    @tool(output_bytes=1001)
    def long() -> str:
        return text

    result = await long.call({}, place.access())
    file = place.folder / result.file
    assert result.text == f"{'ü' * 500}\n… 5,000 more bytes, saved at {file}"
    assert file.read_text("utf-8") == text


async def test_a_value_that_is_no_json_is_a_failed_result(place: Place) -> None:
    @tool
    def odd() -> object:
        return object()

    @tool
    def endless() -> list[Any]:
        found: list[Any] = []
        found.append(found)
        return found

    for device in (odd, endless):
        assert (await device.call({}, place.access())).failed


async def test_lone_surrogates_in_a_text_can_be_written_down(place: Place) -> None:
    @tool
    def odd() -> str:
        return "a\ud800b"

    assert (await odd.call({}, place.access())).text == "a?b"


def test_what_is_shown_hides_nothing(place: Place) -> None:
    @tool
    def send(to: str) -> None: ...

    shown = send.show({"to": "a\u202eb\x1b[2J\u200b@x"}, place.access())
    assert shown == r'send(to="a\u202eb\u001b[2J\u200b@x")'


def test_a_hook_shows_the_effect_and_a_broken_one_does_not_hide_the_call(place: Place) -> None:
    @tool
    def send(to: str, text: str) -> None: ...

    @send.shows
    def show(access: Access, to: str) -> str:
        if to == "nobody":
            raise Failed("there is no nobody")
        return f"a letter from {access.pid} to {to}" if to else str(1 / 0)

    assert send.show({"to": "Ann", "text": "hi"}, place.access()) == "a letter from 1 to Ann"
    assert "It would fail: there is no nobody" in send.show({"to": "nobody", "text": ""}, place.access())
    broken = send.show({"to": "", "text": "hi"}, place.access())
    assert broken.startswith('send(to="", text="hi")')
    assert "ZeroDivisionError" in broken
    assert show.__name__ == "show"


async def test_a_hook_reads_back_whether_a_call_was_carried_out(place: Place) -> None:
    sent = {"Ann"}

    @tool(effect="irreversible")
    def send(to: str) -> str:
        return to

    with pytest.raises(Unsupported, match="can't tell"):
        await send.done({"to": "Ann"}, place.access())

    @send.reads_back
    async def was_sent(to: str) -> str | None:
        if to == "?":
            raise ConnectionError("mailbox is away")
        return f"sent to {to}" if to in sent else None

    assert (await send.done({"to": "Ann"}, place.access())) == Result("sent to Ann")
    assert (await send.done({"to": "Bob"}, place.access())) is None
    with pytest.raises(Unsupported, match="mailbox is away"):
        await send.done({"to": "?"}, place.access())
    assert was_sent.__name__ == "was_sent"


def untyped(a: int, b: int) -> None: ...


del untyped.__annotations__["a"]


def rest(*args: int) -> None: ...
def private(_a: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "said"), [(untyped, "'a' has no type"), (rest, "no name of its own"), (private, "private")]
)
def test_a_function_that_can_not_be_described_is_refused_at_once(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tool(function)


def test_wrong_names_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="steered by 'path'"):

        @tool(steers=("path",))
        def read(file: str) -> str:
            return file

    with pytest.raises(ConfigError, match="can't call"):
        tool(name="a b")(stock)

    with pytest.raises(ConfigError, match="wants 'path'"):

        @stock.shows
        def show(path: str) -> str:
            return path


def test_a_type_that_json_does_not_know_is_a_typed_error() -> None:
    @tool
    def odd(thing: threading.Thread) -> None: ...

    with pytest.raises(ConfigError, match="can't be described as JSON"):
        _ = odd.spec


def test_a_type_may_be_defined_further_down() -> None:
    assert list(forward.spec.parameters["$defs"]) == ["Later"]


@tool
def forward(item: Later) -> None: ...


class Later(BaseModel):
    n: int


def test_declaring_tools_loads_neither_pydantic_nor_griffe() -> None:
    code = (
        "import sys; from llmos.tools import tool\n"
        "@tool\ndef f(a: str) -> None:\n    'Args:\\n  a: b'\n"
        "f.traits\nprint([m for m in ('pydantic', 'griffe', 'httpx', 'pint', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


async def test_calls_keep_the_context_variables_of_the_caller(place: Place) -> None:
    from contextvars import ContextVar

    who: ContextVar[str] = ContextVar("who")

    @tool
    def sync() -> str:
        return who.get()

    @tool
    async def later() -> Awaitable[str] | str:
        return who.get()

    who.set("me")
    assert [(await device.call({}, place.access())).text for device in (sync, later)] == ["me", "me"]
