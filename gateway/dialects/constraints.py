"""A tool's schema → a grammar of the arguments that fit it, in the dialect's own syntax.

The engine's own JSON-schema mode leaves white space free, and a weak model loops on it: 0 of 6 objects complete, where
a grammar without free white space, with bounded strings and numbers of at most 15 digits, gave 10 of 10 (vLLM 0.32,
Gemma 3 270M). Whatever the grammar accepts, the schema accepts; what can't be promised is no grammar: `None`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.dialects.arguments import quote, read_json
from gateway.dialects.grammar import Chars, Named, Rule, Text, Times, either, optional, seq
from gateway.dialects.integer_range import integers_between
from gateway.dialects.json_values import is_array, is_object, json_type, type_name
from gateway.dialects.literals import is_bare_key
from gateway.dialects.marked_render import value_text
from gateway.dialects.prompted_text import python_value, spaced_json

MAX_STRING_CHARS: Final = 2048
_MAX_ITEMS: Final = 64
_MAX_NODES: Final = 2000
_MAX_DEPTH: Final = 12
_DIGITS: Final = 15
_UNPROMISED: Final = frozenset(
    {
        "$dynamicRef",
        "allOf",
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "format",
        "if",
        "multipleOf",
        "not",
        "oneOf",
        "pattern",
        "patternProperties",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
"""Keywords that a grammar of this kind can't keep."""
_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"})
_JSON_CHARACTER: Final = either([Chars(r'[^"\\\x00-\x1f\x7f]', 1, 1), seq(Text("\\"), Chars(r'["\\nt]', 1, 1))])
_MARKED_CHARACTER: Final = either([Chars(r"[^<\x0a]", 1, 1), Text("\n")])
"""Anything that can begin no marker. Two alternatives on purpose: xgrammar compiles a bounded repetition of one class
in a minute for 262,144 tokens, one of alternatives in no time (the version of vLLM 0.32, measured)."""
_INTEGER: Final = seq(
    optional(Text("-")), either([Text("0"), seq(Chars("[1-9]", 1, 1), Chars("[0-9]", 0, _DIGITS - 1))])
)
_NUMBER: Final = seq(_INTEGER, optional(seq(Text("."), Chars("[0-9]", 1, 6))))


Notation = Literal["json", "python", "line", "marked"]
"""`python` and `line` have keywords for the arguments themselves; inside, `line` is JSON."""


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """How a dialect writes arguments."""

    notation: Notation
    quote: str = '"'
    """Stands around strings."""

    @property
    def comma(self) -> str:
        """Between members and items."""
        return "," if self.notation == "marked" else ", "


class _NoPromiseError(Exception):
    """The schema says something that the grammar can't keep."""


def arguments_rule(schema: Mapping[str, Any], syntax: CallSyntax, prefix: str = "member") -> Rule | None:
    """The members of the arguments, without the brackets around them; None if the schema can't be promised.

    `prefix` begins the names of its rules: those of two schemas in one grammar must differ.
    """
    compiler = _Compiler(schema, syntax, prefix)
    try:
        if not schema:
            return Text("")
        node = compiler.resolved(schema)
        if node.get("type", "object") != "object":
            return None
        return compiler.members(node, 0)
    except _NoPromiseError:
        return None


class _Compiler:
    def __init__(self, root: Mapping[str, Any], syntax: CallSyntax, prefix: str) -> None:
        self._root = root
        self._syntax = syntax
        self._prefix = prefix
        self._nodes = 0
        self._members = 0

    def resolved(self, schema: object) -> Mapping[str, Any]:
        """The schema behind references. Raises when it uses what can't be promised."""
        self._nodes += 1
        for _ in range(_MAX_DEPTH):
            if schema is True:
                return {}
            if not is_object(schema) or self._nodes > _MAX_NODES:
                raise _NoPromiseError
            if not _UNPROMISED.isdisjoint(schema):
                raise _NoPromiseError
            reference = schema.get("$ref")
            if reference is None:
                return schema
            if len(schema.keys() - {"$ref", "description", "title", "$defs", "definitions"}) or not isinstance(
                reference, str
            ):
                raise _NoPromiseError
            schema = self._referenced(reference)
        raise _NoPromiseError

    def _referenced(self, reference: str) -> object:
        node: object = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            node = node.get(step.replace("~1", "/").replace("~0", "~")) if is_object(node) else None
        return node

    def value(self, schema: object, depth: int) -> Rule:
        """One value."""
        if depth > _MAX_DEPTH:
            raise _NoPromiseError
        node = self.resolved(schema)
        if "const" in node or "enum" in node:
            return self._enum(node)
        union = node.get("anyOf")
        if is_array(union):
            if node.keys() - {"anyOf", "description", "title", "default", "examples"}:
                raise _NoPromiseError
            return either([self.value(branch, depth + 1) for branch in union])
        declared = node.get("type")
        names: Sequence[object] = declared if is_array(declared) else [declared]
        types = [json_type(name) for name in names] if declared is not None else ["string", "number", "boolean", "null"]
        if node.get("nullable") is True:
            types.append("null")
        return either([self._typed(kind, node, depth) for kind in types])

    def _typed(self, kind: str | None, node: Mapping[str, Any], depth: int) -> Rule:
        match kind:
            case "string":
                return self._string(node)
            case "integer" | "number":
                return self._number(kind, node)
            case "boolean":
                return either([self._literal(True), self._literal(False)])
            case "null":
                return self._literal(None)
            case "array":
                return self._array(node, depth)
            case "object":
                return seq(Text("{"), self.members(node, depth, inner=True), Text("}"))
            case _:
                raise _NoPromiseError

    def _literal(self, value: object) -> Rule:
        if is_array(value) or is_object(value):  # a reader types what is inside by the neighbouring branches as well
            raise _NoPromiseError
        raw = read_json(json.dumps(value))
        if raw is None:
            raise _NoPromiseError
        if self._syntax.notation == "marked":
            text = value_text(raw, self._syntax.quote)
            if "<" in text.replace(self._syntax.quote, ""):
                raise _NoPromiseError
            return Text(text)
        return Text(python_value(raw) if self._syntax.notation == "python" else spaced_json(raw))

    def _enum(self, node: Mapping[str, Any]) -> Rule:
        values = [node["const"]] if "const" in node else node["enum"]
        if not is_array(values) or not _BOUNDS.isdisjoint(node):
            raise _NoPromiseError
        declared = node.get("type")
        if declared is not None:
            names = {json_type(name) for name in (declared if is_array(declared) else [declared])}
            names |= {"integer"} if "number" in names else set()
            values = [value for value in values if type_name(value) in names]
        if not values:
            raise _NoPromiseError
        return either([self._literal(value) for value in values])

    def _string(self, node: Mapping[str, Any]) -> Rule:
        least, most = _bounds(node, "minLength", "maxLength", MAX_STRING_CHARS)
        character = _MARKED_CHARACTER if self._syntax.notation == "marked" else _JSON_CHARACTER
        return seq(Text(self._syntax.quote), Times(character, least, most), Text(self._syntax.quote))

    def _number(self, kind: str, node: Mapping[str, Any]) -> Rule:
        limits = [node.get(key) for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")]
        if all(limit is None for limit in limits):
            return _INTEGER if kind == "integer" else _NUMBER
        rule = integers_between(*limits, digits=_DIGITS)
        if rule is None:
            raise _NoPromiseError
        return rule

    def _array(self, node: Mapping[str, Any], depth: int) -> Rule:
        if "prefixItems" in node:
            raise _NoPromiseError
        least, most = _bounds(node, "minItems", "maxItems", _MAX_ITEMS)
        if most == 0:
            return Text("[]")
        item = self.value(node.get("items", True), depth + 1)
        more = Times(seq(Text(self._syntax.comma), item), max(least - 1, 0), most - 1)
        items = seq(item, more) if most > 1 else item
        return seq(Text("["), items if least else optional(items), Text("]"))

    def members(self, node: Mapping[str, Any], depth: int, *, inner: bool = False) -> Rule:
        """The members of an object in the order of the schema, required ones always, others or not."""
        properties = node.get("properties", {})
        required = node.get("required", [])
        if not is_object(properties) or not is_array(required) or not set(required) <= properties.keys():
            raise _NoPromiseError
        if "minProperties" in node or "maxProperties" in node:
            raise _NoPromiseError
        names = sorted(properties, key=str.lower) if self._syntax.notation == "marked" else list(properties)
        written = [self._member(name, properties[name], depth, inner=inner) for name in names]
        comma = Text(self._syntax.comma)
        # from the last member to the first: `after` follows another member, `first` has nothing before it
        after: Rule = Text("")
        first: Rule = Text("")
        for name, member in zip(reversed(names), reversed(written), strict=True):
            self._nodes += len(names)
            if self._nodes > _MAX_NODES:
                raise _NoPromiseError
            must = name in required
            first = seq(member, after) if must else either([seq(member, after), first])
            after = seq(seq(comma, member) if must else optional(seq(comma, member)), after)
        return first

    def _member(self, name: str, schema: object, depth: int, *, inner: bool) -> Rule:
        self._members += 1
        rule_name = f"{self._prefix}{self._members}"
        return Named(rule_name, self._key_and_value(name, self.value(schema, depth + 1), inner=inner))

    def _key_and_value(self, name: str, value: Rule, *, inner: bool) -> Rule:
        notation = self._syntax.notation
        if notation == "marked" and name.replace("-", "_").replace(".", "_").isidentifier():
            return seq(Text(f"{name}:"), value)
        if notation in {"python", "line"} and not inner and is_bare_key(name):
            return seq(Text(f"{name}="), value)
        if notation == "json" or (notation != "marked" and inner):
            return seq(Text(f"{quote(name)}: "), value)
        raise _NoPromiseError


def _bounds(node: Mapping[str, Any], low: str, high: str, cap: int) -> tuple[int, int]:
    least, most = node.get(low, 0), node.get(high, cap)
    if not isinstance(least, int) or not isinstance(most, int) or not 0 <= least <= min(most, cap):
        raise _NoPromiseError
    return least, min(most, cap)
