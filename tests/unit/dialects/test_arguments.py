"""Arguments are typed by the schema, and never invented."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.arguments import Bare, conforms, read_json, to_json
from gateway.dialects.schema_view import SchemaView


def view(*types: str, **more: Any) -> SchemaView:
    return SchemaView.of({"type": list(types), **more} if types else more)


@pytest.mark.parametrize(
    ("text", "schema", "expected"),
    [
        ("02139", view(), '"02139"'),
        ("02139", view("string"), '"02139"'),
        ("5", view("string"), '"5"'),
        ("5", view(), "5"),
        ("1.0", view(), "1.0"),
        ("TRUE", view(), "true"),
        ("None", view(), "null"),
        ("None", view("string"), '"None"'),
        ("undefined", view("integer", "null"), "null"),
        ("undefined", view("integer"), '"undefined"'),
        ("null", view("integer"), "null"),
        ("None", view("boolean"), "null"),
        ("null", view("string", "integer"), '"null"'),
        ("None", view("string", default=None), "null"),
        ("x", view("string", default=None), '"x"'),
        ("5.0", view("integer"), "5"),
        ("5.5", view("integer"), '"5.5"'),
        ("5", view("number"), "5"),
        ("yes", view("boolean"), '"yes"'),
        ("5", view("string", "integer"), "5"),
        ("x", view("string", "integer"), '"x"'),
        ("true", view(enum=["true", "false"]), '"true"'),
        ("1", view(const=1), "1"),
        ("9007199254740993", view("integer"), "9007199254740993"),
    ],
)
def test_bare_leaves(text: str, schema: SchemaView, expected: str) -> None:
    """A literal where the schema allows one, else a string."""
    assert to_json(Bare(text), schema) == expected


@pytest.mark.parametrize(
    ("text", "schema", "expected"),
    [
        ("5", view(), '"5"'),
        ("5", view("string"), '"5"'),
        ("5", view("integer"), "5"),
        (" 5 ", view("integer"), "5"),
        ("five", view("integer"), '"five"'),
        ("true", view("boolean"), "true"),
        ("null", view("integer", "null"), "null"),
        ('{"a": 5}', view("object"), '{"a":5}'),
        ("[1, 2]", view("array"), "[1,2]"),
        ("[1, 2]", view("object"), '"[1, 2]"'),
        ("[1, 2]", view("string", "array"), '"[1, 2]"'),
        ("{bad", view("object"), '"{bad"'),
        ("\ud800", view(), '"\\ud800"'),
    ],
)
def test_delimited_leaves(text: str, schema: SchemaView, expected: str) -> None:
    """A string, unless the schema wants something else and the text is that."""
    assert to_json(text, schema) == expected


def test_types_are_found_inside() -> None:
    """Through properties, items, references and unions."""
    schema: dict[str, Any] = {
        "properties": {
            "a": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]},
            "l": {"items": {"type": "integer"}},
            "t": {"prefixItems": [{"type": "integer"}, {"type": "string"}]},
            "n": {"type": "string", "nullable": True},
        },
        "additionalProperties": {"type": "boolean"},
        "$defs": {"n": {"type": "object", "properties": {"x": {"type": "number"}}}},
    }
    raw = {"a": {"x": "1"}, "l": ["2", Bare("3.0")], "t": ["4", Bare("5")], "n": Bare("null"), "z": "true"}
    expected = '{"a":{"x":1},"l":[2,3],"t":[4,"5"],"n":null,"z":true}'
    assert to_json(raw, SchemaView.of(schema)) == expected  # type: ignore[arg-type]


def test_cycles_of_references_end() -> None:
    """A schema may refer to itself."""
    cyclic = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}}
    assert SchemaView.of(cyclic).allows("string")


@pytest.mark.parametrize("text", ["{", "NaN", "[Infinity]", "", "[" * 100_000, "[" * 70 + "]" * 70, "nul"])
def test_what_is_no_json_is_none(text: str) -> None:
    """Nor what nests too deeply."""
    assert read_json(text) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=4), lambda x: st.lists(x, max_size=3)))
def test_json_survives(value: Any) -> None:
    """Reading and writing without a schema changes nothing."""
    import json

    raw = read_json(json.dumps(value))
    assert raw is not None
    assert json.loads(to_json(raw, SchemaView.of(None))) == value


def test_conforming() -> None:
    """What repairs are chosen by."""
    schema = SchemaView.of({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    assert conforms({"a": Bare("1")}, schema)
    assert not conforms({"a": "1"}, schema)
    assert not conforms({}, schema)
    assert not conforms({"a": Bare("1"), "b": Bare("2")}, schema)
    assert not conforms([Bare("1")], schema)
