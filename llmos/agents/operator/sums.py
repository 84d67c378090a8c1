"""Works out a sum, or an equation with one unknown, that stands on a page. Knows numbers, signs, and one letter."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from fractions import Fraction

_SUM = re.compile(r"(?=.*[-+*/])[-+*/().\d\sx]*\d[-+*/().\d\sx]*(?:=[-+*/().\d\sx?]*)?$")
_SIGNS = {"\u2212": "-", "\u00d7": "*", "\u00f7": "/", "\u00b7": "*", ":": "/"}
_MOST = 100


def solved(texts: Sequence[str]) -> str:
    """What the first text that is a sum or an equation comes to; empty where none is one.

    `3 * 4 = ?` is 12; in `x - 3 = 5` the letter is 8. Texts that follow each other may be one sum.
    """
    for count in range(1, 8):
        for place in range(len(texts) - count + 1):
            if value := _solved(" ".join(texts[place : place + count])):
                return value
    return ""


def _solved(text: str) -> str:
    for sign, plain in _SIGNS.items():
        text = text.replace(sign, plain)
    text = text.strip()
    letters = set(re.findall(r"[a-z]", text.lower()))
    if len(text) > _MOST or len(letters) > 1:
        return ""
    if letters and "=" not in text:
        return ""
    text = re.sub(r"[a-z]", "x", text.lower())
    if not _SUM.fullmatch(text):
        return ""
    left, _, right = text.partition("=")
    right = right.replace("?", "").strip()
    try:
        if "x" in left and "x" not in right and right == "":
            return ""
        if "x" not in text:
            return _written(_value(left, Fraction(0))) if not right else ""
        zero = _value(left, Fraction(0)) - _value(right, Fraction(0))
        slope = _value(left, Fraction(1)) - _value(right, Fraction(1)) - zero
        return _written(-zero / slope) if slope else ""
    except (SyntaxError, ValueError, ZeroDivisionError):
        return ""


def _value(text: str, unknown: Fraction) -> Fraction:
    if text.strip() == "":
        raise ValueError("there is nothing on one side")
    return _node(ast.parse(re.sub(r"(?<=\d)\s*x", "*x", text.strip()), mode="eval").body, unknown)


def _node(node: ast.expr, unknown: Fraction) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number):
            return Fraction(str(number))
        case ast.Name(id="x"):
            return unknown
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_node(inner, unknown)
        case ast.BinOp(left=left, op=operation, right=right):
            one, other = _node(left, unknown), _node(right, unknown)
            match operation:
                case ast.Add():
                    return one + other
                case ast.Sub():
                    return one - other
                case ast.Mult():
                    return one * other
                case ast.Div():
                    return one / other
                case _:
                    raise ValueError("an operation that is not known")
        case _:
            raise ValueError("no sum")


def _written(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):g}"
