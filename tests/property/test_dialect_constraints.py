"""Whatever a constraint accepts is a call whose arguments the tool's schema accepts."""

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.constraints import CallSyntax, arguments_rule
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.grammar import Anything, Chars, Either, Marker, Named, Rule, Seq, Text, Times, ebnf
from gateway.dialects.marked_syntax import FUNCTIONGEMMA, GEMMA_4
from gateway.dialects.number_range import integers_between, numbers_between
from gateway.dialects.registry import dialect_for
from gateway.values import DialectName, Family, Variant
from gateway.wire.chat import ChatRequest
from tests.support.replies import ids, read_reply

FAMILIES: dict[DialectName, Family] = {
    "gemma3-python": "gemma3",
    "gemma3-json": "gemma3",
    "gemma3-toolcode": "gemma3",
    "gemma3-functioncall": "gemma3",
    "functiongemma": "functiongemma",
    "gemma4": "gemma4",
}
SYNTAXES: dict[DialectName, CallSyntax] = {
    "gemma3-python": CallSyntax("python"),
    "gemma3-json": CallSyntax("json"),
    "gemma3-toolcode": CallSyntax("python"),
    "gemma3-functioncall": CallSyntax("line"),
    "functiongemma": CallSyntax("marked", "<escape>", FUNCTIONGEMMA.markers),
    "gemma4": CallSyntax("marked", '<|"|>', GEMMA_4.markers),
}
CLOSINGS: dict[DialectName, str] = {
    "gemma3-python": ")]",
    "gemma3-json": "}}",
    "gemma3-toolcode": ")\n```",
    "gemma3-functioncall": ")",
    "functiongemma": "}<end_function_call>",
    "gemma4": "}<tool_call|>",
}


def accepted(rule: Rule) -> st.SearchStrategy[str]:  # noqa: PLR0911 - one for each kind of rule
    """Texts that the rule lets through."""
    match rule:
        case Text() | Marker():
            return st.just(rule.text)
        case Anything():
            return st.just("")
        case Chars():
            return st.lists(
                st.from_regex(rule.charset, fullmatch=True),
                min_size=rule.least,
                max_size=min(rule.most or 3, rule.least + 3),
            ).map("".join)
        case Seq():
            return st.tuples(*map(accepted, rule.parts)).map("".join)
        case Either():
            return st.one_of(*map(accepted, rule.options))
        case Times():
            most = min(rule.least + 3, rule.least + 3 if rule.most is None else rule.most)
            return st.lists(accepted(rule.rule), min_size=rule.least, max_size=most).map("".join)
        case Named():
            return accepted(rule.rule)


leaves = st.one_of(
    st.just({"type": "string"}),
    st.fixed_dictionaries({"type": st.just("string"), "minLength": st.integers(0, 3), "maxLength": st.integers(3, 5)}),
    st.sampled_from(
        (
            {"type": "boolean"},
            {"type": "null"},
            {"type": ["string", "null"]},
            {"type": "string", "nullable": True},
            {"type": "string", "format": "date"},
            {},
            True,
            {"type": "number"},
            {"type": "object"},
            {"type": "object", "additionalProperties": {"type": "integer"}},
            {"allOf": [{"type": "integer"}], "default": 1},
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        )
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(("integer", "number"))},
        optional={
            "minimum": st.integers(-300, 0),
            "maximum": st.integers(2, 12_345),
            "exclusiveMinimum": st.floats(-300, 0),
            "exclusiveMaximum": st.floats(2, 12_345),
        },
    ),
    st.fixed_dictionaries({"type": st.just("integer")}),
    st.lists(st.sampled_from(["a", "true", "x y", 'q"', "5"]), min_size=1, unique=True).map(
        lambda values: {"enum": values}
    ),
    st.sampled_from(({"enum": [1, "a", None, True]}, {"type": "integer", "enum": [1, 2.5, "x"]}, {"const": 1.5})),
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Object schemas with some of their properties required."""
    properties = st.dictionaries(st.sampled_from(["a", "b", "city", "Z"]), inner, max_size=4)
    return properties.flatmap(
        lambda known: st.fixed_dictionaries(
            {
                "type": st.just("object"),
                "properties": st.just(known),
                "required": st.lists(st.sampled_from(sorted(known)), unique=True) if known else st.just([]),
                "additionalProperties": st.just(False),
            }
        )
    )


schemas = objects(
    st.recursive(
        leaves,
        lambda inner: (
            objects(inner)
            | st.fixed_dictionaries({"type": st.just("array"), "items": inner, "minItems": st.integers(0, 2)})
            | st.lists(inner, min_size=1, max_size=2).map(lambda branches: {"anyOf": branches})
        ),
        max_leaves=4,
    )
)


@pytest.mark.parametrize("dialect", FAMILIES)
@settings(deadline=None, max_examples=(settings.default or settings()).max_examples // 2)
@given(data=st.data())
def test_what_is_accepted_is_valid(dialect: DialectName, data: st.DataObject) -> None:
    """Through the dialect's own parser, after the beginning that the prompt has."""
    schema = data.draw(schemas)
    arguments = arguments_rule(schema, SYNTAXES[dialect])
    assert arguments is not None
    assert arguments.promised
    rule = arguments.rule
    assert ebnf(rule).startswith("root ::= ")
    text = data.draw(accepted(rule)) + CLOSINGS[dialect]
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    request = msgspec.convert(
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [tool], "tool_choice": "required"},
        ChatRequest,
    )
    variant = Variant("v", FAMILIES[dialect], "chat", frozenset({"text"}), 8192, dialect)
    prepared = dialect_for(dialect).prepare(request, variant, MarkerGuard(FAMILIES[dialect]), ids())
    assert prepared.for_worker is not None
    assert "grammar" in str(prepared.for_worker({})["structured_outputs"])
    assert {"response_format", "structured_outputs"} <= prepared.withheld
    assert prepared.parser is not None
    reply = read_reply(prepared.parser(), [text])
    ((name, made),) = reply.calls
    assert (name, reply.content) == ("f", "")
    jsonschema.validate(json.loads(made), schema)


@settings(deadline=None, max_examples=(settings.default or settings()).max_examples // 2)
@given(st.integers(-5000, 5000), st.integers(0, 5000), st.data())
def test_integers_between_two_limits(low: int, span: int, data: st.DataObject) -> None:
    """All of them and no other."""
    rule = integers_between(low, low + span, None, None, digits=15)
    assert rule is not None
    assert low <= int(data.draw(accepted(rule))) <= low + span


limits = st.none() | st.integers(-50, 50) | st.floats(-50, 50).map(lambda value: round(value, 2))


@settings(deadline=None)
@given(limits, limits, limits, limits, st.data())
def test_numbers_between_limits(minimum: Any, maximum: Any, above: Any, below: Any, data: st.DataObject) -> None:
    """With a point or without, none breaks a limit."""
    rule = numbers_between(minimum, maximum, above, below, digits=15)
    if rule is None:
        return
    value = float(data.draw(accepted(rule)))
    assert minimum is None or value >= minimum
    assert maximum is None or value <= maximum
    assert above is None or value > above
    assert below is None or value < below


def test_numbers_between_zero_and_one_have_decimals() -> None:
    """However the limits are meant."""
    for limits in ((0, 1, None, None), (None, None, 0, 1), (-1, 0, None, None)):
        rule = numbers_between(*limits, digits=15)
        assert rule is not None
        assert '"."' in ebnf(rule)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "string", "pattern": "^a"}}},
        {"properties": {"a": {"not": {}}}},
        {"properties": {"a": {"type": "integer", "multipleOf": 3}}},
        {"properties": {"a": {"oneOf": [{"type": "integer"}, {"type": "number"}]}}},
        {"properties": {"a": {"type": "string", "maxLength": 100_000}}},
        {"properties": {"a": {"type": "array", "uniqueItems": True}}},
        {"minProperties": 1, "properties": {"a": {}}},
    ],
)
def test_what_cannot_be_promised_has_the_shape_of_the_rest(schema: dict[str, Any]) -> None:
    """A grammar that helps the model; what it makes has to be judged."""
    rule = arguments_rule(schema, CallSyntax("json"))
    assert rule is not None
    assert not rule.promised


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "integer", "minimum": 5, "maximum": 4}}},
        {"properties": {"a": {"type": "string", "minLength": 9999}}},
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"items": {"$ref": "#/$defs/a"}, "type": "array"}}},
        {"properties": {"a": {"$ref": "http://example.com/a"}}},
        {"properties": {"a": {"$ref": "#anchor"}}},
        {"properties": {}, "required": ["a"]},
        {"properties": {}, "required": [{}]},
        {"type": "array"},
        {"properties": {"a": {"enum": []}}},
        {"properties": {"a": {"type": "widget"}}},
    ],
)
def test_what_has_no_shape_is_no_grammar(schema: dict[str, Any]) -> None:
    """Rather than a promise that isn't kept."""
    assert arguments_rule(schema, CallSyntax("json")) is None
