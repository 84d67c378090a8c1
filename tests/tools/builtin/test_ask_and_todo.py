"""The plan that an agent keeps, and the question to the user."""

from __future__ import annotations

from llmos.kernel.calls import Result
from llmos.tools.builtin.ask import ask_user
from llmos.tools.builtin.todo import todo
from tests.tools.helpers import Place


async def run(place: Place, **arguments: str | int) -> Result:
    return await todo.call(todo.check(arguments), place.access())


async def test_a_plan_is_added_to_ticked_off_and_kept_in_the_folder_of_the_run(place: Place) -> None:
    assert (await run(place)).text == "The plan is empty."
    await run(place, add="read the report")
    await run(place, add="write a summary")
    result = await run(place, done=1)
    assert result.text == "1. [x] read the report\n2. [ ] write a summary\n1 of 2 left."
    assert result.value == [{"step": "read the report", "done": True}, {"step": "write a summary", "done": False}]
    assert [path.name for path in place.folder.iterdir()] == ["todo.json"]
    assert list(place.workspace.iterdir()) == []


async def test_adding_a_step_again_changes_nothing_so_that_a_repeated_call_does_no_harm(place: Place) -> None:
    await run(place, add="a")
    assert (await run(place, add="a")).text == "1. [ ] a\n1 of 1 left."


async def test_a_step_that_is_not_there_and_a_plan_without_end_are_refused(place: Place) -> None:
    assert (await run(place, done=1)).retry
    for number in range(50):
        await run(place, add=str(number))
    assert (await run(place, add="more")).retry


def test_what_an_agent_wrote_down_does_not_come_back_as_the_users_words() -> None:
    assert todo.traits.returns == "outside"


async def test_a_question_goes_to_the_user_and_the_answer_is_theirs(place: Place) -> None:
    place.answer = "the blue one"
    result = await ask_user.call({"question": "Which one?"}, place.access())
    assert (result.text, result.label) == ("the blue one", "user")
    assert place.asked == ["Which one?"]
