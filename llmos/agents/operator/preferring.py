"""What a person's choices on pages say of them: of lists, radio buttons and boxes in groups, what was chosen for what.

Only choices among options count, never what is typed; and none about the person or their money, such as a country, a
title or a card's month. Knows no memory: whoever started the run hands it on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from llmos.agents.operator.page import Page, Part, plain

_SINGLE = frozenset({"radio", "checkbox", "option", "menuitemradio", "menuitemcheckbox"})
_GROUPS = frozenset({"group", "radiogroup", "listbox", "menu"})
_LONGEST = 60
"""Characters of a control's name or of an option that can still be a preference: more is a sentence."""

_PERSONAL = frozenset(
    {"account", "age", "birth", "birthday", "card", "citizenship", "code", "country", "credit", "currency", "cvc"}
    | {"disability", "ethnicity", "expiry", "expires", "expiration", "gender", "income", "iban", "insurance", "marital"}
    | {"medical", "month", "nationality", "password", "payment", "pin", "prefix", "pronouns", "province", "question"}
    | {"race", "region", "religion", "salutation", "secret", "security", "sex", "state", "title", "year"}
)
"""Words of controls that ask who one is, or how one pays: no tastes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        name: Of the list or group that it was chosen for.
        value: The option.
        several: Others may be chosen besides.
    """

    name: str
    value: str
    several: bool = False


def choice(part: Part, options: Sequence[str], before: Page, after: Page) -> Choice | None:
    """What an action chose for what; None where it is no choice that can show a taste.

    Args:
        part: What was acted on.
        options: What was chosen of a list's options; none for a click.
        before: The page on which it was done.
        after: The page that it left.
    """
    if part.autocomplete not in ("", "on", "off"):
        return None
    if options:
        name, value = part.name or part.label, options[0] if len(options) == 1 else ""
    elif part.role in _SINGLE or part.kind in ("radio", "checkbox"):
        now = after.parts.get(part.ref)
        name, value = _group(before, part), part.name if now is None or now.chosen else ""
    else:
        return None
    if not _can_be_a_taste(name) or not _can_be_a_taste(value) or set(plain(name).split()) & _PERSONAL:
        return None
    return Choice(name, value, not options and "checkbox" in (part.kind, part.role.removeprefix("menuitem")))


def _group(page: Page, part: Part) -> str:
    """What the group is called that an option is in."""
    around = [one for one in page.structures if one.role in _GROUPS and one.path == part.path[: len(one.path)]]
    named = [one.name for one in reversed(around) if one.name]
    return " ".join(named[0].split()) if named else ""


def _can_be_a_taste(text: str) -> bool:
    """Whether it is a short text of words, and no figure, day or amount."""
    return bool(text) and len(text) <= _LONGEST and any(sign.isalpha() for sign in text)


def preferences(report: object, words: str) -> list[tuple[str, str]]:
    """The choices of a run that the user's own words made: what was chosen for what.

    Args:
        report: What the operator gave back.
        words: What the user said.
    """
    found: Mapping[str, Any] = cast("Mapping[str, Any]", report) if isinstance(report, Mapping) else {}
    value: Any = found.get("value")
    if found.get("outcome") not in ("done", "verified") or not isinstance(value, Mapping):
        return []
    told: Any = cast("Mapping[str, Any]", value).get("choices")
    made: Mapping[str, Sequence[str]] = cast("Mapping[str, Sequence[str]]", told) if isinstance(told, Mapping) else {}
    return [(name, one) for name, chosen in made.items() for one in chosen if _says(words, one)]


def _says(words: str, value: str) -> bool:
    """Whether a value stands in some words by itself."""
    return bool(plain(value)) and re.search(rf"(?<!\w){re.escape(plain(value))}(?!\w)", plain(words)) is not None
