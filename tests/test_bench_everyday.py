"""The benchmarks of the chat themselves: their words stand nowhere else, and their rules tell right from wrong."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random

import httpx
import pytest

from bench import chatting, everyday
from bench.browser_rig import serving
from bench.chat_rig import Call, agree, chat, home, says
from bench.chatting import Message
from bench.everyday import Request
from llmos.config import data_dir
from llmos.engine.scripted import ScriptedEngine
from llmos.learn.data.talk import talk_sheet
from llmos.shell.approver import CHOICES

ROOT = Path(__file__).resolve().parent.parent
NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


def bare(text: str) -> str:
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.casefold()))} "


@cache
def texts(*patterns: str) -> str:
    """All text of some files, bare; a mark where one ends."""
    files = sorted(file for pattern in patterns for file in ROOT.glob(pattern) if file != Path(__file__))
    assert files
    return "|".join(bare(file.read_text(encoding="utf-8")) for file in files)


def sentences(text: str) -> Iterator[str]:
    """Its sentences of some length, bare, without what is filled in."""
    for one in re.split(r"(?<=[.!?])\s+|\n+", re.sub(r"\{\w+\}\S*", "", text)):
        if len(one.split()) > 2:
            yield bare(one)


def test_no_everyday_request_stands_where_the_product_or_its_training_could_know_it() -> None:
    elsewhere = texts(
        "llmos/learn/data/**/*.toml", "llmos/**/*.py", "llmos/agents/**/*.toml", "bench/tasks.toml",
        "tests/**/*.py", "tests/**/*.toml",
    )  # fmt: skip
    assert [one for request in everyday.sheet().requests for one in typed(request) if one in elsewhere] == []


def test_no_paraphrase_stands_in_the_documentation() -> None:
    known: set[str] = set()
    documents = texts("README.md", "docs/*.md")
    for request in everyday.sheet().requests:
        if request.kind in known:
            assert [one for one in typed(request) if one in documents] == []
        known.add(request.kind)


def typed(request: Request) -> list[str]:
    messages = [message for one in request.chats for message in one if not message.startswith("/")]
    return [one for message in messages for one in sentences(message)]


def test_no_everyday_message_stands_in_what_microcode_is_trained_on() -> None:
    trained = texts("llmos/learn/data/**/*.toml")
    said = [text for message in chatting.messages() for text in (*message.before, message.say)]
    said += chatting.TEXT.read_text(encoding="utf-8").split("\n\n")
    assert [one for text in said for one in sentences(text) if one in trained] == []


def test_no_everyday_message_is_made_for_training() -> None:
    random = Random(5)
    made = {bare(one.context.messages[-1].content) for _ in range(300) for one in talk_sheet(random, "train")}
    assert len(made) > 1000
    assert not made & {bare(message.say) for message in chatting.messages()}


def test_there_are_ten_kinds_of_six_requests_and_a_hundred_messages() -> None:
    requests = everyday.sheet().requests
    kinds = [one.kind for one in requests]
    assert len(requests) == 60
    assert all(kinds.count(kind) == 6 for kind in kinds)
    assert len({one.chats for one in requests}) == 60
    assert len(chatting.messages()) == 100
    assert len({one.say for one in chatting.messages()}) == 100


def test_files_of_the_workspace_have_the_sizes_that_their_order_says() -> None:
    files = everyday.sheet().workspace
    order = next(one.order for one in everyday.sheet().requests if one.order)
    assert sorted(files, key=lambda path: -len(files[path].encode())) == list(order)


def test_the_held_back_questions_are_a_hundred_different_ones_and_the_same_each_time() -> None:
    questions = chatting.held_back()
    assert len({fact.key for _, fact in questions}) == chatting.QUESTIONS
    assert questions == chatting.held_back()


@pytest.mark.parametrize(
    ("text", "part", "there"),
    [
        ("It is 129.50 euros.", "129.5", False),
        ("It is 129.50 euros.", "129.50", True),
        ("= 129.5.", "129.5", True),
        ("8,840 grams", "8840", True),
        ("88,408", "8840", False),
        ("at 7:30", "30", False),
        ("I do not know", "no", False),
        ("No, it isn't.", "no", True),
        ("guesthouse.md:5", "guesthouse.md", True),
    ],
)
def test_numbers_and_words_are_found_whole(text: str, part: str, *, there: bool) -> None:
    assert says(text, part) is there


def wrong_answers(said: str, **wanted: object) -> list[str]:
    request = Request(kind="any", chats=(("Do it.",),), **wanted)  # type: ignore[arg-type]
    return list(everyday.in_answer(request, said, NOON, NOON + timedelta(seconds=70)))


def test_an_answer_is_judged_by_what_it_says() -> None:
    assert wrong_answers("  ") == ["nothing was said"]
    assert not wrong_answers("Three of them.", answer=("3|three",))
    assert wrong_answers("Thirty of them.", answer=("3|three",))
    assert wrong_answers("yes and no", never=("no",))
    assert wrong_answers("one two three", most=2)
    assert not wrong_answers("That is not in your documents.", answer=("{absent}",))
    assert not wrong_answers("I can't do that from here.", answer=("{declined}",))
    assert wrong_answers("Your taxi comes at six.", answer=("{declined}",))
    assert wrong_answers("It is warm now.\n(I am not sure of this.)", answer=("{declined}",))


@pytest.mark.parametrize("said", ["2026-01-15 15:00:12+03:00", "It is 3:01 PM there.", "03:00 pm", "15:02"])
def test_the_time_in_a_city_may_be_any_minute_of_the_run(said: str) -> None:
    assert not wrong_answers(said, answer=("{clock:Africa/Nairobi}",))


@pytest.mark.parametrize("said", ["12:00", "13:00", "15:10", "14:59"])
def test_another_time_is_wrong(said: str) -> None:
    assert wrong_answers(said, answer=("{clock:Africa/Nairobi}",))


def test_an_order_is_read_line_by_line_or_else_by_place() -> None:
    listing = "b.txt  90 bytes\na.txt  20 bytes\nc.txt  3 bytes\n3 files. Largest: b.txt. Smallest: c.txt."
    assert not wrong_answers(listing, order=("b.txt", "a.txt", "c.txt"))
    assert wrong_answers(listing, order=("a.txt", "b.txt", "c.txt"))
    assert not wrong_answers("First b.txt, then a.txt, last c.txt.", order=("b.txt", "a.txt", "c.txt"))
    assert wrong_answers("First b.txt, then a.txt.", order=("b.txt", "a.txt", "c.txt"))


def test_calls_and_files_and_clicks_are_judged() -> None:
    program = Request(kind="any", chats=(("Do it.",),), uses=("python|shell",), lines=(2, 3), writes="*.py")
    assert not list(everyday.in_calls(program, [Call("python", {"code": "a = 1\n\nprint(a)\n"})]))
    assert len(list(everyday.in_calls(program, [Call("python", {"code": "print(1)"})]))) == 1
    assert len(list(everyday.in_calls(program, []))) == 2
    assert not list(everyday.in_files(program, {}, {"sum.py": "1"}))
    assert list(everyday.in_files(program, {"a.txt": "1"}, {})) == ["a.txt was changed"]
    reading = Request(kind="any", chats=(("Do it.",),), only=("{reading}",))
    assert not list(everyday.in_calls(reading, [Call("read_file", {"path": "a"})]))
    assert list(everyday.in_calls(reading, [Call("shell", {"command": "reboot"})])) == ["shell was used"]
    assert list(everyday.in_files(reading, {}, {"a.py": ""})) == ["a.py was changed"]


def test_what_the_pages_buttons_send_is_what_counts() -> None:
    asked: list[str] = []
    vents = Request(kind="page", chats=(("Do it.",),), clicked=("vents",))
    with serving(everyday.PAGES, asked=asked) as origin:
        page = httpx.get(f"{origin}/greenhouse.html", timeout=5, trust_env=False).text
        assert list(everyday.in_clicks(vents, asked))
        httpx.get(f"{origin}/done.html", params={"what": "vents"}, timeout=5, trust_env=False).raise_for_status()
        assert not list(everyday.in_clicks(vents, asked))
        httpx.get(f"{origin}/done.html", params={"what": "lamp"}, timeout=5, trust_env=False)
        assert list(everyday.in_clicks(vents, asked))
    wanted = {what for request in everyday.sheet().requests for what in request.clicked}
    assert wanted == set(re.findall(r'value="(\w+)"', page))


GOOD_AND_BAD = [
    (Message(kind="any", say="?", has=("window", "please|could")), "Could you close the window?", "Shut the window!"),
    (Message(kind="any", say="?", has=("repair",)), "It was repaired.", "It was prepared."),
    (Message(kind="any", say="?", has=("no",)), "No, it melts.", "Nobody knows it."),
    (Message(kind="any", say="?", never=("yes",)), "No.", "Yes, it does."),
    (Message(kind="any", say="?", exact=("MIND IT",)), "MIND IT", "Mind it"),
    (Message(kind="any", say="?", equals=("I saw it.",)), "Here it is: “I saw it.”", "I saw it, too."),
    (Message(kind="any", say="?", words=3), "One two three.", "One two three four."),
    (Message(kind="any", say="?", unsure="must"), "I don't know that.", "It is the left one."),
    (Message(kind="any", say="?", unsure="must"), "You haven't told me.", "Under the mat.\n(I am not sure of this.)"),
    (Message(kind="any", say="?"), "You can't eat it.", "I am not sure. I can look it up on the web."),
    (Message(kind="any", say="?"), "Fine.", "It is so. It is so, friend. It is so, friend. It is so, friend."),
    (Message(kind="any", say="?"), "Fine.", "<|im_start|>"),
]


@pytest.mark.parametrize(("message", "good", "bad"), GOOD_AND_BAD)
def test_rules_tell_a_good_reply_from_a_bad_one(message: Message, good: str, bad: str) -> None:
    assert list(chatting.wrong(message, good)) == []
    assert list(chatting.wrong(message, bad))


@pytest.mark.parametrize(
    ("reply", "good"),
    [
        ("- flour\n- candles\n- two lemons", True),
        ("1. Flour\n2. Candles\n3. Lemons", True),
        ("Here is your list:\n* flour\n* candles\n* lemons", True),
        ("You need: flour, candles and two lemons.", True),
        ("flour, candles, lemons, milk", False),
        ("- candles\n- flour\n- lemons", False),
        ("- flour\n- candles", False),
    ],
)
def test_a_list_has_exactly_its_items_in_their_order(reply: str, *, good: bool) -> None:
    message = Message(kind="list", say="?", items=("flour", "candles", "two lemons|lemons"))
    assert (not list(chatting.wrong(message, reply))) is good


def test_only_what_an_answer_begins_with_leaves_it_open() -> None:
    assert chatting.declines("I am not sure. I can look it up.")
    assert chatting.declines("BrowserError: there is none.")
    assert not chatting.declines("It is Riga.\n(I am not sure of this.)")


def test_permissions_are_given_and_questions_turned_away() -> None:
    import asyncio

    async def ask() -> list[str | None]:
        prompts = (f"{CHOICES} [no]: ", "forget it for good? [y/N] ", "your answer (pid 1): ")
        return [await agree("It writes a file.", prompt) for prompt in prompts]

    assert asyncio.run(ask()) == ["once", "y", None]


async def test_chats_share_a_home_and_leave_none_behind() -> None:
    before, here = os.environ["LLMOS_HOME"], Path.cwd()
    with home() as workspace:
        assert data_dir().is_relative_to(workspace.parent)
        assert Path.cwd() == workspace
        engine = ScriptedEngine("Fine.")
        told = await chat(engine, ["Please remember that my locker has the number 88.", "add 5 and 6"])
        assert "88" in told[0].text
        assert told[0].calls == ()
        assert "11" in told[1].text
        assert [one.tool for one in told[1].calls] == ["calculator"]
        later = await chat(engine, ["What number has my locker?"])
        assert "88" in later[0].text
        await engine.close()
    assert not workspace.exists()
    assert (os.environ["LLMOS_HOME"], Path.cwd()) == (before, here)


async def test_perplexity_is_that_of_all_tokens_together() -> None:
    engine = ScriptedEngine("Fine.")
    found = await chatting.perplexity(engine, ["one two three", "four"], "")
    assert math.isfinite(found)
    assert found >= 1
