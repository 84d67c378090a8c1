"""Plain talk with the default agent: short, friendly, honest answers.

What people say and what comes back is in `talk.toml` and `talk_rows.toml`; wishes about words are made by `wording`,
questions of world knowledge by `facts`. Knows no model.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

from llmos.agents import jobs
from llmos.agents.prompts import prompts
from llmos.learn.data import facts, wording
from llmos.learn.data.example import Example, Sheet, Split
from llmos.learn.data.noise import noisy
from llmos.learn.data.pools import dealt, drawn, filled, lines
from llmos.messages import Context, Message

_BEFORE = 0.12
"""How often something was said before that does not matter."""

_NOISY = 0.5
_BEG = 0.4

_SURE = 0.7
_ANSWERABLE = ("talk", "row", "letter", "wording")
_UNSURE = re.compile(r"\bnot sure\b|\b(?:do not|don't|can't|cannot) (?:know|tell|see|say)\b|\bhaven't\b", re.I)

_VERBS = frozenset(
    ("write", "tell", "give", "suggest", "make", "list", "name", "describe", "count", "use", "compose", "invite",
     "find", "say", "explain")
)  # fmt: skip
_PLEASE = (
    "please ", "can you ", "could you ", "Could you please ", "I want you to ", "hey, ", "would you ", "Please ",
    "I'd like you to ", "can you please ", "now ", "ok, ", "quick: ", "llmos, ",
)  # fmt: skip

_Turn = tuple[str, str]
_Said = tuple[Sequence[_Turn], str, str]
"""What was said before, the user's words, and the reply."""


def talk_sheet(random: Random, split: Split) -> Sheet:
    """Messages to the default agent, of all kinds, each with its reply."""
    return [_example(random, split) for _ in range(random.randint(6, 12))]


def sure_sheet(random: Random, split: Split) -> Sheet:
    """Whether the model can answer a message by itself: talk and wishes about words, and what nobody can know."""
    sheet: list[Example] = []
    for _ in range(random.randint(12, 20)):
        sure = random.random() < _SURE
        _, ask, say = _MAKERS[random.choice(_ANSWERABLE) if sure else "open"](random, split)
        said = facts.YES if sure and not _UNSURE.search(say) else facts.NO
        sheet.append(Example("know", jobs.know(ask), said, (facts.YES, facts.NO), "talk" if sure else "open"))
    return sheet


def _example(random: Random, split: Split) -> Example:
    kind = random.choices(_KINDS, cum_weights=_WEIGHTS)[0]
    before, ask, say = _MAKERS[kind](random, split)
    if not before and random.random() < _BEFORE:
        before = [_filler(random, split)]
    return Example("chat", _context(before, ask), say, kind=kind)


def _context(before: Sequence[_Turn], ask: str) -> Context:
    """What the default agent really reads."""
    turns = [one for said, reply in before for one in (Message("user", said), Message("assistant", reply))]
    return Context(messages=(Message("system", prompts().chat), *turns, Message("user", ask)))


# -- kinds


def _small_talk(random: Random, split: Split) -> _Said:
    """A message of a block, and any of the replies to it."""
    blocks = [block for block in _data()["block"] if block["kind"] not in _SERIOUS]
    return _of_block(random.choice(blocks), random, split)


def _filler(random: Random, split: Split) -> _Turn:
    """A turn that matters to nothing else: it names nobody and nothing."""
    block = random.choice([block for block in _data()["block"] if block["kind"] in _FILLERS])
    asks = [ask for ask in dealt(lines(block["ask"]), split, block["kind"]) if "{" not in ask]
    return random.choice(asks), random.choice(lines(block["say"]))


def _serious(random: Random, split: Split) -> _Said:
    """Harmful wishes, despair, and what nobody can know."""
    blocks = [block for block in _data()["block"] if block["kind"] in _SERIOUS]
    return _of_block(random.choice(blocks), random, split)


def _of_block(block: Mapping[str, Any], random: Random, split: Split) -> _Said:
    template = random.choice(dealt(lines(block["ask"]), split, block["kind"]))
    ask = filled(template, drawn(template, slots(), random, split))
    say = random.choice(lines(block["say"]))
    return (), _typed(random, ask), say


def _row(random: Random, split: Split) -> _Said:
    """A message with its own reply."""
    ask, _, say = random.choice(_rows(split)).partition(" | ")
    return (), _typed(random, _begged(random, ask)), say.replace(" / ", "\n")


def _letter(random: Random, split: Split) -> _Said:
    """A small text about what the wish names."""
    row = random.choice(dealt(lines(_data()["letters"]["rows"]), split, "letters"))
    values = drawn(row, slots(), random, split)
    asks, _, say = row.partition(" | ")
    ask = wording.with_article(filled(random.choice(asks.split(" // ")), values))
    return (), _typed(random, ask, keep=tuple(values.values())), sentence(filled(say.replace("/", "\n"), values))


def _wish(random: Random, split: Split) -> _Said:
    """Rewriting, listing, counting of what stands in the message."""
    wish = wording.wish(random, split)
    return (), wish.ask, wish.say


def _again(random: Random, split: Split) -> _Said:
    """A wish about what the assistant has just said."""
    _, first, reply = _small_talk(random, split)
    ways: Mapping[str, Callable[[str], str]] = {"upper": str.upper, "lower": str.lower, "same": str, "first": _first}
    way = random.choice(sorted(ways))
    ask = random.choice(dealt(_data()["again"][way], split, way))
    return [(first, reply)], ask, ways[way](reply)


def earlier(random: Random, split: Split) -> _Said:
    """A question on what the user has said before, or on what they have not."""
    row = random.choice(dealt(lines(_data()["earlier"]["rows"]), split, "earlier"))
    values = drawn(row, slots(), random, split)
    told, reply, ask, say = (sentence(filled(one, values)) for one in row.split(" | "))
    before = [(told, reply)]
    for _ in range(random.choice((0, 0, 1, 1, 2))):
        before.append(_filler(random, split))
    if random.random() < 0.2:
        unsaid = _data()["unsaid"]
        return before, _typed(random, random.choice(dealt(lines(unsaid["ask"]), split))), random.choice(unsaid["say"])
    return before, ask, say


def _about(random: Random, split: Split) -> _Said:
    """A summary of a text, or an answer from it, or that it does not say."""
    text = random.choice(dealt(range(len(_data()["text"])), split, "text"))
    found: Mapping[str, Any] = _data()["text"][text]
    whole = "|".join((found["body"], found["short"], *found["asks"], *found["missing"]))
    values = drawn(whole, slots(), random, split)
    body, asked = sentence(filled(found["body"], values)), _data()["ask_text"]
    chance = random.random()
    if chance < 0.45:
        say = sentence(filled(found["short"], values))
        ask, template = random.choice(dealt(asked["summary"], split)), random.choice(dealt(asked["given"], split))
    elif chance < 0.85:
        ask, _, say = filled(random.choice(found["asks"]), values).partition("|")
        template, say = random.choice(dealt(asked["question"], split)), sentence(say)
    else:
        ask, say = filled(random.choice(found["missing"]), values), random.choice(asked["silent"])
        template = random.choice(dealt(asked["question"], split))
    if random.random() < 0.6:
        return (), prompts().about.format(text=body, request=ask), say
    return (), filled(template, {"body": body, "ask": ask}), say


def _everyday(random: Random, split: Split) -> _Said:
    """What everybody knows."""
    ask, say = random.choice(facts.everyday(split))
    return (), _typed(random, ask), say


def _open(random: Random, split: Split) -> _Said:
    """What no model can know."""
    return (), _typed(random, facts.unknowable(random, split)), facts.unsure(random)


_FILLERS = ("greeting", "how are you", "thanks", "apology", "praise", "can", "limits", "bored", "yes", "who")
_SERIOUS = ("refuse", "crisis", "open news", "open private", "open future")
_MAKERS: Mapping[str, Callable[[Random, Split], _Said]] = {
    "talk": _small_talk,
    "serious": _serious,
    "row": _row,
    "letter": _letter,
    "wording": _wish,
    "again": _again,
    "earlier": earlier,
    "about": _about,
    "everyday": _everyday,
    "open": _open,
}
_KINDS = tuple(_MAKERS)
_WEIGHTS = tuple(accumulate((13, 8, 22, 6, 24, 2, 8, 10, 6, 2)))


# -- words


def _typed(random: Random, text: str, keep: Sequence[str] = ()) -> str:
    return (noisy(random, text, keep) if random.random() < _NOISY else text) or text


def _begged(random: Random, ask: str) -> str:
    """A message that begins in another way, where one is known, or with a polite word before what is to be done."""
    if random.random() > _BEG:
        return ask
    for start, others in _data()["begin"].items():
        if ask.lower().startswith(start):
            rest = ask[len(start) :]
            # "what does a vet do?" would need another word order
            return ask if start == "what does " and "mean" not in rest else random.choice(others) + rest
    if ask.split()[0].lower() in _VERBS:
        return random.choice(_PLEASE) + ask[0].lower() + ask[1:]
    return ask


def _first(text: str) -> str:
    """The first sentence."""
    return re.split(r"(?<=[.!?])\s", text)[0]


def slots() -> Mapping[str, Sequence[str]]:
    """Names, places and things to fill in, by kind."""
    found: Mapping[str, Sequence[str]] = _data()["slots"]
    return found


def sentence(text: str) -> str:
    """With a capital letter at its beginning, and `an` before vowels."""
    text = wording.with_article(text)
    return text[:1].upper() + text[1:]


@cache
def _rows(split: Split) -> Sequence[str]:
    return [row for kind, part in facts.talk_rows().items() for row in dealt(lines(part["rows"]), split, kind)]


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
