"""A verifier by consistency: branches that answer the same question anew agree with the value (self-consistency).

Source of the idea: Wang et al. 2022, arXiv:2203.11171. Knows no tool.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from llmos.agents.verdict import Outcome, Verdict, Verifier
from llmos.agents.verifiers.common import brief, text_of
from llmos.errors import BadArguments
from llmos.kernel.branch import Branch
from llmos.messages import Sampling

_NUMBER = re.compile(r"-?\d(?:[\d,]*\d)?(?:\.\d+)?")
_DASHES = str.maketrans({"\u2212": "-"})
_LITTLE = frozenset({"a", "an", "the"})


def consistent(
    *branches: Branch,
    question: str,
    key: Callable[[str], str] | None = None,
    temperature: float = 0.7,
    max_tokens: int = 64,
) -> Verifier[Any]:
    """More than half of the branches come to the value's answer; each is forked anew for each check.

    The confidence is the share that agrees, by the rule of succession ((k + 1) / (n + 2)): three that agree are no
    certainty.

    Args:
        branches: From whose contexts the question is asked; one may be given several times.
        question: What is asked.
        key: Answers with the same key are the same; by default `normalized`.
        temperature: How freely they answer; at 0 all forks of one branch would say the same.

    Raises:
        BadArguments: There is no branch.
    """
    if not branches:
        raise BadArguments("There is no branch whose answers could be compared.")
    same = key or normalized

    async def check(value: Any) -> Verdict:  # noqa: ANN401  # whatever is checked
        forks = [await branch.fork() for branch in branches]

        async def answer(number: int, fork: Branch) -> str:
            sampling = Sampling(temperature=temperature, seed=number + 1)
            return (await fork.think(question, sampling=sampling, max_tokens=max_tokens)).text

        asking = [asyncio.create_task(answer(number, fork)) for number, fork in enumerate(forks)]
        try:
            answers = await asyncio.gather(*asking)
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        return _verdict(same(text_of(value)), Counter(same(one) for one in answers))

    return Verifier(check, name="consistent")


def _verdict(own: str, answers: Counter[str]) -> Verdict:
    total = answers.total()
    best, most = answers.most_common(1)[0]
    agreeing = answers[own] if own else 0
    outcome: Outcome = "pass" if agreeing * 2 > total else "fail" if best and most * 2 > total else "unsure"
    reason = f"{agreeing} of {total} who answered it anew agree"
    other = f"; {most} say: {brief(best, 80)}" if best != own else ""
    share = (most if outcome == "fail" else agreeing) + 1
    return Verdict(outcome, (f"{reason}{other}.",), share / (total + 2))


def normalized(text: str) -> str:
    """A short answer without what doesn't matter: case, punctuation, articles, how a number is written."""
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_DASHES)
    plain = _NUMBER.sub(lambda found: _number(found[0]), plain)
    words = re.findall(r"-?\d+(?:\.\d+)?|\w+", plain)
    return " ".join(word for word in words if word not in _LITTLE)


def last_number(text: str) -> str:
    """The last number in a text; empty where it has none."""
    found = _NUMBER.findall(text.translate(_DASHES))
    return _number(found[-1]) if found else ""


def first_word(text: str) -> str:
    """The first word, as for answers that are a choice."""
    return normalized(text).partition(" ")[0]


def _number(written: str) -> str:
    plain = written.replace(",", "")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


KEYS: Mapping[str, Callable[[str], str]] = {"text": normalized, "number": last_number, "word": first_word}
"""By name, for plans."""
