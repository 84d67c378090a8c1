"""Constraints in llguidance's own terms, for engines that decode under them and for those that only check.

Imports llguidance: import it only where there is a constraint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import assert_never

import llguidance

from llmos.errors import ConstraintError
from llmos.messages import Choices, Constraint, Grammar, JsonSchema, Regex

NAMES: Mapping[str, str] = {
    "json_schema": "JSON schema",
    "regex": "regular expression",
    "choices": "list of choices",
    "grammar": "grammar",
}
"""What people call each kind of constraint."""

_HINTS: Mapping[str, str] = {
    "json_schema": "Correct it; llguidance's documentation lists what of JSON schema it supports.",
    "regex": "Correct it: it is in the syntax of Rust's regex crate, which has no look-around and no back-references.",
    "choices": "Every choice is a text of its own, and none is empty.",
    "grammar": "Correct it: it is in llguidance's dialect of Lark.",
}
_LOOSEN: Mapping[str, str] = {
    "json_schema": "Loosen the schema, or bound its strings and arrays.",
    "regex": "Loosen the expression: some part of it matches no text.",
    "choices": "Shorten the choices, or give fewer.",
    "grammar": "Loosen the grammar: some rule of it derives no text.",
}
_WRAPPED = re.compile(r"(?s)^at \d+\(\d+\): invalid regex .*?regex parse error:\n|\n *\d+ \| start: .*$")
"""What llguidance puts around a complaint about a regular expression: it makes a grammar of it first."""


def unusable(constraint: Constraint, said: object) -> ConstraintError:
    """The error of a constraint that is malformed, unsupported or contradictory.

    Args:
        said: llguidance's complaint.
    """
    text = str(said).strip()
    if isinstance(constraint, Regex):
        text = _WRAPPED.sub("", text).rstrip()
        text = f"\n{text}" if text.startswith(" ") else text  # the expression, and below it where it goes wrong
    return ConstraintError(
        f"The {NAMES[constraint.kind]} can't be used: {text}".replace(": \n", ":\n"), hint=_HINTS[constraint.kind]
    )


def stuck(constraint: Constraint, said: str) -> ConstraintError:
    """The error of a constraint under which an answer can't go on."""
    return ConstraintError(
        f"Nothing can follow under this {NAMES[constraint.kind]}: {said.strip() or 'it is contradictory'}.",
        hint=_LOOSEN[constraint.kind],
    )


def to_grammar(constraint: Constraint, *, whitespace_flexible: bool = True, lenient: bool = False) -> str:
    """A constraint as llguidance takes it.

    Args:
        whitespace_flexible: Allow white space between the parts of JSON.
        lenient: Pass over keywords of a JSON schema that llguidance does not know.

    Raises:
        ConstraintError: It is empty or can't be written as JSON.
    """
    match constraint:
        case JsonSchema(schema):
            try:
                return llguidance.LLMatcher.grammar_from_json_schema(
                    json.dumps(schema, default=dict),
                    overrides={"whitespace_flexible": whitespace_flexible, "lenient": lenient},
                )
            except (TypeError, ValueError) as error:
                raise unusable(constraint, error) from error
        case Regex(pattern):
            return llguidance.LLMatcher.grammar_from_regex(pattern)
        case Choices(options):
            if not options or not all(options):
                raise ConstraintError("A choice needs at least one option and no empty ones.", hint=_HINTS["choices"])
            strings = " | ".join(json.dumps(option, ensure_ascii=False) for option in options)
            return llguidance.LLMatcher.grammar_from_lark(f"start: {strings}")
        case Grammar(lark):
            return llguidance.LLMatcher.grammar_from_lark(lark)
        case _:
            assert_never(constraint)
