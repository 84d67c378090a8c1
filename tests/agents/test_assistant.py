"""The default agent, end to end on real tools: what it calls, what it says, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.messages import Score
from tests.agents.conftest import FILES, MakeDesk, Person


async def test_arithmetic_in_words_reaches_the_calculator_as_an_expression(make_desk: MakeDesk) -> None:
    desk = await make_desk()
    assert await desk.ask("how much is 7.5% of 1,200 minus 4?") == "86"
    assert desk.titles == ["calculator(expression='7.5% of 1,200 minus 4')"]


async def test_the_model_is_not_needed_where_the_words_are_clear(make_desk: MakeDesk) -> None:
    engine = ScriptedEngine("Never.")
    desk = await make_desk(engine)
    assert await desk.ask("what is 3 * (4 + 5)?") == "27"
    assert (engine.requests, engine.score_requests) == ([], [])


async def test_the_largest_file_is_named(make_desk: MakeDesk) -> None:
    desk = await make_desk()
    answer = await desk.ask("list the files in this folder and say which is the largest")
    assert "Largest: long.md" in answer
    assert "groceries.txt" in answer
    assert len(desk.calls) == 1


async def test_a_question_on_a_file_is_answered_with_its_line(make_desk: MakeDesk) -> None:
    desk = await make_desk()
    answer = await desk.ask("when does the bridge open according to long.md?")
    assert answer == "The bridge opens on 4 June 2027.\n(long.md)"


async def test_a_file_without_its_name_is_found_in_a_listing(make_desk: MakeDesk) -> None:
    desk = await make_desk()
    assert "The toll is 3 euros." in await desk.ask("read the largest file")
    assert [json.loads(call.arguments)[0] for call in desk.calls] == ["list_files", "read_file"]


async def test_what_a_step_gave_goes_into_the_next_one(make_desk: MakeDesk) -> None:
    desk = await make_desk()
    answer = await desk.ask("compute 6 * 7 and save the result in answer.txt")
    assert (desk.workspace / "answer.txt").read_text() == "42"
    assert "answer.txt" in answer


async def test_a_record_that_was_found_is_read(make_desk: MakeDesk) -> None:
    desk = await make_desk()
    answer = await desk.ask("find the file that mentions the plumber and open it")
    assert "Dear Anna" in answer
    assert len(desk.calls) == 2


async def test_numbers_go_on_from_a_result(make_desk: MakeDesk) -> None:
    desk = await make_desk()
    assert "90" in await desk.ask("multiply 12 by 5 and then add 30 to the result")
    assert len(desk.calls) == 2


async def test_a_text_is_written_as_the_words_say_it(make_desk: MakeDesk) -> None:
    desk = await make_desk(person=Person())
    await desk.ask("save the line call the bank tomorrow in reminders.txt")
    assert (desk.workspace / "reminders.txt").read_text() == "call the bank tomorrow"


async def test_an_edit_changes_the_words_that_were_named(make_desk: MakeDesk) -> None:
    desk = await make_desk()
    await desk.ask("change beans to lentils in groceries.txt")
    assert (desk.workspace / "groceries.txt").read_text() == "rice\nlentils\n"


async def test_a_write_is_shown_and_a_refusal_is_obeyed(make_desk: MakeDesk) -> None:
    desk = await make_desk(person=Person(reply="no"))
    answer = await desk.ask("write hello to a.txt", level="L2")
    assert "+hello" in desk.person.shown[0]
    assert "refused" in answer
    assert (desk.workspace / "a.txt").read_text() == FILES["a.txt"]


async def test_what_needs_no_tool_is_answered_by_the_model(make_desk: MakeDesk) -> None:
    engine = ScriptedEngine("Rome is the capital of Italy.", scores=_towards("answer"))
    desk = await make_desk(engine)
    assert await desk.ask("what is the capital of Italy?") == "Rome is the capital of Italy."
    assert desk.calls == []


async def test_an_answer_that_the_model_doubts_says_so(make_desk: MakeDesk) -> None:
    desk = await make_desk(ScriptedEngine(Reply("Perhaps Oslo.", logprob=-2.0), scores=_towards("answer")))
    assert "not sure" in await desk.ask("what is the capital of Norway?")


async def test_what_is_missing_is_asked_for(make_desk: MakeDesk) -> None:
    desk = await make_desk(person=Person(answers=["a.txt"]), engine=ScriptedEngine("?", scores=_towards("edit_file")))
    await desk.ask("change the word alpha to omega in the file")
    assert desk.person.questions or (desk.workspace / "a.txt").read_text() == FILES["a.txt"]


async def test_nothing_is_invented_where_nobody_can_say_what_is_missing(make_desk: MakeDesk) -> None:
    desk = await make_desk()
    before = sorted(path.name for path in desk.workspace.iterdir())
    await desk.ask("replace beans with lentils")
    assert sorted(path.name for path in desk.workspace.iterdir()) == before
    assert (desk.workspace / "groceries.txt").read_text() == FILES["groceries.txt"]


async def test_a_file_that_is_not_there_is_said_to_be_missing(make_desk: MakeDesk) -> None:
    desk = await make_desk()
    assert "nowhere.txt" in await desk.ask("read nowhere.txt")


async def test_every_argument_has_a_provenance_that_its_decoding_guarantees(make_desk: MakeDesk) -> None:
    desk = await make_desk(person=Person())
    await desk.ask("write good luck to card.txt", level="L2")
    assert desk.person.shown
    call = desk.calls[0]
    assert json.loads(call.arguments) == ["write_file", {"path": "card.txt", "text": "good luck"}]


async def test_a_finished_run_replays_to_the_same_answer(make_desk: MakeDesk) -> None:
    desk = await make_desk(ScriptedEngine("Hello.", scores=_towards("answer")))
    for words in ("how much is 12 times 12?", "read a.txt and say hello", "hello there"):
        answer = await desk.ask(words)
        assert await desk.system.replay(desk.run) == answer


async def test_a_surer_model_decides_where_the_words_are_open(make_desk: MakeDesk) -> None:
    words = "tell me something about the plumber"
    talks = await make_desk(ScriptedEngine("A plumber repairs pipes.", scores=_towards("answer")))
    assert await talks.ask(words) == "A plumber repairs pipes."


@pytest.mark.parametrize("words", ["", "   ", "?", "and then", "write", "%", "\x00", "a" * 5000, "🙂 and 🙂 then 🙂"])
async def test_odd_requests_end_with_an_answer_and_no_effect(make_desk: MakeDesk, words: str) -> None:
    desk = await make_desk()
    assert await desk.ask(words)
    assert {str(p.relative_to(desk.workspace)) for p in desk.workspace.rglob("*") if p.is_file()} == set(FILES)


def _towards(choice: str) -> Callable[[Score], list[float]]:
    def scores(request: Score) -> list[float]:
        return [0.0 if one == choice else -12.0 for one in request.choices]

    return scores


@pytest.mark.parametrize(
    "words", ["read harbour.md and sum it up in 2 sentences", "the gist of harbour.md in two sentences"]
)
async def test_a_small_model_gives_the_gist_of_a_file_in_the_files_words(make_desk: MakeDesk, words: str) -> None:
    model = ScriptedEngine("Never.")
    desk = await make_desk(model)
    text = "# Harbour\n\nThe harbour was rebuilt last year. Cranes unload the ships of the harbour. A gull sat there.\n"
    (desk.workspace / "harbour.md").write_text(text)
    said = await desk.ask(words)
    assert said == "The harbour was rebuilt last year. A gull sat there.\n(in the words of the text)"
    assert model.requests == []
    assert len(desk.calls) == 1
