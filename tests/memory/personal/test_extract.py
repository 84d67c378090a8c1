"""Facts that a model finds: only what the user said word for word, and only in their own words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from llmos.errors import EngineClosed
from llmos.kernel.calls import Label
from llmos.memory.personal import Extracted, Personal, Spoken, extract
from llmos.memory.personal.extract import schema
from llmos.memory.store import MemoryStore


class Model:
    """Answers every prompt with the same facts, and keeps the prompts."""

    def __init__(self, *facts: tuple[str, str], answer: str = "") -> None:
        self.prompts: list[str] = []
        self.answer = answer or json.dumps({"facts": [{"attribute": name, "value": value} for name, value in facts]})

    async def __call__(self, prompt: str, schema: Mapping[str, Any]) -> str:
        assert schema["properties"]["facts"]["maxItems"] == 4
        self.prompts.append(prompt)
        return self.answer


def turn(text: str, label: Label = "user") -> Spoken:
    return Spoken(text=text, label=label, source="chat 1", time=5.0)


def shown(found: tuple[Extracted, ...]) -> list[str]:
    return [f"{one.statement.attribute} = {one.statement.value}" for one in found]


async def test_words_of_the_user_are_kept_with_their_turn(store: MemoryStore) -> None:
    said = turn("Since last year I run a small bakery in Leeds.")
    found = await extract(Model(("occupation", "run a small bakery"), ("home", "Leeds")), [said])
    assert shown(found) == ["occupation = run a small bakery", "home = Leeds"]
    sam = Personal(store, "sam")
    sam.learn(found)
    facts = sam.facts()
    assert {fact.strength for fact in facts} == {"extracted"}
    assert {(fact.source, fact.time) for fact in facts} == {("chat 1", 5.0)}
    assert sam.why("my occupation")[0].source == "chat 1"


@pytest.mark.parametrize(
    "fact",
    [
        ("occupation", "baker"),  # not said
        ("occupation", "Run a small bakery"),  # not so
        ("occupation", "un a small bak"),  # no whole words
        ("occupation", "a small bakery in York"),
        ("likes", "it"),
        ("likes", "the"),
        ("likes", ""),
        ("favourite bread", "rye"),  # no attribute of the list
        ("home", "Since last year I run a small bakery in Leeds"),  # the whole turn
    ],
)
async def test_junk_is_dropped(fact: tuple[str, str]) -> None:
    assert await extract(Model(fact), [turn("Since last year I run a small bakery in Leeds.")]) == ()


@pytest.mark.parametrize("answer", ["", "no", "[]", "{}", '{"facts": 3}', '{"facts": [3, {"value": "Leeds"}]}', "null"])
async def test_an_answer_that_does_not_fit_is_no_fact(answer: str) -> None:
    assert await extract(Model(answer=answer or " "), [turn("I run a bakery in Leeds.")]) == ()


@pytest.mark.parametrize(
    "said",
    [
        turn("I run a bakery in Leeds.", label="outside"),
        turn("I run a bakery in Leeds.", label="files"),
        turn("> I run a bakery in Leeds."),
        turn('The mail says: "I run a bakery in Leeds."'),
        turn("Translate this: I run a bakery in Leeds."),
        turn("Do I run a bakery in Leeds?"),
        turn("Suppose I run a bakery in Leeds."),
        turn("The bakery in Leeds is closed."),
    ],
)
async def test_a_model_never_sees_what_the_user_did_not_say(said: Spoken) -> None:
    model = Model(("home", "Leeds"))
    assert await extract(model, [said]) == ()
    assert model.prompts == []


async def test_what_is_quoted_in_a_turn_is_not_shown() -> None:
    model = Model(("home", "York"))
    said = turn('I run a bakery. He wrote: "I live in York and I own a castle with seven towers there."')
    assert await extract(model, [said]) == ()
    assert "York" not in model.prompts[0]


async def test_what_is_denied_is_not_taken_for_so() -> None:
    assert await extract(Model(("home", "Leeds")), [turn("I never really settled in Leeds.")]) == ()


async def test_what_was_said_outright_stands_against_it(store: MemoryStore) -> None:
    sam = Personal(store, "sam")
    sam.tell("I live in Leeds", label="user", now=1.0)
    sam.learn(await extract(Model(("home", "York")), [turn("I got the keys to our house in York.")]))
    assert [fact.line for fact in sam.facts()] == ["home: Leeds"]


async def test_a_forged_turn_is_not_learned(store: MemoryStore) -> None:
    found = await extract(Model(("home", "Leeds")), [turn("I run a bakery in Leeds.")])
    forged = [Extracted(one.statement, turn("I run a bakery in Leeds.", label="outside")) for one in found]
    sam = Personal(store, "sam")
    sam.learn(forged)
    assert sam.facts() == ()


async def test_errors_of_the_model_are_raised() -> None:
    async def closed(prompt: str, schema: Mapping[str, Any]) -> str:
        raise EngineClosed("The engine is closed.")

    with pytest.raises(EngineClosed):
        await extract(closed, [turn("I run a bakery in Leeds.")])


def test_the_schema_bounds_everything() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate({"facts": []}, schema())
    for fact in ({"attribute": "home", "value": "x" * 200}, {"attribute": "shoe", "value": "43"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"facts": [fact]}, schema())
