"""The ways of reasoning on a scripted engine: what each asks, what ends it, what is left when the budget runs out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from llmos.agents.reasoning import (
    NUMBER,
    Example,
    Reasoned,
    best_of_n,
    chain_of_thought,
    least_to_most,
    plan_and_solve,
    reflect_and_refine,
    self_ask,
    tree_of_thoughts,
)
from llmos.agents.reasoning.asking import FINAL
from llmos.agents.reasoning.parts import items, numbered, prompts
from llmos.agents.verdict import Verdict, Verifier
from llmos.engine.scripted import Reply, ScriptedEngine
from llmos.errors import EngineCrashed
from llmos.kernel.branch import Branch
from llmos.kernel.budget import Budget
from llmos.kernel.process import Process
from llmos.messages import Generate, Message
from tests.agents.reasoning.conftest import Run

QUESTION = "How many legs have two cats and a bird?"
EXAMPLE = Example("How many legs has a cow?", "4", "A cow has four.", (("How many has a beast?", "Four."),))
WORDS = prompts()


def last(request: Generate) -> str:
    return request.context.messages[-1].content


def script(request: Generate) -> str:
    """Answers each prompt of each method in the form that it wants."""
    prompt = last(request)
    if prompt.endswith(WORDS.answer) or prompt == QUESTION:
        return "10"
    if "List them" in prompt or "List its steps" in prompt:
        return "1. Count the cats' legs first?\n2. Count the legs of the bird?"
    if prompt.startswith(WORDS.asked.partition("{")[0]):
        return FINAL
    if "follow-up" in prompt:
        return "Follow up: How many legs has a cat?"
    return "A cat has four legs."


METHODS: dict[str, Callable[[Branch], Awaitable[Reasoned]]] = {
    "chain of thought": lambda b: chain_of_thought(b, QUESTION, form=NUMBER),
    "self-ask": lambda b: self_ask(b, QUESTION, form=NUMBER),
    "least to most": lambda b: least_to_most(b, QUESTION, form=NUMBER),
    "plan and solve": lambda b: plan_and_solve(b, QUESTION, form=NUMBER),
    "reflect and refine": lambda b: reflect_and_refine(b, QUESTION, form=NUMBER),
    "best of n": lambda b: best_of_n(b, QUESTION, Verifier(lambda _: None), n=3, form=NUMBER),
    "tree of thoughts": lambda b: tree_of_thoughts(b, QUESTION, form=NUMBER, beam=2, proposals=2, depth=2),
}
EVERY = pytest.mark.parametrize("name", list(METHODS))


@EVERY
async def test_a_method_ends_with_an_answer_in_its_form_and_leaves_the_context_alone(
    on_a_system: Run, name: str
) -> None:
    engine = ScriptedEngine(script)

    async def code(process: Process) -> tuple[Reasoned, int]:
        process.hear(Message("system", "Cats have four legs."))
        return await METHODS[name](process), len(process.context.messages)

    reasoned, messages = await on_a_system(engine, code)
    assert (reasoned.answer, reasoned.cut, messages) == ("10", "", 1)
    assert all(request.context.messages[0].content == "Cats have four legs." for request in engine.requests)
    assert [one.constraint for one in engine.requests if last(one).endswith(WORDS.answer)][-1:] in ([NUMBER], [])
    spent = reasoned.usage
    assert spent.generated_tokens > 0
    assert spent.prompt_tokens > spent.reused_tokens


@EVERY
async def test_a_method_that_was_killed_in_the_middle_resumes_without_thinking_anything_again(
    on_a_system: Run, name: str
) -> None:
    whole = ScriptedEngine(script)

    async def code(process: Process) -> Reasoned:
        return await METHODS[name](process)

    expected = await on_a_system(whole, code)
    broken_at = max(len(whole.requests) - 1, 1)
    count = 0

    def breaks(request: Generate) -> Reply | str:
        nonlocal count
        count += 1
        return Reply(script(request), error=EngineCrashed("gone")) if count == broken_at else script(request)

    pids: list[str] = []
    with pytest.raises(EngineCrashed):
        await on_a_system(ScriptedEngine(breaks), code, pids=pids)
    again = ScriptedEngine(script)
    reasoned = await on_a_system(again, code, pids=pids)
    assert (reasoned.answer, reasoned.steps) == (expected.answer, expected.steps)
    assert len(again.requests) < len(whole.requests) or len(whole.requests) <= 2


@EVERY
@pytest.mark.parametrize("tokens", [5, 60, 120])
async def test_a_budget_that_runs_out_leaves_what_was_thought_until_then(
    on_a_system: Run, name: str, tokens: int
) -> None:
    async def code(process: Process) -> Reasoned:
        return await METHODS[name](process)

    reasoned = await on_a_system(ScriptedEngine(script), code, budget=Budget(tokens=tokens))
    assert reasoned.answer in ("", "10")
    if tokens == 5:
        assert (reasoned.answer, reasoned.steps) == ("", ())
        assert "budget" in reasoned.cut


async def test_examples_come_as_turns_before_the_question(on_a_system: Run) -> None:
    engine = ScriptedEngine(script)
    await on_a_system(engine, lambda p: chain_of_thought(p, QUESTION, examples=[EXAMPLE], form=NUMBER))
    said = [message.content for message in engine.requests[0].context.messages]
    assert said[1:4] == ["A cow has four.", WORDS.answer, "4"]
    assert EXAMPLE.question in said[0]
    assert QUESTION in said[4]


async def test_self_ask_gives_sub_questions_to_a_lookup_until_it_knows_enough(on_a_system: Run) -> None:
    asked: list[str] = []

    async def lookup(line: Branch, question: str) -> str:
        asked.append(question)
        return "Four legs."

    reasoned = await on_a_system(ScriptedEngine(script), lambda p: self_ask(p, QUESTION, lookup=lookup, form=NUMBER))
    assert asked == ["How many legs has a cat?"]
    assert reasoned.steps == ("How many legs has a cat?", "Four legs.")


async def test_self_ask_stops_when_it_asks_the_same_again(on_a_system: Run) -> None:
    engine = ScriptedEngine(lambda request: "10" if last(request).endswith(WORDS.answer) else "Follow up: And a bird?")
    reasoned = await on_a_system(engine, lambda p: self_ask(p, QUESTION, form=NUMBER, questions=9))
    assert reasoned.steps[0] == "And a bird?"
    assert len(reasoned.steps) == 2


async def test_refining_tells_the_verifiers_reasons_and_stops_when_it_passes(on_a_system: Run) -> None:
    engine = ScriptedEngine(["9", "10"])
    verifier = Verifier[str](lambda answer: answer == "10", reason="It is even.")
    reasoned = await on_a_system(engine, lambda p: reflect_and_refine(p, QUESTION, form=NUMBER, verifier=verifier))
    assert (reasoned.answer, reasoned.steps) == ("10", ("9", "It is even."))
    assert "It is even." in last(engine.requests[1])
    assert engine.score_requests == []


async def test_the_first_sample_that_passes_ends_the_others(on_a_system: Run) -> None:
    def reply(request: Generate) -> str:
        if not last(request).endswith(WORDS.answer):
            return f"Seed {request.sampling.seed}." + " And on." * (50 if request.sampling.seed != 2 else 0)
        return "10" if "Seed 2." in request.context.messages[-2].content else "9"

    engine = ScriptedEngine(reply, seconds_per_token=0.002)
    verifier = Verifier[str](lambda answer: answer == "10")
    reasoned = await on_a_system(engine, lambda p: best_of_n(p, QUESTION, verifier, n=4, form=NUMBER))
    assert (reasoned.answer, reasoned.steps) == ("10", ("Seed 2.",))
    assert len(engine.cancelled) == 3
    assert engine.active == 0


async def test_where_no_sample_passes_the_one_that_most_agree_on_is_taken_and_failed_ones_last(
    on_a_system: Run,
) -> None:
    answers = {"1": "7", "2": "8", "3": "7", "4": "3", "5": "3", "6": "3"}

    def reply(request: Generate) -> str:
        if not last(request).endswith(WORDS.answer):
            return str(request.sampling.seed)
        return answers[request.context.messages[-2].content]

    verifier = Verifier[str](lambda answer: Verdict("fail") if answer == "3" else None)
    reasoned = await on_a_system(ScriptedEngine(reply), lambda p: best_of_n(p, QUESTION, verifier, n=6, form=NUMBER))
    assert (reasoned.answer, reasoned.confidence) == ("7", pytest.approx(2 / 6))


def tree_script(request: Generate) -> str:
    """Each seed proposes another letter."""
    return "abcd"[((request.sampling.seed or 0) - 1) % 4]


async def test_a_tree_keeps_the_best_of_each_level(on_a_system: Run) -> None:
    seen: list[tuple[str, ...]] = []

    def worth(steps: tuple[str, ...]) -> float:
        seen.append(steps)
        return sum("abcd".index(step) for step in steps)

    engine = ScriptedEngine(tree_script)
    reasoned = await on_a_system(
        engine, lambda p: tree_of_thoughts(p, QUESTION, judge=worth, beam=2, proposals=4, depth=3)
    )
    assert (reasoned.answer, reasoned.steps) == ("d", ("d", "d", "d"))
    assert {steps[0] for steps in seen if len(steps) == 2} == {"c", "d"}
    assert len(engine.requests) == 4 + 8 + 8


async def test_a_tree_ends_at_a_pass_and_goes_on_from_no_dead_end(on_a_system: Run) -> None:
    def check(steps: tuple[str, ...]) -> bool | None:
        return True if steps == ("c", "b") else None if steps == ("c",) else False

    engine = ScriptedEngine(tree_script)
    reasoned = await on_a_system(engine, lambda p: tree_of_thoughts(p, QUESTION, judge=Verifier(check), depth=5))
    assert (reasoned.steps, reasoned.cut) == (("c", "b"), "")
    assert len(engine.requests) == 4 + 4


async def test_a_tree_of_dead_ends_says_so_and_keeps_the_last_steps(on_a_system: Run) -> None:
    verifier = Verifier[tuple[str, ...]](lambda steps: None if steps == ("b",) else False)
    reasoned = await on_a_system(
        ScriptedEngine(tree_script), lambda p: tree_of_thoughts(p, QUESTION, judge=verifier, depth=5)
    )
    assert (reasoned.steps, reasoned.cut) == (("b",), "Every next step was a dead end.")


async def test_a_tree_reads_what_its_lines_share_once(on_a_system: Run) -> None:
    question = " ".join(f"word{number}" for number in range(300))
    reasoned = await on_a_system(
        ScriptedEngine(tree_script, context=20_000), lambda p: tree_of_thoughts(p, question, depth=4)
    )
    read = reasoned.usage.prompt_tokens - reasoned.usage.reused_tokens
    assert read <= 0.15 * reasoned.usage.prompt_tokens


async def test_methods_run_side_by_side_on_branches_of_their_own(on_a_system: Run) -> None:
    async def code(process: Process) -> list[Reasoned]:
        return await asyncio.gather(*(method(process.aside()) for method in METHODS.values()))

    assert {one.answer for one in await on_a_system(ScriptedEngine(script), code)} == {"10"}


def test_a_numbered_list_is_read_line_by_line() -> None:
    assert items("1. Count the cats.\n2. Add the birds.") == ["Count the cats.", "Add the birds."]
    assert numbered(2).pattern.startswith(r"1\. ")
    assert "3" not in numbered(2).pattern
