"""The core block: what is known about the user, as lines that are always in the context, within a budget of tokens.

Knows no tokenizer and no embedding model: both are given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from llmos.kernel.calls import Label, join
from llmos.memory.personal.facts import Fact, Strength, rank
from llmos.memory.personal.statements import NOTE
from llmos.memory.personal.vocabulary import USER, content_words, subject_key, vocabulary

Count = Callable[[str], int]
"""How many tokens a text has."""

Scorer = Callable[[str, Sequence[Fact]], Sequence[float]]
"""How much each of some facts matters for a task, 0 to 1."""

HEAD = "About the user, as they said it:"
MISSES = 20
"""When so many lines in a row did not fit, no more are tried."""
_MARKS: Mapping[Strength, str] = {
    "explicit": "",
    "stated": " (by the way)",
    "extracted": " (as a model read it)",
    "observed": " (from choices)",
}


@dataclass(frozen=True, slots=True)
class Core:
    """A core block.

    Attributes:
        text: Its lines; empty if nothing is known or nothing fits.
        tokens: How many it has.
        facts: What is in it, in order.
        left_out: What there was no room for, or did not matter enough, most important first.
        label: The least trusted of its facts.
    """

    text: str
    tokens: int
    facts: tuple[Fact, ...]
    left_out: tuple[Fact, ...]
    label: Label


def common_words(task: str, facts: Sequence[Fact]) -> list[float]:
    """How many words of each fact the task has: how much it matters where nothing better is at hand."""
    wanted = content_words(task)
    found = (content_words(fact.line) for fact in facts)
    return [len(wanted & words) / len(words) if words else 0.0 for words in found]


def block(
    facts: Sequence[Fact],
    task: str,
    *,
    tokens: int,
    count: Count,
    now: float,
    pins: Collection[int] = (),
    used: Mapping[int, float] | None = None,
    score: Scorer = common_words,
) -> Core:
    """The core block for a task: the same for the same arguments.

    First what is pinned, then the profile (how the user is called and wants to be answered, what they can't eat), then
    the rest by how much it matters for the task in steps of a tenth, then by confidence less what was lost unused, then
    the newest. A line that does not fit is left out, and later ones that do are taken.

    Args:
        facts: What holds. Only the user's own words are taken, unless they are pinned: what came from elsewhere
            would be in every context.
        tokens: At most so many.
        count: How many tokens a text has.
        now: Seconds since 1970.
        pins: Ids of pinned facts.
        used: When facts were used last, by id.
        score: How much a fact matters for the task.
    """
    chosen = [fact for fact in facts if fact.label == "user" or fact.id in pins]
    relevance = score(task, chosen) if chosen else ()
    profile = {subject_key(name): place for place, name in enumerate(vocabulary().profile)}

    def importance(pair: tuple[Fact, float]) -> tuple[float, ...]:
        fact, matters = pair
        place = profile.get(fact.attribute, len(profile)) if fact.subject == USER else len(profile)
        worth = rank(fact, now=now, used=(used or {}).get(fact.id))
        return (fact.id not in pins, place, -round(matters, 1), -round(worth, 3), -fact.time, fact.id)

    ordered = [fact for fact, _ in sorted(zip(chosen, relevance, strict=True), key=importance)]
    taken: dict[int, Fact] = {}
    text, misses = "", 0
    for fact in ordered:
        longer = f"{text or HEAD}\n- {_line(fact)}"
        if count(longer) <= tokens:
            text, misses = longer, 0
            taken[fact.id] = fact
        elif (misses := misses + 1) == MISSES:
            break
    left = [fact for fact in ordered if fact.id not in taken]
    labels: list[Label] = [fact.label for fact in taken.values()]
    return Core(text, count(text) if text else 0, tuple(taken.values()), tuple(left), join(*labels))


def _line(fact: Fact) -> str:
    origin = "" if fact.label == "user" else f" [{fact.label}]"
    mark = _MARKS[fact.strength] if fact.attribute != NOTE else ""
    return f"{fact.line}{mark}{origin}"
