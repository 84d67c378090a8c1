"""What is made of a server's schema: something that constrained decoding takes, whatever it was."""

from __future__ import annotations

import json
from typing import Any

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.engine.grammar import to_grammar
from llmos.errors import BadArguments
from llmos.messages import JsonSchema
from llmos.tools.mcp.schema import Arguments, Unusable


def shown(properties: object, **more: object) -> dict[str, Any]:
    found: dict[str, Any] = Arguments("tool", {"type": "object", "properties": properties, **more}).shown["properties"]
    return found


def is_decodable(schema: dict[str, Any]) -> bool:
    return not llguidance.LLMatcher.validate_grammar(to_grammar(JsonSchema(schema)))


def test_what_a_model_can_be_held_to_stays() -> None:
    given = {
        "city": {"type": "string", "description": "Where.", "maxLength": 40},
        "unit": {"enum": ["C", "F"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "when": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 3},
    }
    assert shown(given) == given


def test_texts_and_lists_without_a_bound_get_one_in_what_the_model_sees_only() -> None:
    arguments = Arguments("tool", {"properties": {"text": {"type": "string"}, "all": {"type": "array"}}})
    assert arguments.shown["properties"] == {
        "text": {"type": "string", "maxLength": 500},
        "all": {"type": "array", "maxItems": 20},
    }
    assert arguments.check({"text": "x" * 5000})


def test_an_optional_value_is_left_out_and_never_null() -> None:
    given = {
        "a": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "b": {"type": ["boolean", "null"]},
    }
    assert shown(given) == {"a": {"type": "integer"}, "b": {"type": "boolean"}}
    assert shown({"b": {"type": ["boolean", "null"]}}, required=["b"]) == {"b": {"type": ["boolean", "null"]}}


def test_references_are_written_out_and_those_to_themselves_are_anything() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "name": {"type": "boolean"}}}
    found = shown({"first": {"$ref": "#/$defs/Node", "description": "The first."}}, **{"$defs": {"Node": node}})
    assert found == {
        "first": {
            "description": "The first.",
            "type": "object",
            "properties": {"next": {}, "name": {"type": "boolean"}},
        }
    }


def test_references_that_lead_out_are_not_followed() -> None:
    assert shown({"a": {"$ref": "http://127.0.0.1:9/schema"}, "b": {"$ref": "#/nowhere"}}) == {"a": {}, "b": {}}


def test_patterns_are_left_to_the_server_so_that_none_can_hang_us() -> None:
    arguments = Arguments("tool", {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}})
    assert arguments.check({"a": "a" * 40 + "!"})


UNUSABLE: list[tuple[Any, str]] = [
    ({"type": "array"}, "object"),
    (False, "object"),
    ({"properties": {str(n): {"description": "x" * 90} for n in range(1000)}}, "bytes"),
    ({"properties": {str(n): {} for n in range(3000)}}, "parts"),
    ({"properties": {"a": {"default": float("nan")}}}, "JSON"),
    ({"properties": {"to\u202e": {}}}, "argument named"),
    ({"properties": {"x" * 100: {}}}, "argument named"),
]


@pytest.mark.parametrize(("schema", "why"), UNUSABLE)
def test_what_no_tool_can_have_is_refused(schema: Any, why: str) -> None:  # noqa: ANN401
    with pytest.raises(Unusable, match=why):
        Arguments("tool", schema)


def test_references_that_would_fill_the_memory_are_refused() -> None:
    levels = {f"L{n}": {"properties": {key: {"$ref": f"#/$defs/L{n + 1}"} for key in "abcdefgh"}} for n in range(10)}
    with pytest.raises(Unusable, match="parts"):
        Arguments("tool", {"$ref": "#/$defs/L0", "$defs": levels})


def test_text_that_hides_is_written_as_escapes() -> None:
    assert shown({"a": {"description": "where\u202e \U000e0041\nto"}}) == {
        "a": {"description": "where\\u202e \\U000e0041 to"}
    }


def test_complaints_name_the_place() -> None:
    arguments = Arguments("tool", {"properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}}}}})
    with pytest.raises(BadArguments, match=r"a\.b: 'x' is not of type 'integer'.*It takes \(a\?: object\)"):
        arguments.check({"a": {"b": "x"}})
    with pytest.raises(BadArguments, match="not JSON"):
        arguments.check({"a": float("nan")})


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text(max_size=5))
KEYWORDS = st.sampled_from(
    [
        *(
            "type",
            "properties",
            "required",
            "items",
            "anyOf",
            "oneOf",
            "allOf",
            "not",
            "enum",
            "const",
            "format",
            "$ref",
        ),
        *("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "pattern", "description", "default"),
        *("additionalProperties", "exclusiveMinimum", "if", "then", "$defs", "uniqueItems", "patternProperties"),
    ]
)
VALUES = st.one_of(
    SCALARS,
    st.sampled_from(["string", "integer", "number", "object", "array", "boolean", "null", "#", "#/$defs/a", "email"]),
)
SCHEMAS = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.dictionaries(KEYWORDS, inner, max_size=5),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        st.lists(inner, max_size=3),
    ),
    max_leaves=30,
)


@given(SCHEMAS)
def test_whatever_comes_in_can_be_decoded_under_or_is_refused(schema: Any) -> None:  # noqa: ANN401
    try:
        arguments = Arguments("tool", {"type": "object", "properties": {"a": schema, "b": {"type": "string"}}})
    except Unusable:
        return
    properties: dict[str, dict[str, Any]] = arguments.shown["properties"]
    assert all(isinstance(part.get("description", ""), str) for part in properties.values())
    json.dumps(arguments.shown, allow_nan=False)
    assert is_decodable(arguments.shown)
    assert is_decodable({**arguments.shown, "required": sorted(properties)})
