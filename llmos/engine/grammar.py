"""Constraints in llguidance's own terms, for engines that decode under them and for those that only check.

Imports llguidance: import it only where there is a constraint.
"""

from __future__ import annotations

import json
from typing import assert_never

import llguidance

from llmos.errors import ConstraintError
from llmos.messages import Choices, Constraint, Grammar, JsonSchema, Regex


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
                raise ConstraintError(f"The JSON schema can't be used: {error}.") from error
        case Regex(pattern):
            return llguidance.LLMatcher.grammar_from_regex(pattern)
        case Choices(options):
            if not options or not all(options):
                raise ConstraintError("A choice needs at least one option and no empty ones.")
            strings = " | ".join(json.dumps(option, ensure_ascii=False) for option in options)
            return llguidance.LLMatcher.grammar_from_lark(f"start: {strings}")
        case Grammar(lark):
            return llguidance.LLMatcher.grammar_from_lark(lark)
        case _:
            assert_never(constraint)
