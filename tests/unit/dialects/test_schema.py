"""What of a JSON Schema a declaration shows."""

from typing import Any

import pytest

from gateway.dialects.schema import declaration_of
from gateway.errors import InvalidRequest


def declared(**properties: Any) -> dict[str, Any]:
    """The declaration of an object schema's one property `p`."""
    node: dict[str, Any] = declaration_of({"type": "object", "properties": properties}, "p")["properties"]["p"]
    return node


def test_no_parameters_are_an_empty_object() -> None:
    """A declaration without a type has unbalanced braces in Gemma 4's template."""
    assert declaration_of(None, "p") == declaration_of({}, "p") == {"type": "object", "properties": {}}
    assert declaration_of({"properties": {}}, "p") == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "description": "d"}, {"type": "string", "description": "d"}),
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, {"type": "integer", "nullable": True}),
        (
            {"oneOf": [{"type": "integer"}, {"type": "string"}], "description": "d"},
            {"type": "integer", "description": "d Or: string."},
        ),
        ({"type": ["integer", "string"]}, {"type": "integer", "description": "Or: string."}),
        ({"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
        ({"enum": ["a", None]}, {"type": "string", "nullable": True, "enum": ["a"]}),
        ({"type": "integer", "enum": [1, 2]}, {"type": "integer", "description": "One of: 1, 2."}),
        ({"const": "x"}, {"type": "string", "enum": ["x"]}),
        ({"const": 5}, {"type": "integer", "description": "One of: 5."}),
        (True, {"type": "string", "description": "(any JSON value)"}),
        ({}, {"type": "string", "description": "(any JSON value)"}),
        ({"description": "d"}, {"type": "string", "description": "d (any JSON value)"}),
        (
            {"type": "integer", "default": 5, "minimum": 0, "maximum": 9},
            {"type": "integer", "description": "Default: 5. Minimum: 0. Maximum: 9."},
        ),
        (
            {"type": "string", "format": "date", "pattern": "^a$"},
            {"type": "string", "description": "Pattern: ^a$. Format: date."},
        ),
        ({"type": "array"}, {"type": "array", "items": {"type": "string", "description": "(any JSON value)"}}),
        ({"items": {"type": "number"}}, {"type": "array", "items": {"type": "number"}}),
        (
            {"type": "array", "prefixItems": [{"type": "number"}]},
            {"type": "array", "items": {"type": "number"}},
        ),
        (
            {"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": True}}]},
            {
                "type": "object",
                "properties": {
                    "a": {"type": "string"},
                    "b": {"type": "string", "description": "(any JSON value)"},
                },
                "required": ["a"],
            },
        ),
        ({"type": "null"}, {"type": "string", "nullable": True, "description": "Always null."}),
        ({"type": "dict"}, {"type": "object", "properties": {}}),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            {
                "type": "object",
                "properties": {},
                "description": "Any other keys, each with a value of type integer.",
            },
        ),
    ],
)
def test_what_the_template_would_lose_is_put_into_words(schema: Any, expected: dict[str, Any]) -> None:
    """Types and enums of strings stay, the rest goes to the description's end."""
    assert declared(p=schema) == expected


def test_references_are_inlined_and_cycles_cut() -> None:
    """A declaration can't refer to anything."""
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"$ref": "#/$defs/v"}}}
    schema = {"properties": {"p": {"$ref": "#/$defs/node"}}, "$defs": {"node": node, "v": {"type": "integer"}}}
    found = declaration_of(schema, "p")["properties"]["p"]
    assert found["properties"] == {"next": {"type": "object"}, "v": {"type": "integer"}}
    assert declaration_of({"properties": {"a": {"$ref": "#"}}}, "p")["type"] == "object"


def test_keys_are_sorted_and_odd_names_kept() -> None:
    """Parameters may be called like keywords."""
    properties = {name: {"type": "string"} for name in ("type", "required", "description", "properties", "a")}
    assert list(declaration_of({"properties": properties, "required": ["type", "a"]}, "p")["properties"]) == sorted(
        properties
    )


@pytest.mark.parametrize(
    ("schema", "param"),
    [
        ({"type": "array"}, "p"),
        ({"properties": {"a": 5}}, "p.properties.a"),
        ({"properties": {"a": {"type": "number", "properties": 1}, "b": {"type": "widget"}}}, "p.properties.b"),
        ({"properties": []}, "p"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "p.properties.a"),
        ({"properties": {"a": {"$ref": "http://x/y"}}}, "p.properties.a"),
        ({"properties": {"a": {"allOf": [1]}}}, "p.properties.a"),
    ],
)
def test_a_schema_that_cannot_be_used_is_named(schema: dict[str, Any], param: str) -> None:
    """A 400 with the place in the schema."""
    with pytest.raises(InvalidRequest) as caught:
        declaration_of(schema, "p")
    assert caught.value.param == param


def test_schemas_that_grow_without_end_are_refused() -> None:
    """References that double at each step."""
    defs = {f"d{n}": {"properties": {k: {"$ref": f"#/$defs/d{n + 1}"} for k in "abcdefgh"}} for n in range(12)}
    with pytest.raises(InvalidRequest):
        declaration_of({"properties": {"p": {"$ref": "#/$defs/d0"}}, "$defs": {**defs, "d12": {}}}, "p")
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(100):
        deep = {"type": "array", "items": deep}
    with pytest.raises(InvalidRequest):
        declaration_of({"properties": {"p": deep}}, "p")
