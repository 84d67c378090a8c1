"""A verifier that works out again what a text calculates, and looks for the figures that a tool came to.

Knows the `calculator` and the tools that run Python by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from llmos.agents.report import Report
from llmos.agents.verdict import Verdict, Verifier
from llmos.agents.verifiers.common import blocks_of, brief, several, text_of, unsure_if_refused, without_blocks
from llmos.agents.verifiers.unit_tests import TOOLS
from llmos.kernel.branch import Branch

MAX_EQUATIONS = 20
MAX_BLOCKS = 3
_LONGEST = 300

_NUMBER = r"\d(?:[\d,]*\d)?(?:\.\d+)?"
_SIGN = "-?"
_DASHES = str.maketrans({"\u2212": "-", "\u2013": "-"})
_RIGHT = re.compile(rf"\s*(?P<sign>{_SIGN})\s*[$€£]?\s?(?P<number>{_NUMBER})(?P<percent>\s?%)?")
_LEFT = re.compile(rf"(?:(?>{_NUMBER})|[-+*/×÷^()$€£%\s·]|\bof\b|\bx\b)++\Z")
_BROKEN_OFF = re.compile(r"\s*(?:[+*/×÷^·%]|-\s|x\b)")
_OPERATOR = re.compile(rf"(?:{_NUMBER}|[%)])\s*(?:[-+*/×÷^·]|\*\*|\bof\b|\bx\b)\s*[$€£(]*\s*{_SIGN}{_NUMBER}")
_LOOSELY = "≡"  # "pages 3 - 4 are 7 cm wide" is no calculation
_SPOKEN = (
    (re.compile(r"\bdivided by\b", re.I), "/"),
    (re.compile(r"\b(?:multiplied by|times)\b", re.I), "*"),
    (re.compile(r"\bplus\b", re.I), "+"),
    (re.compile(r"\bminus\b", re.I), "-"),
    (re.compile(r"\bper ?cent\b", re.I), "%"),
    (re.compile(r"\b(?:equals|is equal to|comes to)\b|≈|≃", re.I), "="),
    (re.compile(r"\b(?:is|are|makes|gives)\b", re.I), _LOOSELY),
)


@dataclass(frozen=True, slots=True)
class Equation:
    """What a text says that something comes to.

    Attributes:
        left: An expression.
        right: A number as it was written.
        percent: The number is in per cent.
    """

    left: str
    right: str
    percent: bool = False


def recomputed(process: Branch, *, figures: Sequence[float | str] = (), needed: bool = True) -> Verifier[Any]:
    """All arithmetic of a text is right, its code prints what it says, and it has the figures that tools came to.

    Every `a op b = c` is worked out by the calculator; c may be rounded. Each fenced block of Python is run in the
    sandbox, and the last line that it prints must stand in the text. Figures that the process itself had from the
    calculator last must appear, and a report's value must be in its text where both are there.

    Args:
        figures: More figures that must appear.
        needed: Where nothing can be recomputed: it can't tell; otherwise that passes.
    """
    worked: dict[str, Any] = {}

    @unsure_if_refused
    async def check(value: Any) -> Verdict:  # noqa: ANN401  # whatever is checked
        text = text_of(value)
        bare = without_blocks(text)
        wrong: list[str] = []
        unclear: list[str] = []
        right = 0
        for one in equations(bare)[:MAX_EQUATIONS]:
            if one.left not in worked:
                result = await process.act("calculator", {"expression": one.left})
                worked[one.left] = None if result.failed or result.retry else result.value
            if worked[one.left] is None:
                unclear.append(f"{one.left} can't be worked out.")
            elif agrees(one, worked[one.left]):
                right += 1
            else:
                wrong.append(f"{brief(one.left, 80)} is {_shown(one, worked[one.left])}, and not {one.right}.")
        for block in blocks_of(text)[:MAX_BLOCKS]:
            problem = await _runs(process, block, bare)
            right += problem == ""
            wrong += [problem] if problem else []
        for figure in (*figures, *_own_figures(process, value, text)):
            if appears(figure, bare):
                right += 1
            else:
                wrong.append(f"The figure {figure} came out, and is not in the text.")
        if wrong:
            return Verdict("fail", several(wrong))
        if unclear:
            return Verdict("unsure", several(unclear))
        if not right and needed:
            return Verdict("unsure", ("There is nothing in it that could be recomputed.",))
        return Verdict("pass", (f"{right} figure{'' if right == 1 else 's'} recomputed.",))

    return Verifier(check, name="recomputed")


def equations(text: str) -> list[Equation]:
    """What a text says that calculations come to, in order, as far as it can be read."""
    text = text.translate(_DASHES)
    for words, sign in _SPOKEN:
        text = words.sub(sign, text)
    return list(_equations(text))


def _equations(text: str) -> Iterator[Equation]:
    for place in re.finditer(rf"(?<![=<>!:])=(?!=)|{_LOOSELY}", text):
        before = re.split(f"[={_LOOSELY}]", text[max(place.start() - _LONGEST, 0) : place.start()])[-1]
        left = _LEFT.search(before)
        right = _RIGHT.match(text, place.end())
        if left is None or right is None or _cut(before, left):
            continue
        expression = _balanced(" ".join(left[0].split()))
        if place[0] == _LOOSELY and not re.search(r"[+*%^]|/|×|÷", expression):
            continue
        goes_on = re.match(r"\s*(?:[*/×÷^·]|[-+]\s*\d|of\b|x\s*\d)", text[right.end() : right.end() + 40])
        if expression and not goes_on:
            sign = "-" if right["sign"] else ""
            yield Equation(expression, f"{sign}{right['number']}", percent=right["percent"] is not None)


def _cut(before: str, left: re.Match[str]) -> bool:
    """Whether an expression is only the rest of one with names in it: `y - 2 * 3`, `f(2) + 3`."""
    if not left.start():
        return False
    joined = before[left.start() - 1].isalnum() and not left[0][0].isspace()
    return joined or _BROKEN_OFF.match(left[0]) is not None


def _balanced(expression: str) -> str:
    """An expression without what only stood before it; empty if it calculates nothing."""
    for _ in range(len(expression)):
        depth = 0
        for char in expression:
            depth += (char == "(") - (char == ")")
            if depth < 0:
                break
        if depth == 0:
            break
        # what is open or closed and has no other side belongs to the sentence around
        expression = expression.partition(")" if depth < 0 else "(")[2]
    expression = re.sub(r"\bx\b", "*", re.sub(r"^(?:[+*/×÷^·%\s]|-\s|of\b|x\b)+", "", expression))
    expression = expression.replace("·", "*").strip()
    return expression if _OPERATOR.search(expression) else ""


def agrees(one: Equation, value: object) -> bool:
    """Whether a stated number is a computed one, rounded to its last digit."""
    try:
        stated, computed = Decimal(one.right.replace(",", "")), Decimal(str(value))
    except InvalidOperation:
        return False
    computed *= 100 if one.percent else 1
    exponent = stated.as_tuple().exponent
    assert isinstance(exponent, int), "a number that was read from digits is finite"
    half = Decimal(5).scaleb(exponent - 1)
    if exponent == 0:
        half = Decimal(0) if computed == computed.to_integral_value() else half
    return computed.is_finite() and abs(computed - stated) <= half


def _shown(one: Equation, value: object) -> str:
    if one.percent and isinstance(value, int | float):
        return f"{round(value * 100, 6):.12g}%"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def appears(figure: float | str, text: str) -> bool:
    """Whether a figure stands in a text, with or without separators, and perhaps rounded."""
    stated = [Equation("", number) for number in re.findall(rf"(?<![\w.]){_SIGN}{_NUMBER}", text.translate(_DASHES))]
    if isinstance(figure, str):
        try:
            return appears(float(figure.replace(",", "")), text)
        except ValueError:
            return figure in text
    unsigned = [Equation("", one.right.lstrip("-")) for one in stated]
    return any(agrees(one, figure) for one in stated) or any(agrees(one, figure) for one in unsigned)


def _own_figures(process: Branch, value: object, text: str) -> list[float | str]:
    """What must appear: the calculator's last result in this process, and a report's value where it is a number."""
    found: list[float | str] = []
    mine = [one.value for one in process.entry.seen if one.tool == "calculator"]
    if isinstance(value, Report):
        own = value.value
        if value.text and isinstance(own, int | float) and not isinstance(own, bool):
            found.append(own)
    elif mine and isinstance(mine[-1], int | float) and not equations(text):
        found.append(mine[-1])
    return found


async def _runs(process: Branch, block: str, around: str) -> str | None:
    """What is wrong with a block of Python and what is said of it: empty if nothing, None if it shows nothing."""
    tool = TOOLS[0] if TOOLS[0] in process.entry.devices else TOOLS[1]
    result = await process.act(tool, {"code": block})
    printed = [line.strip() for line in result.text.splitlines() if line.strip()]
    if result.failed or result.retry:
        said = [line for line in printed if not line.startswith("(")]  # how it ended stands below in brackets
        return f"The code fails: {brief((said or printed)[-1])}"
    if not printed or result.text.strip() == "(no output)":
        return None
    last = printed[-1]
    number = re.fullmatch(rf"{_SIGN}{_NUMBER}", last)
    if (number and appears(last, around)) or " ".join(last.split()) in " ".join(around.split()):
        return ""
    return f"The code prints {brief(last, 80)}, which is not in the text."
