"""What verbs say of a subject: the table of predicates from which statements are read, and how they are told apart.

Knows no subject and no turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal

from llmos.memory.personal.vocabulary import vocabulary


@dataclass(frozen=True, slots=True)
class Predicate:
    """The predicate of a clause in one form.

    Attributes:
        verb: Its base form; `be` with everything else as its complement in `rest`.
        negated: It is denied.
        changed: It says that this was otherwise before: `no longer`, `have moved`, `used to`.
    """

    verb: str
    rest: str
    negated: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """How a predicate is read.

    Attributes:
        pattern: Of a complement of `be`, or of base form and rest of another verb, whole, whatever its case. Its groups
            are values, their names the attributes, with `_` for a blank; of `its` the attribute is the group `noun`.
        kind: What it states.
        denies: The words mean the opposite: `hate`.
        lists: The value may be a list.
        plain: It is understood without being asked to be remembered.
        changes: It says that this was otherwise before.
        exact: Its pattern says all there is to say of the value.
        attribute, value: What it states where its words have no value.
        only: What holds for a value.
    """

    pattern: str
    kind: Literal["fact", "preference"] = "fact"
    denies: bool = False
    lists: bool = False
    plain: bool = True
    changes: bool = False
    exact: bool = False
    attribute: str = ""
    value: str = ""
    only: Callable[[str], bool] | None = None

    def values(self, said: str) -> list[tuple[str, str]] | None:
        """Attributes and values of a predicate; None if it is none of this kind."""
        match = _compiled(self.pattern).fullmatch(said)
        if match is None:
            return None
        if self.attribute:
            return [(self.attribute, self.value)]
        groups = {name: value for name, value in match.groupdict().items() if value}
        noun = groups.pop("noun", "")
        return [(_attribute(name, noun), value) for name, value in groups.items()]


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _attribute(group: str, noun: str) -> str:
    if group == "its":
        return noun
    name = group.replace("_", " ")
    return f"{name} {noun}" if noun else name


_ADVERB = re.compile(
    r"\s*(?P<word>really|truly|absolutely|also|still|just|now|currently|mostly|mainly|usually|normally|typically"
    r"|generally|actually|personally|definitely|especially|particularly|simply|quite|always|often|strictly|very"
    r"|extremely"
    r"|severely|highly|deathly|mildly|slightly|kind\s+of|sort\s+of|totally|completely|happily|recently|a\s+bit"
    r"|tend\s+to"
    r"|both|even|rather|so|pretty|terribly|that(?=\s+(?:into|fond|keen|interested))|too|big|officially|fully"
    r"|myself|certainly|do|absolutely)(?=\s)",
    re.IGNORECASE,
)
_NOT = re.compile(r"\s*(?P<word>not|never|no\s+longer|neither)(?=\s|$)", re.IGNORECASE)
_BE = re.compile(r"(?:'m|'re|'s|\s+(?:am|is|are|be))(?P<no>n't)?(?=\s)|\s+(?P<aint>ain't|aint|isnt|arent)(?=\s)", re.I)
_DO_NOT = re.compile(r"\s+(?:don't|doesn't|dont|doesnt|do\s+not|does\s+not)(?=\s)", re.IGNORECASE)
_CAN_NOT = re.compile(r"\s+(?:can't|cant|cannot|can\s+not|couldn't)(?=\s)", re.IGNORECASE)
_CAN = re.compile(r"\s+can(?=\s)", re.IGNORECASE)
_USED_TO = re.compile(r"\s+used\s+to(?=\s)", re.IGNORECASE)
_BORN = re.compile(r"\s+(?:was|were)\s+(?=born\b)", re.IGNORECASE)
_GREW = re.compile(r"\s+(?=grew\s+up\b)", re.IGNORECASE)
_NO_MORE = re.compile(
    r"(?:'ve|'s|\s+have|\s+has|\s+just|\s+recently)*\s+(?:stopped|quit|given\s+up|gave\s+up|given\s+up\s+on)(?=\s)",
    re.I,
)
_BEGUN = re.compile(
    r"(?:'ve|'s|\s+have|\s+has|\s+just|\s+recently)*\s+(?:started|begun|began|taken\s+up|took\s+up)(?=\s)", re.I
)
_MOVED = re.compile(
    r"(?:'ve|'s|\s+have|\s+has)?(?:\s+(?:just|recently|now))*\s+(?=(?:moved|relocated|switched|become)\b)", re.I
)
_HAVE = re.compile(
    r"(?:(?:'ve|'s|\s+have|\s+has)(?P<no>n't)?\s+got|\s+(?:have|has)(?!n't)(?!\s+(?:been|had|\w+ed|done|gone"
    r"|seen)\b))(?=\s)",
    re.I,
)
_VERB = re.compile(r"\s*(?P<verb>[A-Za-z]+)(?=\s|$)")

_LIKE = "like|love|adore|enjoy"
_HATE = "hate|dislike|detest|loathe|despise"
_BASES = frozenset(
    f"{_LIKE}|{_HATE}|live|reside|work|study|speak|play|use|drive|own|collect|eat|drink|smoke|wear|take|avoid|support|go|come"
    "|suffer|grew|moved|relocated|switched|become|born|care|stand|bear|tolerate|have|prefer|need|practise|practice|teach|run"
    "|understand|commute|belong|weigh|keep|identify|code|program|do|follow".split("|")
)
_IRREGULAR = {"has": "have", "goes": "go", "does": "do", "studies": "study", "got": "have"}
_GERUNDS = {
    "eating": "eat",
    "drinking": "drink",
    "using": "use",
    "playing": "play",
    "driving": "drive",
    "taking": "take",
    "wearing": "wear",
    "smoking": "smoke",
    "working": "work",
    "studying": "study",
    "learning": "study",
    "collecting": "collect",
    "living": "live",
    "liking": "like",
    "enjoying": "enjoy",
    "speaking": "speak",
}


def predicate(text: str) -> Predicate | None:
    """The predicate that a text begins with, right after its subject; None if no verb is known.

    Args:
        text: With the blank or the apostrophe that follows the subject.
    """
    negated = changed = False
    if match := _NO_MORE.match(text):
        return _gerund(text[match.end() :], negated=True)
    if match := _BEGUN.match(text):
        return _gerund(text[match.end() :], negated=False)
    if match := _USED_TO.match(text):
        negated = changed = True
    elif match := _BORN.match(text) or _GREW.match(text) or _MOVED.match(text):
        pass
    elif match := _BE.match(text):
        rest, inner, changed = _adverbs(text[match.end() :])
        denied = match["no"] is not None or match["aint"] is not None
        return Predicate("be", rest.strip(), denied != inner, changed) if rest.strip() else None
    elif match := _DO_NOT.match(text):
        negated = True
    elif match := _CAN_NOT.match(text):
        found = _verb(text[match.end() :], negated=True, changed=False)
        return (
            found if found and found.verb in ("stand", "bear", "tolerate", "eat", "drink", "speak", "drive") else None
        )
    elif match := _CAN.match(text):
        found = _verb(text[match.end() :], negated=False, changed=False)
        return found if found and found.verb in ("speak", "play", "drive", "understand") else None
    elif match := _HAVE.match(text):
        rest, inner, changed = _adverbs(text[match.end() :])
        none = re.match(r"no\s+", rest.strip(), re.IGNORECASE)
        denied = match["no"] is not None or none is not None
        rest = rest.strip()[none.end() :] if none else rest.strip()
        return Predicate("have", rest, denied != inner, changed) if rest else None
    return _verb(text[match.end() :] if match else text, negated=negated, changed=changed)


def _adverbs(text: str) -> tuple[str, bool, bool]:
    """A text without the adverbs it begins with, whether they deny it, and whether they say that it has changed."""
    negated = changed = False
    while match := _ADVERB.match(text) or _NOT.match(text):
        word = " ".join(match["word"].lower().split())
        negated = negated or match.re is _NOT
        changed = changed or word in ("now", "no longer")
        text = text[match.end() :]
    return text, negated, changed


def _verb(text: str, *, negated: bool, changed: bool) -> Predicate | None:
    text, inner, since = _adverbs(text)
    match = _VERB.match(text)
    if match is None:
        return None
    word = match["verb"].lower()
    base = _IRREGULAR.get(word) or next((form for form in (word, word[:-1], word[:-2]) if form in _BASES), "")
    if not base or (word != base and word not in _IRREGULAR and not word.endswith("s")):
        return None
    return Predicate(base, text[match.end() :].strip(), negated != inner, changed or since)


def _gerund(text: str, *, negated: bool) -> Predicate | None:
    match = _VERB.match(text)
    base = _GERUNDS.get(match["verb"].lower(), "") if match else ""
    return Predicate(base, text[match.end() :].strip(), negated, True) if match and base else None


def _any(words: frozenset[str]) -> str:
    return "|".join(
        re.escape(word).replace("\\-", "[- ]") for word in sorted(words, key=lambda word: (-len(word), word))
    )


def _proper(value: str) -> bool:
    return re.match(r"(?:the\s+)?(?:[A-Z]|\d)", value) is not None


def _institution(value: str) -> bool:
    return re.match(r"an?\s", value) is not None or _proper(value)


def _language(value: str) -> bool:
    return any(word.lower() in vocabulary().languages for word in value.split())


@cache
def complement_rules() -> tuple[Rule, ...]:
    """What `be` says, by its complement; the first that fits counts."""
    known = vocabulary()
    return (
        Rule(r"(?:allergic|hypersensitive)\s+to\s+(?P<allergies>.+)", lists=True),
        Rule(r"(?P<allergies>[\w, -]+?)[- ]intolerant", lists=True),
        Rule(r"intolerant\s+(?:to|of)\s+(?P<allergies>.+)", lists=True),
        Rule(rf"(?:an?\s+)?(?:\w+\s+)?(?P<diet>{_any(known.diets)})", exact=True),
        Rule(rf"(?:\w+\s+)?(?P<health>(?:type\s+\w+\s+)?(?:{_any(known.health)}))", exact=True),
        Rule(r"(?:called|named|known\s+as)\s+(?P<name>.+)"),
        Rule(r"(?P<age>\d{1,3}|\d{1,2}\s+(?:weeks|months))(?:\s+years?)?(?:\s+old|\s*y/?o)?", exact=True),
        Rule(rf"(?P<marital_status>{_any(known.marital)})(?:\s+to\s+(?P<spouse>.+))?", exact=True),
        Rule(r"(?P<handedness>(?:left|right)[- ]handed|ambidextrous)", exact=True),
        Rule(r"(?:originally\s+)?from\s+(?P<origin>.+)", only=_proper),
        Rule(r"(?:based|living|located|resident|at\s+home)\s+(?:in|at|near)\s+(?P<home>.+)"),
        Rule(r"(?:working|employed)\s+(?:at|for|by|with)\s+(?P<employer>.+)"),
        Rule(r"learning\s+(?P<studies>.+)", only=_language),
        Rule(r"studying\s+(?P<studies>.+?)(?:\s+at\s+(?P<university>.+))?"),
        Rule(r"(?:an?\s+)?(?P<occupation>(?:[\w-]+\s+)?student)\s+at\s+(?P<university>.+)"),
        Rule(r"(?:on\s+(?=an?\s.+\sdiet))?(?P<eats>[\w]+-free|halal|kosher|an?\s+[\w-]+\s+diet)", exact=True),
        Rule(r"(?:working|employed)\s+as\s+(?:an?\s+|the\s+)?(?P<occupation>.+)"),
        Rule(rf"(?P<nationality>(?:{_any(known.demonyms)})(?:-\w+)?)(?:\s+citizen)?", exact=True),
        Rule(r"(?:an?\s+)?(?:\w+\s+)?(?:fan|lover|fond|supporter)\s+of\s+(?P<like>.+)", lists=True, kind="preference"),
        Rule(
            r"(?:keen\s+on|(?:crazy|mad|passionate|enthusiastic)\s+about|obsessed\s+with|into"
            r"|partial\s+to)\s+(?P<like>.+)",
            lists=True,
            kind="preference",
        ),
        Rule(r"interested\s+in\s+(?P<interests>.+)", lists=True, kind="preference"),
        Rule(r"(?:afraid|scared|terrified|frightened|phobic)\s+of\s+(?P<fears>.+)", lists=True),
        Rule(
            rf"(?:an?\s+|the\s+)?(?P<occupation>(?:[\w-]+\s+){{0,3}}?(?:{_any(known.occupations)}))(?:\s+(?:by\s+(?:trade|profession)|in\s+real\s+life))?"
        ),
        Rule(
            rf"(?:an?\s+)?(?P<occupation>(?:[\w-]+\s+){{0,3}}?(?:{_any(known.occupations)}))\s+(?:at|for"
            rf"|with)\s+(?P<employer>.+)"
        ),
        Rule(rf"(?:an?\s+)?(?P<occupation>{_any(known.work_states)})", exact=True),
        Rule(
            r"(?:about\s+)?(?P<height>\d[\d.,']*\s*(?:m|cm|metres|meters|ft|feet|foot)?\b.{0,12}?)\s+tall", exact=True
        ),
        Rule(
            r"(?P<is>(?:an?\s+)?(?:morning|evening|night|early|late|cat|dog)[- ](?:person|owl|bird|riser|sleeper))",
            exact=True,
        ),
        Rule(r"born\s+(?:on\s+(?:the\s+)?|in\s+(?=\d))?(?P<birthday>.*\d.*)"),
        Rule(r"born\s+in\s+(?P<birthplace>.+)"),
        Rule(r"(?P<is>(?!going\b|trying\b|not\b|about\b).+)", plain=False),
    )


@cache
def verb_rules() -> tuple[Rule, ...]:
    """What the other verbs say, by base form and rest; the first that fits counts."""
    months = "January|February|March|April|May|June|July|August|September|October|November|December"
    return (
        Rule(rf"(?:{_LIKE})\s+(?P<like>.+)", lists=True, kind="preference"),
        Rule(rf"(?:{_HATE})\s+(?P<like>.+)", denies=True, lists=True, kind="preference"),
        Rule(r"(?:stand|bear|tolerate|care\s+(?:for|about)|go\s+for)\s+(?P<like>.+)", lists=True, kind="preference"),
        Rule(r"prefer\s+(?P<like>.+)", kind="preference"),
        Rule(r"(?:live|reside)\s+(?:in|at|near)\s+(?P<home>.+)"),
        Rule(
            rf"(?:moved|relocated)\s+(?:from\s+.+?\s+)?(?:back\s+)?to\s+(?P<home>.+?)(?:\s+in\s+(?:{months}"
            rf"|\d{{4}}).*)?",
            changes=True,
            only=_proper,
        ),
        Rule(r"work\s+(?:for|at)\s+(?P<employer>.+?)\s+as\s+(?:an?\s+|the\s+)?(?P<occupation>.+)"),
        Rule(r"work\s+as\s+(?:an?\s+|the\s+)?(?P<occupation>.+?)\s+(?:for|at)\s+(?P<employer>.+)"),
        Rule(r"work\s+as\s+(?:an?\s+|the\s+)?(?P<occupation>.+)"),
        Rule(r"work\s+from\s+(?P<workplace>home)", exact=True),
        Rule(r"work\s+(?:for|at)\s+(?P<employer>.+)", only=_institution),
        Rule(r"work\s+in\s+(?P<works_in>.+)"),
        Rule(r"study\s+(?P<studies>.+?)\s+at\s+(?P<university>.+)"),
        Rule(r"study\s+at\s+(?P<university>.+)", only=_institution),
        Rule(r"study\s+(?P<studies>.+)"),
        Rule(r"teach\s+(?P<teaches>.+)"),
        Rule(
            r"(?:speak|understand)\s+(?:(?:fluent|some|basic|good|native|a\s+(?:little"
            r"|bit\s+of))\s+)?(?P<languages>.+)",
            lists=True,
            only=_language,
        ),
        Rule(r"play\s+(?:the\s+)?(?P<plays>.+)", lists=True),
        Rule(
            r"(?:practise|practice|do)\s+(?P<plays>yoga|pilates|karate|judo|boxing|ballet|meditation|climbing"
            r"|crossfit)",
            exact=True,
        ),
        Rule(r"(?:use|run)\s+(?P<uses>(?:[\w.+#-]+\s?){1,4})", lists=True, only=_proper),
        Rule(r"(?:code|program)\s+in\s+(?P<uses>.+)", lists=True),
        Rule(r"switched\s+(?:from\s+.+?\s+)?to\s+(?P<uses>.+)", changes=True, only=_proper),
        Rule(r"become\s+(?:an?\s+)?(?P<diet>vegan|vegetarian|pescatarian)", changes=True, exact=True),
        Rule(r"drive\s+(?P<car>an?\s+.+)"),
        Rule(r"collect\s+(?P<collects>.+)", lists=True),
        Rule(r"eat\s+(?P<eats>.+)", lists=True),
        Rule(r"avoid\s+(?P<eats>.+)", denies=True, lists=True, plain=False),
        Rule(r"drink\s+(?P<drinks>.+)", lists=True),
        Rule(r"drink", value="alcohol", exact=True, attribute="drinks"),
        Rule(r"smoke(?:\s+(?:cigarettes|tobacco))?", value="smoking", exact=True, attribute="habit"),
        Rule(
            r"wear\s+(?P<wears>glasses|contact\s+lenses|contacts|hearing\s+aids?|a\s+hearing\s+aid"
            r"|size\s+\S+(?:\s+shoes)?)",
            exact=True,
        ),
        Rule(r"suffer\s+from\s+(?P<health>.+)", lists=True),
        Rule(r"support\s+(?P<supports>.+)", only=_proper),
        Rule(r"go\s+by\s+(?P<called>.+)", only=_proper),
        Rule(r"come\s+from\s+(?P<origin>.+)", only=_proper),
        Rule(r"grew\s+up\s+in\s+(?P<grew_up_in>.+)"),
        Rule(r"born\s+(?:on\s+(?:the\s+)?|in\s+(?=\d))?(?P<birthday>.*\d.*)"),
        Rule(r"born\s+in\s+(?P<birthplace>.+)"),
        Rule(r"weigh\s+(?:about\s+)?(?P<weight>\d.*)", exact=True),
        *_having(),
        Rule(r"need\s+(?P<needs>.+)", plain=False),
        Rule(r"identify\s+as\s+(?P<is>.+)"),
        Rule(r"(?P<habit>(?:follow|take|keep|wear|run)\s+.+)", plain=False),
    )


def _having() -> tuple[Rule, ...]:
    """What `have` and `own` say."""
    known = vocabulary()
    numbers = r"one|two|three|four|five|six|seven|eight|nine|ten|\d{1,2}|twin"
    relations, persons = _any(known.several), _any(known.relations)
    return (
        Rule(
            rf"have\s+an?\s+(?:\w+\s+)?(?P<noun>{persons})"
            r"(?:,|,?\s+(?:(?:who|that|which)(?:'s|\s+is)\s+)?(?:called|named))\s+(?P<its>.+)"
        ),
        Rule(
            rf"have\s+(?P<number_of>{numbers})\s+(?:\w+\s+)?(?P<noun>(?:{relations})s?|children|puppies|mice)"
            r"(?:,?\s+(?:and|called|named)\s+.*)?",
            exact=True,
        ),
        Rule(r"have\s+an?\s+(?:new\s+)?job\s+(?:at|with)\s+(?P<employer>.+)", changes=True),
        Rule(r"have\s+(?P<marital_status>married|divorced|engaged)(?:\s+to\s+(?P<spouse>.+))?", changes=True),
        Rule(r"have\s+(?:an?\s+)?(?:\w+\s+)?allerg(?:y|ies)\s+to\s+(?P<allergies>.+)", lists=True),
        Rule(
            r"have\s+an?\s+(?:(?:bad|severe|serious|mild)\s+)?(?P<allergies>[\w -]+?)\s+(?:allergy|intolerance)",
            exact=True,
        ),
        Rule(
            rf"have\s+(?:(?:bad|severe|mild|chronic)\s+)?(?P<health>(?:type\s+\w+\s+)?(?:{_any(known.conditions)}))",
            exact=True,
        ),
        Rule(
            rf"(?:have|own)\s+(?P<has>(?:an?|the|any)\s+(?:[\w-]+\s+){{0,3}}?(?:{relations}|{_any(known.things)})s?"
            rf"|(?:{relations})s?|children)",
            exact=True,
        ),
        Rule(r"(?:have|own)\s+(?P<has>.+)", plain=False),
    )
