"""Reads what function a task asks for: its name, its parameters, and the examples that it must satisfy.

Examples are taken from the words as they stand there; none is made up. Knows no model.
"""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llmos.agents.spans import of_kind
from llmos.agents.vocabulary import plain_words, vocabulary

MAX_EXAMPLES = 20
_LITERAL_CHARS = 400
_GIVES = re.compile(
    r"\s*(?:`|'(?=\s))?\s*(?:==|=>|->|→|=|,?\s*(?:(?:it|which)\s+)?(?:should|must|will|would|shall)?\s*"
    r"\b(?:returns?|gives?(?: back)?|is|be|are|equals?|yields?|becomes?|produces?|results? in|evaluates? to)\b)"
    r"\s*(?:equal to\s+)?(?:`)?\s*",
    re.I,
)
_RAISES = re.compile(r"\s*`?\s*,?\s*(?:should |must )?(?:raises?|throws?)\s+(?:an? )?`?(?P<error>[A-Z]\w*)", re.I)
_PROMPT = re.compile(r"^\s*(?:`\s*)?\n\s*")
_DEFINED = re.compile(r"\bdef\s+(?P<name>[A-Za-z_]\w*)\s*\((?P<parameters>[^)]*)\)")
_CALLED = re.compile(
    r"\b(?:function|method|program|func)\s+(?:(?:called|named)\s+)?[`\"']?(?P<name>[A-Za-z_]\w*)[`\"']?"
    r"(?:\s*\((?P<parameters>[\w\s,:=*\[\]|.]*)\))?",
    re.I,
)
_NAMED = re.compile(
    r"\b(?:called|named)\s+[`\"']?(?P<name>[A-Za-z_]\w*)[`\"']?(?!\.\w)(?:\s*\((?P<parameters>[\w\s,]*)\))?"
)
_CALL = re.compile(r"(?<![\w.])(?P<name>[A-Za-z_]\w*)\(")
_ORDER = re.compile(
    r"^\W*(?:please\s+)?(?:can you\s+|could you\s+)?"
    r"(?:write|make|create|implement|code|build|program|develop|give me)\s+(?:me\s+)?(?:a|an|the)?\s*"
    r"(?:small|short|little|simple|python|new)*\s*(?:python\s+)?(?:function|program|script|method|code)?\b\s*",
    re.I,
)
_NO_NAME = {"that", "which", "to", "for", "in", "with", "and", "of", "is", "called", "named", "it", "returns", "takes"}


@dataclass(frozen=True, slots=True)
class Example:
    """A call and what it must give, as source text; or which error it must raise."""

    call: str
    want: str = ""
    raises: str = ""

    def as_json(self) -> dict[str, str]:
        """For the program that checks it."""
        return {"call": self.call, "want": self.want, "raises": self.raises}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A function that is asked for.

    Attributes:
        about: What it does, in the user's words, without the examples.
        path, test_path: Where it and its tests shall be.
    """

    name: str
    parameters: tuple[str, ...]
    about: str
    examples: tuple[Example, ...]
    path: str
    test_path: str

    @property
    def signature(self) -> str:
        """The first line of its definition."""
        return f"def {self.name}({', '.join(self.parameters)}):"


def wanted(task: str) -> Wanted:
    """The function that some words ask for."""
    name, parameters = _named(task)
    found = list(_examples(task, name))[:MAX_EXAMPLES]
    if not name and found:
        name = found[0][0].call.partition("(")[0]
    name = name or _made_up(task)
    examples = [one for one, _ in found if one.call.startswith(f"{name}(")]
    places = [place for _, place in found]
    if not examples:
        pairs = list(_pairs(task, name))
        examples, places = [one for one, _ in pairs], [place for _, place in pairs]
    if not parameters:
        parameters = _from_call(examples[0].call) if examples else ("value",)
    paths = [one.text for one in of_kind(task, "path") if one.text.endswith(".py")]
    tests = [one for one in paths if re.search(r"(?:^|/)test_|_test\.py$", one)]
    rest = [one for one in paths if one not in tests]
    path = rest[0] if rest else f"{name}.py"
    folder, _, file = path.rpartition("/")
    test_path = tests[0] if tests else f"{folder}/test_{file}".lstrip("/")
    return Wanted(name, parameters, _about(task, places), tuple(dict.fromkeys(examples)), path, test_path)


def _named(task: str) -> tuple[str, tuple[str, ...]]:
    for pattern in (_DEFINED, _CALLED, _NAMED):
        for match in pattern.finditer(task):
            name = match["name"]
            if name.lower() in _NO_NAME or keyword.iskeyword(name) or task[match.end() : match.end() + 1] == ".":
                continue
            if pattern is _CALLED and not _looks_like_a_name(match[0], name):
                continue
            return name, _parameters(match["parameters"] or "")
    return "", ()


def _looks_like_a_name(said: str, name: str) -> bool:
    """Whether a word behind `function` is its name and not the next word of the sentence."""
    return "_" in name or "(" in said or re.search(r"\b(?:called|named)\b|[`\"']", said, re.I) is not None


def _parameters(text: str) -> tuple[str, ...]:
    names = [part.partition(":")[0].partition("=")[0].strip() for part in text.split(",")]
    good = tuple(one for one in names if one.isidentifier() and not keyword.iskeyword(one))
    return good if len(good) == len([one for one in names if one]) else ()


def _from_call(call: str) -> tuple[str, ...]:
    """Names of parameters for an example's arguments, by their kinds."""
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call)
    kinds: dict[Any, str] = {
        str: "text",
        list: "items",
        dict: "table",
        bool: "flag",
        int: "n",
        float: "x",
        tuple: "pair",
    }
    names: list[str] = []
    for one in node.args:
        base = kinds.get(type(ast.literal_eval(one)), "value")
        names.append(base if base not in names else f"{base}{len(names) + 1}")
    return (*names, *(one.arg for one in node.keywords if one.arg))


def _made_up(task: str) -> str:
    """A name made of the words, where they give none."""
    words = [word for word in plain_words(_ORDER.sub("", task, count=1)) if word not in vocabulary().stop]
    plain = [word for word in words if word.isidentifier() and not keyword.iskeyword(word)][:2]
    return "_".join(plain) or "solve"


def _about(task: str, places: list[tuple[int, int]]) -> str:
    for start, end in sorted(places, reverse=True):
        task = task[:start] + " " + task[end:]
    for span in reversed(of_kind(task, "path")):
        task = task[: span.start] + task[span.end :]
    text = _DEFINED.sub(" ", _ORDER.sub("", task, count=1))
    text = re.sub(
        r"\s*(?:\b(?:for example|for instance|e\.g\.|examples?|such as|tests?)\b\s*[:,]?|>>>)\s*(?=[\s.,;:]|and\b|$)",
        " ",
        text,
        flags=re.I,
    )
    text = re.sub(r"\b(?:save|write|put|store) (?:it|them|this)\b[^.]*", "", text, flags=re.I)
    text = re.sub(r"\b(?:in|into|to|(?:and|with) (?:its )?tests?(?: in)?|with)\s*(?=[.,;]|$)", "", text, flags=re.I)
    text = re.sub(r"^\W*(?:(?:called|named)\s+)?[`\"']?[A-Za-z_]\w*\([^)]*\)[`\"']?\s*", "", text)
    text = re.sub(r"^\W*(?:called|named)\s+[`\"']?\w+[`\"']?\s*", "", text)
    text = re.sub(r"^\W*(?:that|which|to)\s+", "", text.strip())
    text = " ".join(re.sub(r"[\s,;:]+(?=[.,;:])|\band\s*(?=[.,;]|$)", "", text).split()).strip(" ,;:.`")
    return text[:1].upper() + text[1:] + "." if text else ""


# -- examples


def _examples(task: str, name: str) -> Iterator[tuple[Example, tuple[int, int]]]:
    """Calls with what they give, and where they stand."""
    for match in _CALL.finditer(task):
        if name and match["name"] != name:
            continue
        call = _call_at(task, match.start())
        if call is None:
            continue
        end = match.start() + len(call)
        if raised := _RAISES.match(task, end):
            yield Example(call, raises=raised["error"]), (match.start(), raised.end())
            continue
        gives = _GIVES.match(task, end) or _PROMPT.match(task[end:])
        if gives is None:
            continue
        begin = gives.end() if gives.re is _GIVES else end + gives.end()
        literal = _literal_at(task, begin)
        if literal:
            yield Example(call, literal), (match.start(), begin + len(literal))


def _call_at(task: str, start: int) -> str | None:
    """The call that begins here, if its arguments are literals."""
    for place in range(task.index("(", start) + 1, min(len(task), start + _LITERAL_CHARS) + 1):
        if task[place - 1] != ")":
            continue
        try:
            node = ast.parse(task[start:place], mode="eval").body
            if isinstance(node, ast.Call):
                for one in (*node.args, *(keyword.value for keyword in node.keywords)):
                    ast.literal_eval(one)
                return task[start:place]
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
    return None


def _literal_at(task: str, start: int) -> str:
    """The longest Python literal that begins here and ends with what may end one in a sentence."""
    for place in range(min(len(task), start + _LITERAL_CHARS), start, -1):
        if place < len(task) and task[place] not in " \t\n,;.)`":
            continue
        text = task[start:place]
        if not text.strip() or text != text.strip():
            continue
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        if isinstance(value, tuple) and not text.startswith("("):
            continue  # a comma of the sentence
        if isinstance(value, float | int) and text.endswith("."):
            continue
        return text
    return ""


def _pairs(task: str, name: str) -> Iterator[tuple[Example, tuple[int, int]]]:
    """`'abc' becomes 'cba'`: what goes in and what comes out, without the function's name."""
    place = 0
    while place < len(task):
        if task[place] not in "'\"[({-0123456789TFN" or (
            place and (task[place - 1].isalnum() or task[place - 1] in "_'")
        ):
            place += 1
            continue
        given = _literal_at(task, place)
        gives = _GIVES.match(task, place + len(given)) if given else None
        want = _literal_at(task, gives.end()) if gives else ""
        if not want or gives is None:
            place += max(len(given), 1)
            continue
        yield Example(f"{name}({given})", want), (place, gives.end() + len(want))
        place = gives.end() + len(want)
