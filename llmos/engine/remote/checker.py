"""Whether an answer keeps a constraint, by llguidance over its bytes.

Knows no server. Imports llguidance: import it only when there is a constraint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import cast

import llguidance

from llmos.engine.grammar import to_grammar, unusable
from llmos.messages import Constraint, JsonSchema


class Checker:
    """Tells whether an answer keeps a constraint.

    Of a JSON schema, keywords that llguidance does not know are passed over, and the order of an object's fields is
    free.

    Raises:
        ConstraintError: The constraint is malformed or can't be satisfied.
    """

    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint
        self._matcher = llguidance.LLMatcher(_tokenizer(), to_grammar(constraint, lenient=True), log_level=0)
        if self._matcher.is_error():
            raise unusable(constraint, self._matcher.get_error())

    def accepts(self, text: str) -> bool:
        """Whether a whole answer keeps it."""
        if not isinstance(self._constraint, JsonSchema):
            return self._matches(text)
        try:
            value: object = json.loads(text)
            return self._matches(text) or self._matches(self._ordered(value))
        except (ValueError, RecursionError):
            return False

    def _matches(self, text: str) -> bool:
        data = list(text.encode("utf-8", "replace"))
        matcher = self._matcher.deep_copy()
        return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()

    def _ordered(self, value: object) -> str:
        order = {name: place for place, name in enumerate(_field_names(cast("JsonSchema", self._constraint).schema))}
        return json.dumps(_sorted(value, order), ensure_ascii=False)


@cache
def _tokenizer() -> llguidance.LLTokenizer:
    return llguidance.LLTokenizer("byte")


def _field_names(schema: object) -> list[str]:
    """The names in every `properties` of a schema, in their order."""
    names = list[str]()
    if isinstance(schema, Mapping):
        table = cast("Mapping[str, object]", schema)
        properties = table.get("properties")
        if isinstance(properties, Mapping):
            names += cast("Mapping[str, object]", properties).keys()
        for part in table.values():
            names += _field_names(part)
    elif isinstance(schema, list | tuple):
        for part in cast("list[object]", schema):
            names += _field_names(part)
    return list(dict.fromkeys(names))


def _sorted(value: object, order: Mapping[str, int]) -> object:
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        names = sorted(table, key=lambda name: order.get(name, len(order)))
        return {name: _sorted(table[name], order) for name in names}
    if isinstance(value, list):
        return [_sorted(item, order) for item in cast("list[object]", value)]
    return value
