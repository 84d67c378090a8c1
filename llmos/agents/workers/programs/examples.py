"""Runs a function on examples and says of each whether it holds. Runs in the sandbox; standard library."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import json
from typing import Any

_SHOWN = 200


def check(code: str, name: str, examples: list[dict[str, str]]) -> dict[str, Any]:
    """What became of each example.

    Args:
        examples: Each with `call`, an expression, and `want`, a literal; or `raises`, the name of an exception.
    """
    names: dict[str, Any] = {"__name__": "candidate"}
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            exec(compile(code, "<candidate>", "exec"), names)
        except Exception as error:  # whatever a candidate raises is what is said of it
            return {"passed": 0, "problems": [f"The code does not run: {type(error).__name__}: {error}"[:_SHOWN]]}
        if not callable(names.get(name)):
            return {"passed": 0, "problems": [f"There is no function {name!r}."]}
        problems = [problem for one in examples if (problem := _problem(one, names))]
    return {"passed": len(examples) - len(problems), "problems": problems}


def _problem(example: dict[str, str], names: dict[str, Any]) -> str:
    """Why an example does not hold; empty if it does."""
    call = example["call"]
    try:
        got = eval(call, copy.copy(names))
    except Exception as error:  # an example may ask for any error
        kind = type(error).__name__
        if example.get("raises") == kind:
            return ""
        wanted = f"raise {example['raises']}" if example.get("raises") else f"be {example['want']}"
        return f"{call} must {wanted}, but it raised {kind}: {error}"[:_SHOWN]
    if example.get("raises"):
        return f"{call} must raise {example['raises']}, but it gave {got!r}"[:_SHOWN]
    want = ast.literal_eval(example["want"])
    if _same(got, want):
        return ""
    return f"{call} must be {want!r}, but it gave {got!r}"[:_SHOWN]


def _same(got: object, want: object) -> bool:
    """Equal, floats as far as they are written, and no truth value for a number."""
    if isinstance(got, bool) != isinstance(want, bool):
        return False
    if isinstance(want, float) and isinstance(got, int | float):
        digits = len(repr(want).partition(".")[2])
        return abs(got - want) <= max(0.5 * 10.0**-digits, 1e-9 * abs(want)) * 1.000001
    return type(got) is type(want) and got == want


def main(order: dict[str, Any]) -> None:
    """Check the candidates of an order, one after the other."""
    print(json.dumps(check(**order)))
