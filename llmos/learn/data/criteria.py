"""Criteria: sentences that are true of good work, and texts of which they hold or not. Words are in `criteria.toml`.

Knows no verdict's other cases.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmos.agents import jobs
from llmos.learn.data.example import Split
from llmos.learn.data.pools import dealt
from llmos.learn.data.stated import Stated, drawn_value, text_values

PASS, VALUE, MISSING, INVENTED, FORM, TOPIC, _ = jobs.VERDICTS

Judged = tuple[str, str, str]
"""A criterion, a text, and the source, empty where there is none."""


def criterion(random: Random, split: Split, label: str) -> Judged | None:
    """A criterion and a text of which the verdict is right; None where no criterion has such a verdict."""
    stated = text_values(random, split)
    count = random.randint(2, min(4, len(stated) - 1))
    here, absent = stated[:count], stated[count:]
    makers = [make for make, labels in _MAKERS if label in labels]
    return random.choice(makers)(random, split, label, here, absent) if makers else None


def _mentions(random: Random, split: Split, label: str, here: Sequence[Stated], absent: Sequence[Stated]) -> Judged:
    if random.random() < 0.4:
        first, second = random.sample(here, 2)
        if label == MISSING:
            first = random.choice(absent)
        pair = [first.value, second.value]
        random.shuffle(pair)
        return _put(random, split, "both", v=pair[0], w=pair[1]), _text(random, here), ""
    one = random.choice(absent if label == MISSING else here)
    return _put(random, split, "mentions", v=one.value), _text(random, here), ""


def _states(random: Random, split: Split, label: str, here: Sequence[Stated], absent: Sequence[Stated]) -> Judged:
    one = random.choice(absent if label == MISSING else here)
    return _put(random, split, "states", l=one.label), _text(random, here), ""


def _right(random: Random, split: Split, label: str, here: Sequence[Stated], absent: Sequence[Stated]) -> Judged | None:
    one = random.choice(here)
    value = drawn_value(random, split, one.kind) if label == VALUE else one.value
    if label == VALUE and value == one.value:  # some kinds have few values
        return None
    return _put(random, split, "right", l=one.label, v=value), _text(random, here), ""


def _only(random: Random, split: Split, label: str, here: Sequence[Stated], absent: Sequence[Stated]) -> Judged:
    said = list(random.sample(list(here), random.randint(1, len(here))))
    if label == INVENTED:
        said.insert(random.randint(0, len(said)), random.choice(absent))
    return _put(random, split, "only"), _text(random, said), _text(random, here)


def _about(random: Random, split: Split, label: str, here: Sequence[Stated], absent: Sequence[Stated]) -> Judged:
    told = text_values(random, split, here)[: random.randint(2, 3)] if label == TOPIC else here
    return _put(random, split, "about", s=here[0].subject), _text(random, told), ""


def _form(random: Random, split: Split, label: str, here: Sequence[Stated], absent: Sequence[Stated]) -> Judged:
    texts = {name: form(random, here) for name, form in _FORMS.items()}
    asked = random.choice(list(texts))
    given = random.choice([name for name in texts if name != asked]) if label == FORM else asked
    sentence = random.choice(dealt(_words()["form"][asked], split, "criterion"))
    return sentence, texts[given], ""


def _lines(random: Random, here: Sequence[Stated]) -> list[str]:
    return [one.said(random) for one in here]


_FORMS: Mapping[str, Callable[[Random, Sequence[Stated]], str]] = {
    "capitals": lambda random, here: _text(random, here).upper(),
    "one": lambda random, here: _lines(random, here)[0],
    "list": lambda random, here: "\n".join(f"- {line}" for line in _lines(random, here)),
    "json": lambda random, here: json.dumps({one.label: one.value for one in here}, ensure_ascii=False),
    "question": lambda random, here: f"{_text(random, here)} {random.choice(here[0].asks)}",
    "numbered": lambda random, here: "\n".join(f"{n}. {line}" for n, line in enumerate(_lines(random, here), 1)),
}
_Maker = Callable[[Random, Split, str, Sequence[Stated], Sequence[Stated]], Judged | None]
_MAKERS: Sequence[tuple[_Maker, set[str]]] = (
    (_mentions, {PASS, MISSING}),
    (_states, {PASS, MISSING}),
    (_right, {PASS, VALUE}),
    (_only, {PASS, INVENTED}),
    (_about, {PASS, TOPIC}),
    (_form, {PASS, FORM}),
)


def _text(random: Random, stated: Sequence[Stated]) -> str:
    return " ".join(_lines(random, stated))


def _put(random: Random, split: Split, name: str, **values: str) -> str:
    sentence = str(random.choice(dealt(_words()[name], split, "criterion"))).format(**values)
    return sentence[:1].upper() + sentence[1:]


@cache
def _words() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
