"""Plain chat with the default agent, and what it says where it should not be sure: `python -m bench.chatting`.

A hundred everyday messages (`chatting.toml`), judged by rules, with all replies written down for reading; a hundred
questions of world knowledge that no training has read, each also put to the base model alone; and how well ordinary
English is predicted (`chatting_text.txt`, and SQuAD's validation paragraphs where its file is given). Knows nothing of
how the agent works.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Literal

from pydantic import TypeAdapter

from bench.chat_rig import How, chat, command_line, home, opened, outright, plain, says
from bench.report import Row
from llmos.agents.prompts import prompts
from llmos.events import Finished
from llmos.kernel.protocols import Engine
from llmos.learn.data.facts import Fact, divided, right
from llmos.learn.data.squad import Squad
from llmos.learn.evaluate import wilson
from llmos.messages import Context, Generate, Sampling, Score

MESSAGES = Path(__file__).with_name("chatting.toml")
TEXT = Path(__file__).with_name("chatting_text.txt")
QUESTIONS = 100
LONGEST = 80
"""Words of a reply, where nothing else is said."""
FORCED = Sampling(temperature=0.0, repeat_penalty=1.1, seed=0)
"""As the default agent samples."""

_FORCED_TOKENS = 40
_SHORT = 3
_SAME = 3
_CHAT = "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n"  # what stands before the user's words
_UNSURE = re.compile(
    r"(?:\bnot|n't) (?:sure|certain|able|know|tell|see|say|told|said|have|possible)\b"
    r"|\b(?:cannot|can't|can not|unable|unsure|no idea|no way|nobody (?:can|could|knows?)|depends|impossible)\b"
)
_DECLINES = re.compile(
    r"\b(?:i am|i'm) (?:not (?:sure|certain|able)|unsure|unable)\b|\bi (?:do not|don't) (?:know|have)\b"
    r"|\bi (?:can't|cannot|can not|could not|couldn't|have no|did nothing|did not|won't)\b|\bthat did not work\b"
    r"|\bis not in your documents\b|^\w*(?:error|problem|denied|missing)\w*:"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message and what its reply must be; see `chatting.toml`."""

    kind: str
    say: str
    before: tuple[str, ...] = ()
    has: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    equals: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    words: int = LONGEST
    unsure: Literal["must", "may", "never"] = "never"
    read: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A reply: `wrong` says which rules it breaks, `read` what is to be looked for besides."""

    kind: str
    said: tuple[str, ...]
    reply: str
    wrong: tuple[str, ...]
    read: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Answered:
    """A question of world knowledge.

    Attributes:
        forced: What the base model says, and whether that is right.
        reply: What the default agent says; `outcome`: right, false, or not answered.
    """

    question: str
    accepted: tuple[str, ...]
    forced: str
    forced_right: bool
    reply: str
    outcome: Literal["right", "false", "left open"]


def rows(how: How) -> Iterator[Row]:
    """All rows.

    Raises:
        Skipped: The adapter that was named can't be used.
        LlmosError: The model can't be opened, or SQuAD can't be read.
    """
    yield from sensible(how)
    yield from knowledge(how)
    yield from english(how)


# -- everyday messages


def messages() -> list[Message]:
    """What `chatting.toml` says."""
    data = tomllib.loads(MESSAGES.read_text(encoding="utf-8"))
    return TypeAdapter(list[Message]).validate_python(data["message"])


def sensible(how: How) -> Iterator[Row]:
    """Send the messages, each in a chat of its own."""
    judged = asyncio.run(_all(how))
    for kind in dict.fromkeys(one.kind for one in judged):
        of_kind = [one for one in judged if one.kind == kind]
        yield Row(
            name=f"chat, {kind}: by rules", value=sum(not one.wrong for one in of_kind), unit=f"of {len(of_kind)}"
        )
    good = sum(not one.wrong for one in judged)
    low, high = wilson(good / len(judged), len(judged))
    to_read = sum(bool(one.read) for one in judged)
    yield Row(
        name="chat: sensible, by rules",
        value=100 * good / len(judged),
        unit="%",
        goal="≥ 85",
        note=f"n = {len(judged)}, 95 % interval {low:.0%} to {high:.0%}; {to_read} are also to be read",
    )
    listed = json.dumps([asdict(one) for one in judged], ensure_ascii=False)
    yield Row(name="chat: replies", value=len(judged), unit="", note=listed)


async def _all(how: How) -> list[Judged]:
    judged: list[Judged] = []
    async with opened(how) as engine:
        for message in messages():
            _tell(message.say)
            said = (*message.before, message.say)
            with home():
                reply = (await chat(engine, said))[-1]
            judged.append(
                Judged(message.kind, said, reply.text, tuple(wrong(message, reply.text)), message.read, reply.seconds)
            )
    return judged


def _tell(text: str) -> None:
    print(f"  {text[:100]}", file=sys.stderr, flush=True)


def wrong(message: Message, reply: str) -> Iterator[str]:
    """The rules that a reply breaks, in words."""
    if not reply.strip():
        yield "it is empty"
    yield from (f"it does not have {part!r}" for part in message.has if not _has(reply, part))
    yield from (f"it has {part!r}" for part in message.never if says(reply, part))
    if message.exact and not any(one in reply for one in message.exact):
        yield f"it does not have {message.exact[0]!r} as it stands"
    if message.equals and not {_bare(one) for one in message.equals} & {_bare(one) for one in _cores(reply)}:
        yield f"it is not {message.equals[0]!r}"
    if message.items and not _is_list(reply, message.items):
        yield f"it is not the list {', '.join(message.items)}"
    if len(reply.split()) > message.words:
        yield f"it has {len(reply.split())} words, more than {message.words}"
    if message.unsure == "must" and not _UNSURE.search(plain(outright(reply))):
        yield "it does not say that it can't know"
    if message.unsure == "never" and declines(reply):
        yield "it does not answer"
    if "<|" in reply:
        yield "it shows control tokens"
    if any(count >= _SAME for one, count in Counter(_sentences(reply)).items() if len(one.split()) > _SHORT):
        yield "it repeats itself"


def _has(reply: str, part: str) -> bool:
    """Whether one of some words stands in a reply; a long one may go on."""
    words = plain(reply)
    for one in part.split("|"):
        if len(one) <= _SHORT:
            if says(reply, one):
                return True
        elif re.search(r"(?<!\w)" + re.escape(plain(one)), words):
            return True
    return False


def _cores(reply: str) -> list[str]:
    """What of a reply may be the text that was asked for: all, what follows a colon, each line, what is quoted."""
    quoted: list[str] = re.findall(r"[\"“]([^\"“”]+)[\"”]", reply)
    return [reply, reply.partition(":")[2], *reply.splitlines(), *quoted]


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _is_list(reply: str, items: Sequence[str]) -> bool:
    """Whether a reply lists some items, alternatives between bars, in this order and nothing else."""
    body = reply.strip()
    lines = [line for line in body.splitlines() if line.strip() and not line.rstrip().endswith(":")]
    if len(lines) == 1:
        inline = lines[0].rpartition(":")[2]
        lines = re.split(r",\s*(?:and\s+)?|;\s*|\s+and\s+", inline.strip().rstrip("."))
    found = [_bare(re.sub(r"^\W*(?:\d{1,2}[.)]\s)?", "", line)) for line in lines]
    wanted = [{_bare(one) for one in item.split("|")} for item in items]
    return len(found) == len(wanted) and all(one in each for one, each in zip(found, wanted, strict=True))


def _sentences(text: str) -> list[str]:
    return [plain(one) for one in re.split(r"(?<=[.!?])\s+|\n+", text) if one.strip()]


def declines(reply: str) -> bool:
    """Whether a reply begins by saying that it gives no answer; what is said after an answer does not count."""
    return bool(_DECLINES.search(next(iter(_sentences(reply)), "")))


# -- world knowledge


def held_back(count: int = QUESTIONS) -> list[tuple[str, Fact]]:
    """So many questions of the test split, the same ones each time, in words that no training has."""
    random = Random("questions of world knowledge")
    pool = [fact for times in (0, 1, 2) for fact in divided("test", times)]
    return [(random.choice(fact.held), fact) for fact in random.sample(pool, count)]


def knowledge(how: How) -> Iterator[Row]:
    """Ask the questions: the base model, which must answer, and the default agent, which need not."""
    answered = asyncio.run(_asked(how))
    known = [one for one in answered if one.forced_right]
    false = [one for one in answered if one.outcome == "false"]
    kept = [one for one in known if one.outcome == "right"]
    tried = [one for one in answered if one.outcome != "left open"]
    share = len(kept) / max(len(known), 1)
    low, high = wilson(len(false) / len(answered), len(answered))
    yield Row(
        name="world knowledge: answered falsely",
        value=100 * len(false) / len(answered),
        unit="%",
        goal="≤ 5",
        note=f"n = {len(answered)}, 95 % interval {low:.0%} to {high:.0%}; {len(tried)} were answered",
    )
    low, high = wilson(share, len(known))
    yield Row(
        name="world knowledge: answered of those that the base model gets right when forced",
        value=100 * share,
        unit="%",
        goal="≥ 60",
        note=f"n = {len(known)}, 95 % interval {low:.0%} to {high:.0%}",
    )
    listed = json.dumps([asdict(one) for one in answered], ensure_ascii=False)
    yield Row(name="world knowledge: replies", value=len(answered), unit="", note=listed)


async def _asked(how: How) -> list[Answered]:
    questions = held_back()
    async with opened(How(microcode="off")) as engine:
        forced = [await _forced(engine, question) for question, _ in questions]
    answered: list[Answered] = []
    async with opened(how) as engine:
        with home():
            for (question, fact), alone in zip(questions, forced, strict=True):
                _tell(question)
                reply = (await chat(engine, [question]))[-1].text
                answered.append(Answered(question, fact.answers, alone, right(fact, alone), reply, _came(fact, reply)))
    return answered


async def _forced(engine: Engine, question: str) -> str:
    context = Context.chat(question, system=prompts().chat)
    async for event in engine.generate(Generate(context=context, sampling=FORCED, max_tokens=_FORCED_TOKENS)):
        if isinstance(event, Finished):
            return event.message.content
    raise AssertionError("an engine's stream ends with how it went")


def _came(fact: Fact, reply: str) -> Literal["right", "false", "left open"]:
    if right(fact, reply):
        return "right"
    return "left open" if declines(reply) else "false"


# -- ordinary English


def english(how: How) -> Iterator[Row]:
    """How well the next word of ordinary English is predicted, against the base: in the user's words, and without a
    chat around them."""
    texts = {"own prose": TEXT.read_text(encoding="utf-8").split("\n\n")}
    if how.squad is not None:
        texts["SQuAD's validation paragraphs"] = [one.text for one in Squad.load(how.squad).validation]
    before = {"in a chat": _CHAT.format(system=prompts().chat), "alone": ""}
    base = asyncio.run(_perplexities(How(microcode="off"), texts, before))
    own = asyncio.run(_perplexities(how, texts, before))
    for (text, place), value in own.items():
        yield Row(
            name=f"perplexity on {text}, {place}",
            value=value,
            unit="",
            peer="base",
            peer_value=base[text, place],
            ratio=value / base[text, place],
            goal="≤ 1.05" if place == "in a chat" else "",
        )


async def _perplexities(
    how: How, texts: Mapping[str, Sequence[str]], before: Mapping[str, str]
) -> dict[tuple[str, str], float]:
    async with opened(how) as engine:
        return {
            (name, place): await perplexity(engine, paragraphs, start)
            for name, paragraphs in texts.items()
            for place, start in before.items()
        }


async def perplexity(engine: Engine, paragraphs: Sequence[str], before: str) -> float:
    """exp of the mean negative log-likelihood of all tokens of some paragraphs, each after the same beginning."""
    total, count = 0.0, 0
    for paragraph in paragraphs:
        scores = await engine.score(Score(context=Context(text=before), choices=(paragraph.strip(),)))
        total -= scores.choices[0].logprob
        count += scores.choices[0].tokens
    return math.exp(total / max(count, 1))


if __name__ == "__main__":
    sys.exit(command_line("chatting", rows))
