"""Answers under a constraint: by the server where it can, otherwise by asking and checking."""

from __future__ import annotations

import json

import pytest

from llmos.engine.remote import ServerKind
from llmos.engine.remote.checker import Checker
from llmos.errors import ConstraintError
from llmos.messages import Choices, Constraint, Context, Generate, Grammar, JsonSchema, Regex, Sampling
from tests.engine.remote.conftest import Open, collect, text
from tests.engine.remote.server import CHAT, MODELS, RAW, Server, Talk, answers, lists, refuses, says, streams

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
SAMPLING = Sampling(top_k=0, min_p=0, seed=1)


def ask(constraint: Constraint, *, max_tokens: int | None = None) -> Generate:
    return Generate(context=Context.chat("Who?"), sampling=SAMPLING, constraint=constraint, max_tokens=max_tokens)


async def test_a_schema_goes_to_the_server_and_the_answer_streams(server: Server, remote: Open) -> None:
    server.on(CHAT, says('{"name": "Ada",', ' "age": 36}'))
    tokens, finished = await collect(remote(kind="openai"), ask(JsonSchema(SCHEMA)))
    assert len(tokens) == 2
    assert json.loads(finished.message.content) == {"name": "Ada", "age": 36}
    described = server.received[0].body["response_format"]
    assert described["type"] == "json_schema"
    assert described["json_schema"]["schema"] == SCHEMA
    assert described["json_schema"]["strict"] is True


async def test_a_server_that_does_not_keep_its_word_is_found_out(server: Server, remote: Open) -> None:
    server.on(CHAT, says("Ada is 36"), says("Ada is 36"), says('{"age": 36, "name": "Ada"}'))
    engine = remote(kind="openai")
    with pytest.raises(ConstraintError, match="did not keep it"):
        await collect(engine, ask(JsonSchema(SCHEMA)))
    tokens, finished = await collect(engine, ask(JsonSchema(SCHEMA)))
    assert json.loads(finished.message.content) == {"name": "Ada", "age": 36}
    assert text(tokens) == finished.message.content


async def test_a_schema_is_asked_for_in_words_where_nothing_else_is_taken(server: Server, remote: Open) -> None:
    async def plain(talk: Talk) -> None:
        if "response_format" in talk.request.body:
            await refuses(400, "This response_format type is unavailable now")(talk)
        else:
            await says("```json\n", '{"name": "Ada", "age": 36}', "\n```")(talk)

    server.on(CHAT, plain)
    tokens, finished = await collect(remote(), ask(JsonSchema(SCHEMA)))
    assert finished.message.content == text(tokens) == '{"name": "Ada", "age": 36}'
    words = server.received[-1].body["messages"]
    assert len(words) == 1
    assert json.dumps(SCHEMA) in words[0]["content"]
    assert finished.context.messages[0].content == "Who?"


async def test_a_wrong_answer_is_asked_for_again_and_never_passed_on(server: Server, remote: Open) -> None:
    server.on(CHAT, says("perhaps"), says('{"answer": "maybe"}'), says('{"answer": "yes"}'))
    tokens, finished = await collect(remote(), ask(Choices(("yes", "no"))))
    assert text(tokens) == finished.message.content == "yes"
    again = server.received[1].body["messages"]
    assert [message["role"] for message in again] == ["user", "assistant", "user"]
    assert again[1]["content"] == "perhaps"
    assert finished.usage.generated_tokens > len(tokens)


async def test_three_wrong_answers_are_an_error(server: Server, remote: Open) -> None:
    server.on(CHAT, says("perhaps"))
    with pytest.raises(ConstraintError, match="in 3 answers; the last was 'perhaps'"):
        await collect(remote(), ask(Choices(("yes", "no"))))
    assert len(server.received) == 3
    assert len({request.body["seed"] for request in server.received}) == 3


async def test_choices_become_a_schema_and_come_out_of_it(server: Server, remote: Open) -> None:
    server.on(CHAT, says('{"answer":', ' "no"}'))
    tokens, finished = await collect(remote(kind="ollama"), ask(Choices(("yes", "no"))))
    assert [token.text for token in tokens] == ["no"]
    assert finished.message.content == "no"
    schema = server.received[0].body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["enum"] == ["yes", "no"]


async def test_an_expression_becomes_a_pattern(server: Server, remote: Open) -> None:
    server.on(CHAT, says('{"answer": "2026-01-31"}'))
    _, finished = await collect(remote(kind="openai"), ask(Regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")))
    assert finished.message.content == "2026-01-31"
    schema = server.received[0].body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["answer"]["pattern"] == r"^(?:[0-9]{4}-[0-9]{2}-[0-9]{2})$"


async def test_a_grammar_is_told_and_checked(server: Server, remote: Open) -> None:
    server.on(CHAT, says("c"), says("ab"))
    _, finished = await collect(remote(), ask(Grammar('start: "a" "b"')))
    assert finished.message.content == "ab"
    assert 'start: "a" "b"' in server.received[0].body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("version", "constraint", "answer", "fields"),
    [
        ("0.12.0", JsonSchema(SCHEMA), '{"name":"A","age":1}', {"structured_outputs": {"json": SCHEMA}}),
        ("0.12.0", Regex("a+"), "aa", {"structured_outputs": {"regex": "a+"}}),
        ("0.12.0", Choices(("a", "b")), "b", {"structured_outputs": {"choice": ["a", "b"]}}),
        ("0.12.0", Grammar('start: "a"'), "a", {"structured_outputs": {"grammar": 'start: "a"'}}),
        ("0.9.2", Regex("a+"), "aa", {"guided_regex": "a+"}),
    ],
)
async def test_vllm_takes_every_constraint_as_it_is(
    version: str, constraint: Constraint, answer: str, fields: dict[str, object], server: Server, remote: Open
) -> None:
    server.on(MODELS, lists("vllm"))
    server.on("/version", answers({"version": version}))
    server.on(CHAT, says(*answer))
    tokens, finished = await collect(remote(), ask(constraint))
    assert (finished.message.content, len(tokens)) == (answer, len(answer))
    body = server.received[-1].body
    assert {name: body[name] for name in fields} == fields
    assert body["messages"] == [{"role": "user", "content": "Who?"}]


async def test_a_llama_server_gets_choices_as_a_grammar(server: Server, remote: Open) -> None:
    server.on(CHAT, says('say "b"'))
    await collect(remote(kind="llama-server"), ask(Choices(("a\n", 'say "b"'))))
    assert server.received[0].body["grammar"] == 'root ::= "a\\x0a" | "say \\"b\\""'


async def test_raw_text_keeps_a_constraint_by_trying(server: Server, remote: Open) -> None:
    def ends(said: str) -> object:
        return {"choices": [{"index": 0, "text": said, "finish_reason": "stop"}]}

    server.on(RAW, streams(ends("x")), streams(ends("7")))
    request = Generate(context=Context(text="3+4="), sampling=SAMPLING, constraint=Regex("[0-9]"), max_tokens=4)
    _, finished = await collect(remote(), request)
    assert finished.context.text == "3+4=7"


async def test_a_limit_ends_an_answer_before_it_keeps_the_constraint(server: Server, remote: Open) -> None:
    server.on(CHAT, says('{"name":', reason="length"))
    _, finished = await collect(remote(kind="openai"), ask(JsonSchema(SCHEMA), max_tokens=1))
    assert (finished.reason, finished.message.content) == ("length", '{"name":')
    with pytest.raises(ConstraintError, match="did not end") as caught:
        await collect(remote(kind="openai"), ask(Choices(("a",)), max_tokens=1))
    assert "max_tokens" in caught.value.hint


@pytest.mark.parametrize(
    "constraint",
    [
        JsonSchema({"type": "nonsense"}),
        JsonSchema({"enum": []}),
        JsonSchema({"const": object()}),
        Regex("("),
        Choices(()),
        Choices(("a", "")),
        Grammar("start: ("),
    ],
)
async def test_an_impossible_constraint_is_refused_before_anything_is_sent(
    constraint: Constraint, server: Server, remote: Open
) -> None:
    with pytest.raises(ConstraintError):
        await collect(remote(), ask(constraint))
    assert not server.received


@pytest.mark.parametrize("kind", ["llama-server", "vllm", "ollama", "openai", "other"])
async def test_a_refused_form_is_asked_for_in_another_way(kind: ServerKind, server: Server, remote: Open) -> None:
    async def plain(talk: Talk) -> None:
        formats = {"response_format", "structured_outputs", "grammar"} & talk.request.body.keys()
        await (refuses(400, f"unsupported: {formats}") if formats else says("yes"))(talk)

    server.on(CHAT, plain)
    _, finished = await collect(remote(kind=kind), ask(Choices(("yes", "no"))))
    assert finished.message.content == "yes"


def test_the_checker_reads_json_in_any_order_and_spacing() -> None:
    checker = Checker(JsonSchema(SCHEMA))
    accepted = ('{"name":"a","age":1}', '{\n  "age": 1,\n  "name": "a"\n}', ' {"name": "é\\n", "age": -3} ')
    assert [checker.accepts(answer) for answer in accepted[:2]] == [True, True]
    rejected = ("", "{}", '{"name":"a"}', '{"name":"a","age":"1"}', '{"name":"a","age":1} x', "[" * 5000)
    assert [checker.accepts(answer) for answer in rejected] == [False] * len(rejected)


def test_the_checker_wants_the_whole_text() -> None:
    checker = Checker(Regex("[a-c]{2}"))
    assert [checker.accepts(answer) for answer in ("ab", "a", "abc", "ab\n", "\udc80")] == [True] + [False] * 4
