"""What a clause says about its speaker or someone else: subject, attribute and value. A grammar of English, no model.

A statement is made of words of the clause: values are spans of it. What is deictic ("I like this one"), hypothetical or
of the moment ("I'm tired") is no statement. Knows neither turns nor what is done with a statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from llmos.memory.personal.predicates import Predicate, Rule, complement_rules, predicate, verb_rules
from llmos.memory.personal.values import Tail, clean, is_name, pieces, solid, untailed
from llmos.memory.personal.vocabulary import (
    USER,
    attribute_key,
    has_many,
    is_relation,
    subject_key,
    value_key,
    vocabulary,
    words_of,
)

NOTE = "note"
"""The attribute of what is kept as it was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Something that was said to be so.

    Attributes:
        subject: `user`, a relation of the user's (`wife`) or a name, in lower case.
        attribute: In one form: singular, lower case.
        value: Words of the clause.
        kind: Whether it is something that is so or something that somebody wants.
        holds: False where it is denied.
        many: Other values of the attribute may hold beside it.
        changed: It says that things have changed, or were understood wrong: "now", "any more", "not …, but …".
        text: The clause, of the parts of a list only its own.
    """

    subject: str = USER
    attribute: str
    value: str
    kind: Literal["fact", "preference"] = "fact"
    holds: bool = True
    many: bool = False
    changed: bool = False
    text: str = ""

    @property
    def slot(self) -> tuple[str, str, str]:
        """What has one value at a time: kind, subject, attribute; with several values each is a slot of its own."""
        name = f"{self.attribute}\n{value_key(self.value)}" if self.many else self.attribute
        return self.kind, self.subject, name


_I = re.compile(r"(?:I|we)(?=['\s])", re.IGNORECASE)
_MY = r"(?:one\s+of\s+)?(?:my|our)\s+"
_IS = r"(?:\s+(?:is|are)|'s(?!\s+[\w -]+?\s(?:is|are|isn't|aren't)\b)|'re)(?P<no>n't|\s+not|\s+no\s+longer)?\b"
_STILL = r"(?:\s+(?:now|currently|actually|still|really|always|usually|also|just|simply|probably))*"
_MY_IS = re.compile(
    rf"{_MY}(?P<attribute>(?!.*\bthat\b)\w[\w' &+#/-]{{0,60}}?){_IS}{_STILL}\s+(?P<value>\S.*)", re.IGNORECASE
)
_MY_DASH = re.compile(rf"{_MY}(?P<attribute>\w[\w' &+#/-]{{0,60}}?)\s*(?::|=)\s*(?P<value>\S.*)", re.IGNORECASE)
_IS_MY = re.compile(
    rf"(?P<value>[^\s,][^,]{{0,80}}?){_IS}{_STILL}\s+{_MY}(?P<attribute>\w[\w' -]{{0,60}})", re.IGNORECASE
)
_OF_MY = re.compile(
    rf"the\s+(?P<attribute>\w[\w -]{{0,40}}?)\s+of\s+{_MY}(?P<owner>\w[\w -]{{0,40}}?){_IS}{_STILL}\s+(?P<value>\S.*)",
    re.IGNORECASE,
)
_MY_MOVED = re.compile(
    rf"{_MY}(?P<attribute>\w[\w -]{{0,40}}?)(?:'s|\s+(?:has|have))?(?:\s+(?:just|recently|now))*\s+"
    r"(?:moved|changed|relocated|been\s+moved|been\s+changed)\s+(?:from\s+\S.{0,60}?\s+)?to\s+(?P<value>\S.*)",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"(?:please\s+)?(?:change|update|set|correct|(?:I|we)(?:'ve|\s+have)?(?:\s+just)?\s+(?:moved|changed))\s+"
    rf"{_MY}(?P<attribute>\w[\w' -]{{0,40}}?)"
    r"(?:\s+from\s+\S.{0,60}?)?\s+to\s+(?P<value>\S.*)",
    re.IGNORECASE,
)
_OWNER = re.compile(r"(?P<owner>\w[\w.-]*(?:\s\w[\w.-]*){0,2}?)'s?\s+(?P<attribute>\w[\w -]{0,50})", re.IGNORECASE)
_CALLED = re.compile(
    r"(?:(?:you\s+(?:can|may|should)\s+|please\s+|just\s+)*(?:call|address)\s+me(?:\s+as)?|refer\s+to\s+me\s+as"
    r"|(?:people|friends|everyone|everybody|they|all|my\s+\w+)\s+calls?\s+me"
    r"|(?:remember\s+)?me\s+as)\s+(?P<value>\S.*)",
    re.IGNORECASE,
)
_NO_NAME = re.compile(
    r"(?:back|later|tomorrow|tonight|today|when|whenever|at|if|on|in|crazy|old|a|an|the|up|out|once|before|after|about"
    r"|again|soon|immediately|maybe|for|with)\b",
    re.IGNORECASE,
)
_MY_NAME = re.compile(r"(?:(?:my|the)\s+name(?:\s+is|'s)|I'm|I\s+am|this\s+is)\s+(?P<value>\S.*)", re.IGNORECASE)
_NOT_BUT = re.compile(
    r"(?P<value>.+?),?\s+(?:and\s+)?(?:not|instead\s+of|rather\s+than|no\s+longer)\s+(?P<other>.+)", re.I
)
_BUT = re.compile(
    r"(?P<other>.+?)[,;]?\s+(?:but|it's|it\s+is|they're|they\s+are)\s+(?:rather\s+|actually\s+|now\s+)?(?P<value>.+)",
    re.IGNORECASE,
)
_PLACE = re.compile(r"(?:in|at|on|near|by)\s+(?=\S)", re.IGNORECASE)
_NAMED = re.compile(r"(?:called|named)\s+(?P<value>\S.*)", re.IGNORECASE)
_SUBJECT = re.compile(r"(?:my|our)\s+(?P<relation>\w[\w-]*(?:\s\w[\w-]*){0,2}?)(?=\s|'s\b)", re.IGNORECASE)
_THING = re.compile(
    rf"(?P<attribute>(?:the\s+)?\w[\w'.&+#/-]*(?:\s[\w'.&+#/-]+){{0,5}}?){_IS}{_STILL}\s+(?P<value>\S.*)", re.IGNORECASE
)
_STATE = re.compile(
    r"(?:broken|dead|gone|fine|okay?|slow|fast|late|early|ill|sick|angry|happy|sad|busy|closed|open|ready|empty"
    r"|full|back|here|there"
    r"|away|working|asleep|upset|better|worse|good|bad|new|old|clean|dirty|hot|cold|over|done|off|on|up|down)",
    re.IGNORECASE,
)
_PAST = re.compile(r"(?:old|former|previous|last|next|question|point|problem|issue|guess|plan|idea)\b", re.IGNORECASE)

_CHOSEN = frozenset({"favourite", "preferred", "usual", "go-to"})


def parse(clause: str, *, asked: bool, corrects: bool = False) -> tuple[Statement, ...]:
    """What a clause states; nothing if it is none of the statements that are known.

    Args:
        asked: It is to be remembered. Then much more is understood: statements about others and about things, and
            values that would be the talk of a moment if they were said by the way.
        corrects: It corrects what was said before.
    """
    text = " ".join(clause.split()).strip(" .!,;:-")
    tail = untailed(text)
    tail = replace(tail, changed=tail.changed or corrects)
    for read in (_name, _prefer, _about_user, _possessive, _about_other, _about_thing):
        if found := read(tail, asked):
            return tuple(replace(one, text=one.text or text, changed=one.changed or tail.changed) for one in found)
    return ()


def _one(attribute: str, value: str, *, subject: str = USER, holds: bool = True, changed: bool = False) -> Statement:
    """A statement of an attribute by name; what one likes best is a preference."""
    name = attribute_key(attribute)
    chosen = not _CHOSEN.isdisjoint(words_of(attribute))
    kind: Literal["fact", "preference"] = "preference" if chosen else "fact"
    return Statement(
        subject=subject, attribute=name, value=value, kind=kind, holds=holds, many=has_many(name), changed=changed
    )


def _name(tail: Tail, asked: bool) -> list[Statement]:
    if match := _CALLED.match(tail.text):
        value = clean(match["value"])
        return [] if _NO_NAME.match(value) or len(value.split()) > 4 else [_one("called", value)]
    if match := _MY_NAME.match(tail.text):
        value = clean(match["value"])
        named = match[0].lower().startswith(("my", "the"))
        if named and not _NO_NAME.match(value) and len(value.split()) <= 5:
            if other := _NOT_BUT.fullmatch(value):
                return [_one("name", clean(other["value"]), changed=True)]
            return [_one("name", value)]
        if not named and is_name(value):
            return [_one("name", value)]
    return []


_PREFER = re.compile(
    r"(?:I|we)(?:\s+(?:really|generally|usually|always|much|strongly|also|now))*\s+prefer\s+(?P<x>.+)", re.I
)
_OVER = re.compile(
    r"(?P<value>.{2,60}?)\s+(?:to|over|rather\s+than|instead\s+of|more\s+than)\s+(?P<other>.{2,60})", re.I
)
_MORE = re.compile(
    r"(?:I|we)(?:\s+(?:really|generally|usually|always|much))*\s+(?:like|love"
    r"|enjoy)\s+(?P<value>.{2,60}?)\s+(?:much\s+)?"
    r"(?:more|better)\s+than\s+(?P<other>.{2,60})",
    re.IGNORECASE,
)
_PREPOSITION = re.compile(r"\s+(?:in|with|without|by|from|on|at|of|for|over|near|under|that|which|to|when|as)\s", re.I)
_KEEP = re.compile(
    r"(?:please\s+)?(?:keep|make)\s+(?:your|the|all)\s+(?P<noun>answers?|repl(?:y|ies)|responses?"
    r"|explanations?)\s+(?P<value>.+)",
    re.IGNORECASE,
)


def _prefer(tail: Tail, asked: bool) -> list[Statement]:
    """`I prefer …`: what the noun is, is the attribute, so that another choice takes its place."""
    if match := _KEEP.match(tail.text):
        if not asked:
            return []
        return [Statement(attribute=attribute_key(match["noun"]), value=clean(match["value"]), kind="preference")]
    match = _PREFER.match(tail.text)
    more = _MORE.fullmatch(tail.text)
    if match is None and more is None:
        return []
    value = clean(match["x"]) if match else ""
    if match and (not value or not (asked or solid(value))):
        return []
    over = more or (None if value.lower().startswith("to ") else _OVER.fullmatch(value))
    if over and len(over["other"].split()) <= 4:
        pair = sorted((value_key(over["value"]), value_key(over["other"])))
        return [Statement(attribute=" or ".join(pair), value=clean(over["value"]), kind="preference")]
    if not value:
        return []
    if special := re.match(r"(?:my|the|your|our)\s+(?P<noun>\w+)\s+(?P<value>\S.*)", value, re.IGNORECASE):
        if not _PREPOSITION.match(f" {special['value']} ") and len(special["value"].split()) > 2:
            return [Statement(attribute="like", value=value, kind="preference", many=True)]
        noun = special["noun"] if len(special["value"].split()) == 1 and special["value"][-1:] != "s" else ""
        if noun or _PREPOSITION.match(f" {special['value']} "):
            return [
                Statement(attribute=attribute_key(special["noun"]), value=clean(special["value"]), kind="preference")
            ]
    head = _PREPOSITION.split(f"{value} ", maxsplit=1)[0].split()
    if value.lower().startswith(("to ", "when ", "if ", "that ", "it ", "not ")) or value.split()[0].endswith("ing"):
        return [Statement(attribute="like", value=value, kind="preference", many=True)]
    if len(head) > 1 or len(value.split()) > len(head):
        return [Statement(attribute=attribute_key(head[-1]), value=value, kind="preference")]
    return [Statement(attribute="like", value=value, kind="preference", many=True)]


def _about_user(tail: Tail, asked: bool) -> list[Statement]:
    start = _I.match(tail.text)
    if start is None:
        return []
    found = predicate(tail.text[start.end() :])
    return _stated(USER, found, tail, asked) if found else []


def _stated(subject: str, found: Predicate, tail: Tail, asked: bool) -> list[Statement]:
    """What a predicate says of a subject."""
    rules = complement_rules() if found.verb == "be" else verb_rules()
    rest = clean(found.rest)
    said = rest if found.verb == "be" else f"{found.verb} {rest}".strip()
    for rule in rules:
        groups = rule.values(said) if asked or rule.plain else None
        statements = [
            Statement(
                subject=subject,
                attribute=attribute_key(name),
                value=value,
                kind=rule.kind,
                holds=found.negated == rule.denies,
                many=has_many(name),
                changed=found.changed or rule.changes,
                text=text,
            )
            for name, whole in groups or ()
            for value, text in _values(rule, clean(whole), tail.text, asked)
        ]
        if statements:
            return statements
    return []


def _values(rule: Rule, whole: str, clause: str, asked: bool) -> Iterator[tuple[str, str]]:
    """The values that a rule allows, each with the clause as if it had this value only (empty for the whole clause)."""
    found = pieces(whole) if rule.lists else [whole]
    for value in found:
        if value and (rule.exact or solid(value, strict=not asked)) and (rule.only is None or rule.only(value)):
            before, _, after = clause.rpartition(whole)
            yield value, f"{before}{value}{after}" if len(found) > 1 else ""


def _possessive(tail: Tail, asked: bool) -> list[Statement]:
    """`my office is in Leeds`, `Dr. Wu is my dentist`, `the name of my dentist is …`, `my office has moved to …`."""
    for pattern in (_CHANGE, _MY_MOVED):
        if match := pattern.fullmatch(tail.text):
            return [_one(match["attribute"], _place(match["value"]), changed=True)]
    if match := _OF_MY.fullmatch(tail.text):
        if attribute_key(match["attribute"]) == "name":
            return _valued(match["owner"], match["value"], match["no"], tail, asked)
        return _owned(match["owner"], match["attribute"], match["value"], match["no"], asked)
    match = _MY_IS.fullmatch(tail.text) or (asked and _MY_DASH.fullmatch(tail.text)) or None
    if match:
        no = match.groupdict().get("no")
        if owned := _OWNER.fullmatch(match["attribute"]):
            if attribute_key(owned["attribute"]) in ("name", "first name"):
                return _valued(owned["owner"], match["value"], no, tail, asked)
            return _owned(owned["owner"], owned["attribute"], match["value"], no, asked)
        return _valued(match["attribute"], match["value"], no, tail, asked)
    if (match := _IS_MY.fullmatch(tail.text)) and not match["value"].lower().startswith(
        ("it", "that", "this", "my", "what")
    ):
        attribute = match["attribute"].removesuffix("'s name")
        return _valued(attribute, match["value"], match["no"], tail, asked)
    return []


def _owned(owner: str, attribute: str, value: str, no: str | None, asked: bool) -> list[Statement]:
    """`my wife's birthday is …`: about a person."""
    if not asked and not (is_relation(owner) and _plain_value(attribute, value)):
        return []
    return [_one(attribute, _place(value), subject=subject_key(owner), holds=not no)]


def _valued(attribute: str, said: str, no: str | None, tail: Tail, asked: bool) -> list[Statement]:
    """`my … is …`."""
    relation = is_relation(attribute)
    fresh = re.match(r"new\b", attribute, re.IGNORECASE) is not None
    if relation and (found := predicate(f" {'is not' if no else 'is'} {said}")):
        by_rule = _stated(subject_key(attribute), found, untailed(said), False)
        if by_rule and by_rule[0].attribute != "name":
            return [replace(one, text="") for one in by_rule]
    if named := _NAMED.fullmatch(said):
        return [_one(attribute, clean(named["value"]), holds=not no, changed=fresh)] if relation or asked else []
    name = attribute_key(attribute)
    if not asked:
        known = relation or name in vocabulary().about_me or not _CHOSEN.isdisjoint(words_of(attribute))
        # "now" and "no, …" say that a value is meant to last, and that there is such an attribute
        value = clean(other["value"] if no and (other := _BUT.fullmatch(said)) else said)
        lasts = _plain_value(attribute, value) or (
            known and tail.changed and solid(value) and not _STATE.fullmatch(value)
        )
        if not lasts or not (known or tail.changed) or _PAST.match(attribute):
            return []
    if relation and asked and re.match(r"an?\s", said, re.IGNORECASE):
        return [_one("is", clean(said), subject=subject_key(attribute), holds=not no)]
    return _corrected(attribute, said, no, fresh)


def _corrected(attribute: str, said: str, no: str | None, fresh: bool) -> list[Statement]:
    """With what is ruled out: `in Leeds, not in York`, `not in York but in Leeds`."""
    if no and (other := _BUT.fullmatch(said)):
        return [_one(attribute, _place(other["value"]), changed=True)]
    if not no and (other := _NOT_BUT.fullmatch(said)):
        return [_one(attribute, _place(other["value"]), changed=True)]
    value = _place(said)
    values = pieces(value) if has_many(attribute) else [value]
    return [_one(attribute, one, holds=not no, changed=fresh or bool(no)) for one in values if one]


def _place(said: str) -> str:
    value = clean(said)
    return value[match.end() :] if (match := _PLACE.match(value)) and len(value) > match.end() else value


def _plain_value(attribute: str, said: str) -> bool:
    """Whether a value says something that lasts, rather than how things are at the moment."""
    name = attribute_key(attribute)
    value = clean(said)
    if name == "favourite" or not (solid(value, strict=True) or name == "pronoun"):
        return False
    if "favourite" in name.split() or name in ("name", "occupation", "religion", "pronoun", "hobby", "diet", "allergy"):
        return not value.lower().startswith(("not ", "being "))
    return re.match(r"(?:(?:in|at|on|near|an?|the)\s+)?(?:[A-Z]|\d|\+)|.*[@\d]", value) is not None


def _about_other(tail: Tail, asked: bool) -> list[Statement]:
    """`my wife likes tulips`; if asked, `Ana likes tulips` and `Ana's birthday is …` too."""
    if match := _SUBJECT.match(tail.text):
        words = match["relation"].split()
        for size in range(len(words), 0, -1):
            relation = " ".join(words[:size])
            if is_relation(relation):
                offset = match.start("relation") + len(relation)
                found = predicate(tail.text[offset:])
                return _stated(subject_key(relation), found, tail, asked) if found else []
        return []
    if not asked:
        return []
    if (match := _THING.fullmatch(tail.text)) and (owned := _OWNER.fullmatch(match["attribute"])):
        return _owned(owned["owner"], owned["attribute"], match["value"], match["no"], asked)
    name = re.match(r"[A-Z][\w.-]*(?:\s[A-Z][\w.-]*){0,2}(?=\s|'s\s)", tail.text)
    if name is None or words_of(name[0])[:1] == ["the"]:
        return []
    found = predicate(tail.text[name.end() :])
    if found is None:
        return []
    return [one for one in _stated(subject_key(name[0]), found, tail, False) if one.attribute != "name"]


def _about_thing(tail: Tail, asked: bool) -> list[Statement]:
    """If asked, `the wifi password is …`."""
    match = _THING.fullmatch(tail.text) if asked else None
    if match is None:
        return []
    first = match["attribute"].split()[0].lower()
    if first in {
        "i",
        "it",
        "this",
        "that",
        "there",
        "these",
        "those",
        "what",
        "who",
        "he",
        "she",
        "they",
        "you",
        "here",
        "we",
    }:
        return []
    if re.match(r"\w+ing\b", match["value"]):  # what happens at the moment
        return []
    return _corrected(match["attribute"], match["value"], match["no"], False)
