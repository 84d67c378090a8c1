"""A scripted engine keeps the contract of an engine, and does the same each time."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.engine.guard import check_real_model_allowed, real_models_forbidden
from llmos.engine.scripted import Reply, Script, ScriptedEngine, bytes_of, forbid_real_models, tokens_of
from llmos.errors import (
    EngineClosed,
    EngineError,
    PromptTooLong,
    RealModelForbidden,
    RemoteTimeout,
    StorageError,
    Unsupported,
)
from llmos.events import EngineEvent, Finished, Started, Token
from llmos.kernel.protocols import Engine
from llmos.messages import Context, Generate, Message, Sampling, Score, ToolCall, ToolSpec


def ask(text: str = "Hello?", **options: Any) -> Generate:  # noqa: ANN401
    return Generate(context=Context.chat(text), **options)


async def run(engine: ScriptedEngine, request: Generate, prefix: tuple[int, ...] = ()) -> list[EngineEvent]:
    return [event async for event in engine.generate(request, prefix=prefix)]


def tokens(events: Sequence[EngineEvent]) -> list[Token]:
    return [event for event in events if isinstance(event, Token)]


def end(events: Sequence[EngineEvent]) -> Finished:
    finished = events[-1]
    assert isinstance(finished, Finished)
    return finished


async def answer(engine: ScriptedEngine, request: Generate) -> str:
    return end(await run(engine, request)).message.content


def test_it_is_an_engine() -> None:
    engine: Engine = ScriptedEngine("Hi.")
    assert engine.info.name == "scripted"


async def test_a_stream_is_started_then_tokens_then_finished() -> None:
    request = ask()
    events = await run(ScriptedEngine(["Good morning to you."]), request)
    assert isinstance(events[0], Started)
    assert [token.text for token in tokens(events)] == ["Good", " morni", "ng", " to", " you."]
    assert [token.index for token in tokens(events)] == [0, 1, 2, 3, 4]
    assert end(events).message == Message("assistant", "Good morning to you.")
    assert end(events).reason == "stop"
    assert all(event.request == request.id for event in events)


async def test_replies_are_used_in_turn() -> None:
    engine = ScriptedEngine(["One.", Reply("Two.")])
    assert [await answer(engine, ask()), await answer(engine, ask())] == ["One.", "Two."]


async def test_a_script_that_has_run_out_says_what_it_was_asked() -> None:
    engine = ScriptedEngine(["One."])
    await run(engine, ask())
    with pytest.raises(EngineError, match=r"has 1 replies and was asked for one more, to 'Again\?'"):
        await run(engine, ask("Again?"))


async def test_one_text_is_the_reply_to_everything() -> None:
    engine = ScriptedEngine("Same.")
    assert [await answer(engine, ask(text)) for text in "abc"] == ["Same."] * 3


async def test_replies_can_be_looked_up_by_the_last_message() -> None:
    engine = ScriptedEngine({"a": "A", "b": Reply("B")})
    assert [await answer(engine, ask("b")), await answer(engine, ask("a"))] == ["B", "A"]
    with pytest.raises(EngineError, match="no reply to 'c'"):
        await run(engine, ask("c"))


async def test_replies_can_be_a_function_of_the_request() -> None:
    def by_seed(request: Generate) -> str:
        return f"seed {request.sampling.seed}"

    assert await answer(ScriptedEngine(by_seed), ask(sampling=Sampling(seed=7))) == "seed 7"


async def test_requests_are_recorded() -> None:
    engine = ScriptedEngine("Hi.")
    requests = [ask("a"), ask("b", max_tokens=1)]
    for request in requests:
        await run(engine, request)
    assert engine.requests == requests


async def test_an_error_comes_after_the_text() -> None:
    engine = ScriptedEngine([Reply("Part", error=RemoteTimeout("Too slow."))])
    stream = engine.generate(ask())
    seen = [await anext(stream), await anext(stream)]
    assert tokens(seen)[0].text == "Part"
    with pytest.raises(RemoteTimeout):
        await anext(stream)
    assert engine.cancelled == []


async def test_reasoning_and_tool_calls_have_their_own_channels() -> None:
    call = ToolCall("calculator", {"expression": "1+1"}, id="c1")
    events = await run(ScriptedEngine([Reply("Wait.", reasoning="Hm.", tool_calls=(call,))]), ask())
    said = {"reasoning": "", "answer": "", "tool": ""}
    for token in tokens(events):
        said[token.channel] += token.text
    assert said == {
        "reasoning": "Hm.",
        "answer": "Wait.",
        "tool": '{"name": "calculator", "arguments": {"expression": "1+1"}}',
    }
    assert end(events).message == Message("assistant", "Wait.", reasoning="Hm.", tool_calls=(call,))
    assert end(events).reason == "tool_calls"


async def test_max_tokens_ends_the_answer() -> None:
    events = await run(ScriptedEngine("one two three four"), ask(max_tokens=2))
    assert end(events).message.content == "one two"
    assert end(events).reason == "length"
    assert end(events).usage.generated_tokens == 2


async def test_a_cut_tool_call_is_no_tool_call() -> None:
    events = await run(ScriptedEngine([Reply(tool_calls=(ToolCall("f"),))]), ask(max_tokens=2))
    assert end(events).message.tool_calls == ()
    assert end(events).reason == "length"


async def test_the_context_ends_the_answer() -> None:
    engine = ScriptedEngine("word " * 100, context=30)
    events = await run(engine, ask())
    assert end(events).reason == "context"
    assert end(events).usage.prompt_tokens + end(events).usage.generated_tokens == 30


async def test_a_stop_string_ends_the_answer_and_is_no_part_of_it() -> None:
    events = await run(ScriptedEngine("one two. STOP three"), ask(stop=("nowhere", "STOP")))
    assert end(events).message.content == "one two. "
    assert "".join(token.text for token in tokens(events)) == "one two. "
    assert end(events).reason == "stop"


async def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers() -> None:
    with pytest.raises(PromptTooLong, match="holds 20"):
        await run(ScriptedEngine("Hi.", context=20), ask("many words " * 20))


async def test_the_next_turn_reads_only_what_is_new() -> None:
    engine = ScriptedEngine(["I am fine.", "Bye."])
    first = end(await run(engine, ask("How are you?")))
    assert first.usage.reused_tokens == 0
    second = await run(engine, Generate(context=first.context.add(Message("user", "Good."))))
    started = second[0]
    assert isinstance(started, Started)
    assert started.reused_tokens == first.usage.prompt_tokens + first.usage.generated_tokens
    assert end(second).usage.reused_tokens == started.reused_tokens


async def test_a_shared_beginning_is_reused_and_the_last_token_never_is() -> None:
    engine = ScriptedEngine("Hi.")
    await run(engine, Generate(context=Context.chat("a", system="long system prompt")))
    other = end(await run(engine, Generate(context=Context.chat("b", system="long system prompt"))))
    same = end(await run(engine, Generate(context=Context.chat("b", system="long system prompt"))))
    assert 0 < other.usage.reused_tokens < same.usage.reused_tokens == same.usage.prompt_tokens - 1


async def test_tools_are_part_of_the_prompt() -> None:
    engine = ScriptedEngine("Hi.")
    plain = end(await run(engine, ask()))
    tooled = end(await run(engine, Generate(context=Context.chat("Hello?", tools=(ToolSpec("f"),)))))
    assert tooled.usage.prompt_tokens > plain.usage.prompt_tokens


async def test_raw_text_is_continued() -> None:
    events = await run(ScriptedEngine(" cheese."), Generate(context=Context(text="The mouse ate the")))
    context = end(events).context
    assert context.text == "The mouse ate the cheese."
    assert bytes_of(context.tokens) == b"The mouse ate the cheese."
    assert context.messages == ()


async def test_closing_the_stream_cancels_the_request() -> None:
    engine = ScriptedEngine("one two three", seconds_per_token=0.001)
    request = ask()
    async with aclosing(engine.generate(request)) as events:
        async for event in events:
            if isinstance(event, Token):
                assert engine.active == 1
                break
    assert engine.cancelled == [request.id]
    assert engine.active == 0


async def test_cancelling_the_task_cancels_the_request() -> None:
    engine = ScriptedEngine("one two three", seconds_per_token=60)
    request = ask()
    task = asyncio.create_task(run(engine, request))
    while not engine.active:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert engine.cancelled == [request.id]


async def test_closing_the_engine_ends_a_slow_stream_at_once() -> None:
    engine = ScriptedEngine("one two three", seconds_per_token=60)
    task = asyncio.create_task(run(engine, ask()))
    while not engine.active:
        await asyncio.sleep(0)
    await engine.close()
    await engine.close()
    with pytest.raises(EngineClosed):
        await asyncio.wait_for(task, 10)


async def test_everything_after_close_is_refused(tmp_path: Path) -> None:
    engine = ScriptedEngine("Hi.")
    await engine.close()
    calls = [
        run(engine, ask()),
        engine.score(Score(context=Context.chat("a"), choices=("x",))),
        engine.tokenize("a"),
        engine.detokenize((300,)),
        engine.fork(Context.chat("a"), 2),
        engine.save(Context.chat("a"), tmp_path / "state"),
        engine.restore(tmp_path / "state"),
    ]
    for call in calls:
        with pytest.raises(EngineClosed):
            await call


async def test_two_engines_with_one_script_say_exactly_the_same() -> None:
    def script(request: Generate) -> Reply:
        return Reply(f"Echo of {request.context.messages[-1].content}", reasoning="…")

    request = ask("ünïcödé 🦊 🦊", top_logprobs=4)
    one, other = [await run(ScriptedEngine(script), request) for _ in range(2)]
    assert one == other


async def test_characters_arrive_whole_even_if_tokens_split_them() -> None:
    text = "🦊🦊🦊🦊 ünïcödé日本語日本語"
    events = await run(ScriptedEngine(text), ask())
    assert "".join(token.text for token in tokens(events)) == text
    assert all("\ufffd" not in token.text for token in tokens(events))
    assert any(bytes_of([token.token]) != token.text.encode() for token in tokens(events))


async def test_alternatives_are_a_made_up_distribution_with_the_token_first() -> None:
    events = await run(ScriptedEngine([Reply("Hi", logprob=math.log(0.6))]), ask(top_logprobs=3))
    (token,) = tokens(events)
    assert [alternative.text for alternative in token.top] == ["Hi", " alt1", " alt2"]
    assert [round(math.exp(alternative.logprob), 6) for alternative in token.top] == [0.6, 0.2, 0.1]
    assert end(events).logprob == pytest.approx(math.log(0.6))


async def test_times_are_made_up_from_the_seconds_per_token() -> None:
    events = await run(ScriptedEngine("a b c", seconds_per_token=0.001), ask())
    assert [token.seconds for token in tokens(events)] == pytest.approx([0.001, 0.002, 0.003])
    assert end(events).usage.seconds == pytest.approx(0.003)


@pytest.mark.parametrize("cut", range(8))
async def test_an_answer_can_be_resumed_after_any_token(cut: int) -> None:
    script: Script = {"Hello?": Reply("one two three 🦊🦊🦊 STOP", reasoning="Hm.")}
    request = ask(stop=(" STOP",), max_tokens=8)
    whole = await run(ScriptedEngine(script), request)
    rest = await run(ScriptedEngine(script), request, tuple(token.token for token in tokens(whole)[:cut]))
    assert tokens(rest) == tokens(whole)[cut:]
    assert end(rest) == end(whole)


async def test_an_answer_that_begins_otherwise_cannot_be_resumed() -> None:
    with pytest.raises(EngineError, match="does not begin with the tokens given"):
        await run(ScriptedEngine("one"), ask(), tokens_of(b"two"))


async def test_choices_are_equally_likely_without_a_score_script() -> None:
    scores = await ScriptedEngine("").score(Score(context=Context.chat("?"), choices=("a", "b", "c", "d")))
    assert [choice.probability for choice in scores.choices] == pytest.approx([0.25] * 4)
    assert [choice.logprob for choice in scores.choices] == pytest.approx([-math.log(4)] * 4)


async def test_scores_come_from_a_table_or_a_function() -> None:
    request = Score(context=Context.chat("?"), choices=("yes", "no"))
    by_table = ScriptedEngine("", scores={"yes": math.log(0.8), "no": math.log(0.2)})
    by_function = ScriptedEngine("", scores=lambda request: [-float(len(choice)) for choice in request.choices])
    table, function = await by_table.score(request), await by_function.score(request)
    assert table.best.choice == "yes"
    assert table.best.probability == pytest.approx(0.8)
    assert function.best.choice == "no"
    assert by_table.score_requests == [request]


async def test_temperature_flattens_scores() -> None:
    engine = ScriptedEngine("", scores={"a": 0.0, "b": -2.0})
    cold, warm = [
        await engine.score(Score(context=Context.chat("?"), choices=("a", "b"), temperature=t)) for t in (0.5, 5.0)
    ]
    assert cold.best.probability > warm.best.probability


async def test_a_choice_without_a_score_is_an_error() -> None:
    with pytest.raises(EngineError, match="no value for \\['b'\\]"):
        await ScriptedEngine("", scores={"a": 0.0}).score(Score(context=Context.chat("?"), choices=("a", "b")))


@given(st.binary(max_size=200))
def test_any_bytes_survive_tokenizing(data: bytes) -> None:
    assert bytes_of(tokens_of(data)) == data


@given(st.text(max_size=100), st.text(max_size=100))
def test_token_ids_do_not_depend_on_what_was_tokenized_before(one: str, other: str) -> None:
    assert tokens_of(one.encode()) == tokens_of(one.encode())
    assert bytes_of(tokens_of(one.encode()) + tokens_of(other.encode())) == (one + other).encode()


async def test_smuggled_bytes_survive_tokenizing() -> None:
    engine = ScriptedEngine("")
    assert await engine.detokenize(await engine.tokenize(os.fsdecode(b"a\xffb"))) == b"a\xffb"
    assert await engine.detokenize(await engine.tokenize("\ud800")) == b"?"


@pytest.mark.parametrize("token", [-1, 0, 1, 255, 512, 1 << 60])
def test_a_foreign_token_id_is_refused(token: int) -> None:
    with pytest.raises(EngineError, match="is not a token id"):
        bytes_of((token,))


async def test_a_fork_starts_with_everything_read() -> None:
    engine = ScriptedEngine("Hi.")
    context = Context.chat("A long question indeed")
    branches = await engine.fork(context, 3)
    assert len(branches) == 3
    finished = end(await run(engine, Generate(context=branches[2])))
    assert finished.usage.reused_tokens == finished.usage.prompt_tokens - 1


async def test_a_saved_context_comes_back(tmp_path: Path) -> None:
    context = end(await run(ScriptedEngine("Hi."), ask())).context
    await ScriptedEngine("").save(context, tmp_path / "state")
    engine = ScriptedEngine("Bye.")
    restored = await engine.restore(tmp_path / "state")
    assert restored.messages == context.messages
    finished = end(await run(engine, Generate(context=restored.add(Message("user", "Bye?")))))
    assert finished.usage.reused_tokens > 0


@pytest.mark.parametrize(
    "damage", [None, b"", b"garbage", b'{"type":"Context"}\n', b'{"type":"Message","role":"user"}']
)
async def test_a_missing_damaged_or_foreign_state_is_a_storage_error(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "state"
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(StorageError, match="Can't restore"):
        await ScriptedEngine("").restore(path)


async def test_saving_where_nothing_can_be_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Can't save"):
        await ScriptedEngine("").save(Context.chat("a"), tmp_path / "no" / "folder")


async def test_a_capability_can_be_taken_away(tmp_path: Path) -> None:
    engine = ScriptedEngine("Hi.", capabilities=frozenset())
    assert engine.info.capabilities == frozenset()
    with pytest.raises(Unsupported, match="'fork'"):
        await engine.fork(Context.chat("a"), 2)
    with pytest.raises(Unsupported, match="'save'"):
        await engine.save(Context.chat("a"), tmp_path / "state")


async def test_many_streams_run_at_once() -> None:
    engine = ScriptedEngine(lambda request: request.context.messages[-1].content.upper())
    answers = await asyncio.gather(*(answer(engine, ask(f"say number {n}")) for n in range(50)))
    assert answers == [f"SAY NUMBER {n}" for n in range(50)]
    assert engine.active == 0


def test_the_switch_makes_a_real_model_an_error() -> None:
    with forbid_real_models():
        assert real_models_forbidden()
        with pytest.raises(RealModelForbidden, match=r"'model\.gguf'") as caught:
            check_real_model_allowed("model.gguf")
    assert "ScriptedEngine" in caught.value.hint


@pytest.mark.parametrize(("value", "forbidden"), [(None, False), ("", False), ("0", False), ("1", True), ("yes", True)])
def test_the_switch_is_an_environment_variable_and_is_put_back(
    monkeypatch: pytest.MonkeyPatch, value: str | None, forbidden: bool
) -> None:
    if value is None:
        monkeypatch.delenv("LLMOS_FORBID_REAL_MODELS", raising=False)
    else:
        monkeypatch.setenv("LLMOS_FORBID_REAL_MODELS", value)
    with forbid_real_models():
        assert real_models_forbidden()
    assert real_models_forbidden() is forbidden
    if not forbidden:
        check_real_model_allowed("model.gguf")


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, llmos.engine.scripted; sys.exit(bool({'pydantic', 'llama_cpp', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
