"""Finds the control that words describe: by name, label, text beside it, role, place, size and order.

Weights are natural logarithms: a control that is two better than another is about seven times as likely meant. They are
set by hand, and in one place. Deterministic. Knows no model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from llmos.agents.operator.colours import colours_in
from llmos.agents.operator.lexicon import form_of, lexicon, means, words_of
from llmos.agents.operator.page import CHOICES, Page, Part, plain
from llmos.agents.operator.phrases import Target

_NAMED = 8.0
_WORDS = 4.0
_EXACT = 2.0
_ROLE = 2.0
_NOT_ROLE = -1.5
_FIELD = 3.0
_BESIDE = 4.0
_NTH = 6.0
_PLACE = 2.5
_SIZE = 2.5
_UNFIT = -6.0
_BEHIND = -3.0
_WRAPS = -2.0
_SAME_KIND = 2.5
"""Controls whose weights are nearer than this are counted together for `the second one`."""

_LONG = 5


@dataclass(frozen=True, slots=True)
class Match:
    """A control with how well it fits, a natural logarithm against the others."""

    part: Part
    weight: float


def strength(name: str, text: str) -> float:
    """How well a text is the one of a name: 1 for the same, 0 for another."""
    one, other = plain(name), plain(text)
    if not one or not other:
        return 1.0 if name.strip() and name.strip().casefold() == text.strip().casefold() else 0.0
    if name.strip() == text.strip():
        return 1.0
    if one == other:
        return 0.97
    mine, theirs = one.split(), other.split()
    if all(any(means(word, there) for there in theirs) for word in mine) and len(mine) == len(theirs):
        return 0.85
    if f" {one} " in f" {other} ":
        return 0.5 + 0.3 * len(mine) / len(theirs) + (0.05 if other.startswith(one) else 0.0)
    if f" {other} " in f" {one} " and len(other) > 2:
        return 0.2 + 0.4 * len(theirs) / len(mine)
    alike = SequenceMatcher(None, one, other).ratio() if len(one) > 3 else 0.0
    return 0.6 * alike if alike > 0.85 else 0.0


def echoes(text: str, task: str) -> bool:
    """Whether a page's text only repeats the task, and so says nothing of what stands where."""
    said, asked = plain(text).split(), _threes(plain(task))
    if len(said) < _LONG:
        return False
    mine = _threes(" ".join(said))
    return len(mine & asked) >= 0.5 * min(len(mine), len(asked))


@lru_cache(maxsize=1024)
def _threes(text: str) -> frozenset[str]:
    words = text.split()
    return frozenset(" ".join(words[place : place + 3]) for place in range(len(words) - 2))


class Matcher:
    """Finds controls on one page for one task."""

    def __init__(self, page: Page, task: str = "") -> None:
        self.page, self.task = page, task
        self._inside: dict[frozenset[str], frozenset[str]] = {}

    def ranked(
        self, target: Target, fits: Callable[[Part], bool] = lambda part: True, *, context: Target | None = None
    ) -> list[Match]:
        """The controls that words may mean, best first.

        Args:
            fits: Which of them can be meant at all.
            context: What it belongs to besides.
        """
        parts = [one for one in self.page.parts.values() if fits(one)]
        if target.roles and target.roles not in self._inside:
            outer = [one for one in self.page.parts.values() if one.role in target.roles]
            self._inside[target.roles] = frozenset(
                inner.ref for one in outer if (inner := self.page.inner(one)) is not one
            )
        base = {one.ref: self._base(one, target) for one in parts}
        for words in (target.beside, _words_of(context)):
            if words:
                for ref, more in self._beside(words, parts).items():
                    base[ref] += more
        self._placed(target, parts, base)
        if target.ordinal is not None:
            self._counted(target, parts, base)
        return sorted((Match(one, base[one.ref]) for one in parts), key=lambda one: (-one.weight, one.part.order))

    # -- one control by itself

    def _base(self, part: Part, target: Target) -> float:
        weight = -0.002 * part.order
        for name in target.names:
            named = self._named(name, part)
            weight += _NAMED * named / len(target.names)
            if named < 0.5:
                weight += 0.5 * strength(name, self._near(part))
        if target.words:
            weight += self._worded(part, target)
        if target.roles:
            weight += _ROLE if self._has_role(part, target) else _NOT_ROLE
        weight += self._for(part, target)
        if echoes(part.near, self.task) and not part.name:
            weight -= 0.5  # it may be a part of the task's own text
        if part.ref in self.page.wraps:
            weight += _WRAPS
        if part.ref in self.page.twins:
            weight -= 0.5  # what lies inside is what is meant
        if "disabled" in part.states:
            weight += _UNFIT
        if self.page.modal and not part.modal:
            weight += _BEHIND
        if not part.seen:
            weight -= 0.2
        return weight

    def _named(self, name: str, part: Part) -> float:
        """How well a name in quotes is the part's: what it says, or what it is (`a "checkbox"`)."""
        texts = [one for one in (part.name, part.label, part.value if not part.editable else "") if one]
        said = max((strength(name, text) for text in texts), default=0.0)
        word = "".join(one.text for one in words_of(name))
        known = lexicon()
        kind = part.role in known.roles.get(word, ()) and (known.tags.get(word) in (None, part.tag))
        return max(said, 0.6) if kind or (word == part.tag and word in known.roles) else said

    def _near(self, part: Part) -> str:
        return "" if echoes(part.near, self.task) else part.near

    def _has_role(self, part: Part, target: Target) -> bool:
        if target.tag and part.tag == target.tag:
            return True
        if target.tag == "textarea":
            return False
        plainly = part.role in target.roles or part.ref in self._inside.get(target.roles, frozenset())
        typed = bool(target.roles & {"textbox", "searchbox"}) and part.editable
        return plainly or typed or ("button" in target.roles and part.tag == "button")

    def _worded(self, part: Part, target: Target) -> float:
        """How many of the words it says itself, and how much else it says."""
        known = lexicon()
        name = [one.text for one in words_of(f"{part.name} {part.value if not part.editable else ''}")]
        label = [one.text for one in words_of(part.label)]
        near = [one.text for one in words_of(self._near(part))]
        more = [part.kind, part.tag, *part.autocomplete.replace("-", " ").split(), *self._colour(part)]
        found, used = 0.0, set[str]()
        for word in target.words:
            hits = [there for there in name if means(word, there)]
            used.update(hits)
            if hits:
                found += 1.0
            elif word in known.roles and part.role in known.roles[word]:
                found += 0.8
            elif any(means(word, there) for there in label) or _is_sign(word, part.name):
                found += 0.9
            elif any(means(word, there) for there in more):
                found += 0.6
            elif any(means(word, there) for there in near):
                found += 0.35
        covered = found / len(target.words)
        mine = set(name or label)
        used = used if name else {one for one in label if any(means(word, one) for word in target.words)}
        precise = len(used) / len(mine) if mine else 0.0
        weight = _WORDS * covered + 1.5 * covered * precise
        if name and plain(part.name) == " ".join(target.words):
            weight += _EXACT
        return weight

    def _for(self, part: Part, target: Target) -> float:
        """Whether it is for what the words say a field is for."""
        if not part.editable and part.tag != "select":
            return 0.0
        weight = 0.0
        known = lexicon()
        said = {form_of(one.text) for one in words_of(f"{part.name} {part.label}")}
        said |= {part.autocomplete, part.kind, form_of(part.kind)}
        near = {form_of(one.text) for one in words_of(self._near(part))}
        for field in target.fields:
            wanted = {form_of(one) for one in known.fields[field]} | known.fields[field]
            if wanted & said:
                weight += _FIELD
            elif wanted & near:
                weight += _FIELD / 3
        if part.kind == "password" and "password" not in target.fields and target.ordinal is None:
            weight -= _FIELD
        return weight

    @staticmethod
    def _colour(part: Part) -> frozenset[str]:
        """The colours that a control's own marks name, in words."""
        return colours_in(f"{part.name} {part.label}")

    # -- one control among others

    def _beside(self, words: str, parts: Sequence[Part]) -> dict[str, float]:
        """How near each control is to a text: the smaller the structure that holds both, the nearer."""
        wanted = [one.text for one in words_of(words) if one.text not in lexicon().stop] or [
            one.text for one in words_of(words)
        ]
        if not wanted:
            return {}
        found: dict[str, float] = {}
        inside: dict[tuple[int, ...], float] = {}
        kinds = Counter((prefix, one.role) for one in parts for prefix in _prefixes(one.path))
        for part in parts:
            own = _covered(wanted, f"{part.name} {part.label} {part.href}")
            best = max(0.7 * own, 0.85 * _covered(wanted, self._near(part)))
            for prefix in _prefixes(part.path):
                if prefix not in inside:
                    said = [
                        one.text for one in self.page.around(prefix, len(prefix)) if not echoes(one.text, self.task)
                    ]
                    inside[prefix] = _covered(wanted, " ".join(said))
                others = kinds[prefix, part.role]
                best = max(best, inside[prefix] / (1.0 + math.log(others)))
            found[part.ref] = _BESIDE * max(best, self._after(part, wanted, parts))
        return found

    def _after(self, part: Part, wanted: Sequence[str], parts: Sequence[Part]) -> float:
        """How near a control follows a text in reading order: the fewer of its kind between them, the nearer."""
        best = 0.0
        for text in self.page.texts:
            if part.at < 0 or text.ref == part.ref or echoes(text.text, self.task):
                continue
            covered = _covered(wanted, text.text)
            if covered < 0.5:
                continue
            low, high = sorted((text.at, part.at))
            between = sum(low < one.at < high and (one.role, one.name) == (part.role, part.name) for one in parts)
            best = max(best, covered * (0.8 if text.at < part.at else 0.4) / (1 + between))
        return best

    def fit(self, part: Part, target: Target) -> float:
        """How much of what tells a control from others is true of it: 0 to 1."""
        texts = [part.name, part.label, "" if part.editable else part.value]
        if target.names:
            return max(max(self._named(name, part), 0.6 * strength(name, self._near(part))) for name in target.names)
        known = lexicon()
        own = [word for word in target.words if not (word in known.roles and part.role in known.roles[word])]
        own = [word for word in own if word not in known.places and word not in known.sizes]
        if target.ordinal is not None and own and set(own) <= known.counted:
            return 0.6
        if not own:
            return 1.0 if not target.roles or self._has_role(part, target) else 0.4
        said = [one.text for one in words_of(f"{' '.join(texts)} {part.kind} {part.autocomplete} {self._near(part)}")]
        said += [part.tag, *sorted(self._colour(part))]
        return sum(any(means(word, there) for there in said) or _is_sign(word, part.name) for word in own) / len(own)

    def _placed(self, target: Target, parts: Sequence[Part], base: dict[str, float]) -> None:
        """Those at the top, on the left, the largest."""
        laid = [one for one in parts if one.box[2] > 0 and one.box[3] > 0]
        if len(laid) < 2:
            return
        for place in target.places:
            axis, sign = {"top": (1, -1), "bottom": (1, 1), "left": (0, -1), "right": (0, 1), "middle": (0, 0)}[place]
            middle = [one.box[axis] + one.box[axis + 2] / 2 for one in laid]
            low, high = min(middle), max(middle)
            for one, at in zip(laid, middle, strict=True):
                share = (at - low) / (high - low) if high > low else 0.5
                fit = 1 - abs(2 * share - 1) if not sign else share if sign > 0 else 1 - share
                base[one.ref] += _PLACE * fit
        if target.size:
            near = self._near_best(laid, base)
            areas = sorted({one.box[2] * one.box[3] for one in near})
            for one in near:
                rank = areas.index(one.box[2] * one.box[3]) / max(len(areas) - 1, 1)
                base[one.ref] += _SIZE * (rank if target.size > 0 else 1 - rank)

    def _near_best(self, parts: Sequence[Part], base: dict[str, float]) -> list[Part]:
        top = max((base[one.ref] for one in parts), default=0.0)
        return [one for one in parts if top - base[one.ref] < _SAME_KIND]

    def _counted(self, target: Target, parts: Sequence[Part], base: dict[str, float]) -> None:
        """The second one, the last one: of those that fit about equally and are of one kind, in one structure."""
        group = self._near_best(parts, base)
        if any(self._has_role(one, target) for one in group) and target.roles:
            group = [one for one in group if self._has_role(one, target)]
        kinds = Counter((one.role, one.tag, one.path[:1]) for one in group)
        if not kinds:
            return
        most = max(kinds.values())
        kind = next(one for one in reversed(kinds) if kinds[one] == most)  # what leads about comes before the content
        group = [one for one in group if (one.role, one.tag, one.path[:1]) == kind]
        ordinal = target.ordinal or 1
        place = ordinal - 1 if ordinal > 0 else len(group) + ordinal
        if 0 <= place < len(group):
            base[group[place].ref] += _NTH


def _is_sign(word: str, name: str) -> bool:
    """Whether a name is the sign that a word speaks of: a letter, a digit."""
    sign = name.strip()
    return len(sign) == 1 and (
        (word == "letter" and sign.isalpha()) or (word in ("digit", "number") and sign.isdigit())
    )


def _prefixes(path: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [path[:depth] for depth in range(len(path), 0, -1)]


def _words_of(context: Target | None) -> str:
    return " ".join((*context.names, context.text)) if context is not None and not context.empty else ""


def _covered(wanted: Sequence[str], text: str) -> float:
    """Which share of some words stand in a text."""
    there = {form_of(one.text) for one in words_of(text)}
    return sum(form_of(word) in there for word in wanted) / len(wanted)


def option_of(part: Part, wanted: str) -> tuple[str, float]:
    """The option of a list that words mean, and how well it fits."""
    rated = [(strength(wanted, option), -place, option) for place, option in enumerate(part.options)]
    best = max(rated, default=(0.0, 0, ""))
    return best[2], best[0]


def is_choice(part: Part) -> bool:
    """Whether it is chosen or not: a checkbox, a radio button, an option."""
    return part.role in CHOICES or part.kind in ("checkbox", "radio")
