"""A tool's schema → a grammar of the arguments that fit it, in the dialect's own syntax.

The engine's own JSON-schema mode leaves white space free, and a weak model loops on it: 0 of 6 objects complete, where
a grammar without free white space and with numbers of at most 15 digits gave 10 of 10 (vLLM 0.32, Gemma 3 270M).
Whatever a promised grammar accepts, the schema accepts. Where a schema says what no grammar can keep (a pattern, unique
items), there is one of the rest: its arguments have to be judged when they have come.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.dialects.arguments import quote, read_json
from gateway.dialects.grammar import Chars, Marker, Named, Rule, Text, Times, either, optional, seq, text_without
from gateway.dialects.json_values import is_array, is_object, json_type, type_name
from gateway.dialects.literals import is_bare_key
from gateway.dialects.marked_render import value_text
from gateway.dialects.number_range import integers_between, numbers_between
from gateway.dialects.prompted_text import python_value, spaced_json

MAX_STRING_CHARS: Final = 2048
"""The longest `maxLength` that is written as a grammar."""
_MAX_ITEMS: Final = 1024
_MAX_NODES: Final = 2000
_MAX_DEPTH: Final = 12
_DIGITS: Final = 15
_UNPROMISED: Final = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "allOf",
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxProperties",
        "minProperties",
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
_NOTES: Final = frozenset(
    {"$comment", "$defs", "default", "definitions", "deprecated", "description", "examples", "title", "nullable"}
)
"""Keywords that say nothing about validity."""
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
    markers: tuple[str, ...] = ()
    """What a marked string must not hold."""

    @property
    def comma(self) -> str:
        """Between members and items."""
        return "," if self.notation == "marked" else ", "


@dataclass(frozen=True, slots=True)
class ArgumentsRule:
    """The members of a call's arguments, without the brackets around them."""

    rule: Rule
    promised: bool
    """Whatever it accepts, the schema accepts."""


class _NoPromiseError(Exception):
    """The schema says something that the grammar can't keep."""


def arguments_rule(schema: Mapping[str, Any], syntax: CallSyntax, prefix: str = "member") -> ArgumentsRule | None:
    """A grammar of the arguments, promised where it can be; None where not even their shape can be told.

    `prefix` begins the names of its rules: those of two schemas in one grammar must differ.
    """
    for promised in (True, False):
        compiler = _Compiler(schema, syntax, prefix, exact=promised)
        try:
            if not schema:
                return ArgumentsRule(Text(""), promised=True)
            node = compiler.resolved(schema)
            if node.get("type", "object") != "object":
                return None
            return ArgumentsRule(compiler.members(node, 0), promised)
        except _NoPromiseError:
            continue
    return None


class _Compiler:
    def __init__(self, root: Mapping[str, Any], syntax: CallSyntax, prefix: str, *, exact: bool) -> None:
        """`exact`: raises for what no grammar can keep; else that is left out."""
        self._root = root
        self._syntax = syntax
        self._prefix = prefix
        self._exact = exact
        self._quote = Marker(syntax.quote) if syntax.notation == "marked" else Text(syntax.quote)
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
            reference, parts = schema.get("$ref"), schema.get("allOf")
            plain = schema.keys() - _NOTES
            if isinstance(reference, str) and (plain == {"$ref"} or not self._exact):
                schema = self._referenced(reference)
            elif is_array(parts) and len(parts) == 1 and plain == {"allOf"}:
                schema = parts[0]
            elif reference is not None or (self._exact and not _UNPROMISED.isdisjoint(schema)):
                raise _NoPromiseError
            else:
                return schema
        raise _NoPromiseError

    def _referenced(self, reference: str) -> object:
        node: object = self._root
        if not (reference == "#" or reference.startswith("#/")) or "%" in reference:
            raise _NoPromiseError
        for step in reference.split("/")[1:]:
            node = node.get(step.replace("~1", "/").replace("~0", "~")) if is_object(node) else None
        return node

    def value(self, schema: object, depth: int) -> Rule:
        """One value."""
        if depth > _MAX_DEPTH:
            raise _NoPromiseError
        node = self.resolved(schema)
        if "const" in node or "enum" in node:
            return self._enum(node)
        union = node.get("anyOf") or (None if self._exact else node.get("oneOf"))
        if is_array(union):
            if self._exact and node.keys() - _NOTES - {"anyOf"}:
                raise _NoPromiseError
            return either([self.value(branch, depth + 1) for branch in union])
        declared = node.get("type")
        names: Sequence[object] = declared if is_array(declared) else [declared]
        types = [json_type(name) for name in names] if declared is not None else self._undeclared(node)
        return either([self._typed(kind, node, depth) for kind in types])

    @staticmethod
    def _undeclared(node: Mapping[str, Any]) -> list[str | None]:
        """What is written where the schema names no type."""
        if "properties" in node:
            return ["object"]
        return ["array"] if "items" in node or "prefixItems" in node else ["string", "number", "boolean", "null"]

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
                return self._object(node, depth)
            case _:
                raise _NoPromiseError

    def _literal(self, value: object) -> Rule:
        if is_array(value) or is_object(value):  # a reader types what is inside by the neighbouring branches as well
            raise _NoPromiseError
        raw = read_json(json.dumps(value))
        if raw is None:
            raise _NoPromiseError
        if isinstance(raw, str) and self._syntax.notation == "marked":
            if "<" in raw:
                raise _NoPromiseError
            return seq(self._quote, Text(raw), self._quote)
        if self._syntax.notation == "marked":
            return Text(value_text(raw, self._syntax.quote))
        return Text(python_value(raw) if self._syntax.notation == "python" else spaced_json(raw))

    def _enum(self, node: Mapping[str, Any]) -> Rule:
        values = [node["const"]] if "const" in node else node["enum"]
        bounded = not _BOUNDS.isdisjoint(node) or "anyOf" in node or ("const" in node and "enum" in node)
        if not is_array(values) or (bounded and self._exact):
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
        marked = self._syntax.notation == "marked"
        least, most = self._bounds(node, "minLength", "maxLength", MAX_STRING_CHARS)
        if most is None and marked:
            text = text_without(self._syntax.markers, least=least)
        else:
            text = Times(_MARKED_CHARACTER if marked else _JSON_CHARACTER, least, most)
        return seq(self._quote, text, self._quote)

    def _number(self, kind: str, node: Mapping[str, Any]) -> Rule:
        limits = [node.get(key) for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")]
        if all(limit is None for limit in limits):
            return _INTEGER if kind == "integer" else _NUMBER
        if not all(limit is None or (isinstance(limit, (int, float)) and abs(limit) < 10**_DIGITS) for limit in limits):
            raise _NoPromiseError
        between = integers_between if kind == "integer" else numbers_between
        rule = between(*limits, digits=_DIGITS)
        if rule is None:
            raise _NoPromiseError
        return rule

    def _array(self, node: Mapping[str, Any], depth: int) -> Rule:
        comma = Text(self._syntax.comma)
        first = node.get("prefixItems", [])
        if not is_array(first):
            raise _NoPromiseError
        least, most = self._bounds(node, "minItems", "maxItems", _MAX_ITEMS)
        if first:
            if self._exact and not least <= len(first) <= (len(first) if most is None else most):
                raise _NoPromiseError
            items = [self.value(item, depth + 1) for item in first]
            return seq(Text("["), items[0], *(seq(comma, item) for item in items[1:]), Text("]"))
        if most == 0 or node.get("items") is False:
            if least:
                raise _NoPromiseError
            return Text("[]")
        item = self.value(node.get("items", True), depth + 1)
        more = Times(seq(comma, item), max(least - 1, 0), None if most is None else most - 1)
        items_rule = item if most == 1 else seq(item, more)
        return seq(Text("["), items_rule if least else optional(items_rule), Text("]"))

    def _object(self, node: Mapping[str, Any], depth: int) -> Rule:
        """An object inside the arguments; without properties of its own it is a map with any keys."""
        extra = node.get("additionalProperties", True)
        if node.get("properties") or node.get("required") or extra is False:
            return seq(Text("{"), self.members(node, depth, inner=True), Text("}"))
        name = Chars("[a-zA-Z_]", 1, 1), Chars("[a-zA-Z0-9_]", 0, None)
        key = seq(*name, Text(":")) if self._syntax.notation == "marked" else seq(Text('"'), *name, Text('": '))
        member = seq(key, self.value(extra, depth + 1))
        return seq(Text("{"), optional(seq(member, Times(seq(Text(self._syntax.comma), member), 0, None))), Text("}"))

    def members(self, node: Mapping[str, Any], depth: int, *, inner: bool = False) -> Rule:
        """The members of an object in the order of the schema, required ones always, others or not."""
        properties = node.get("properties", {})
        required = node.get("required", [])
        if not is_object(properties) or not is_array(required):
            raise _NoPromiseError
        if not all(isinstance(name, str) and name in properties for name in required):
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

    def _bounds(self, node: Mapping[str, Any], low: str, high: str, cap: int) -> tuple[int, int | None]:
        """The least and the most; None: without end."""
        least, most = node.get(low, 0), node.get(high)
        if not isinstance(least, int) or least < 0 or least > cap:
            raise _NoPromiseError
        if most is None:
            return least, None
        if not isinstance(most, int) or most < least:
            raise _NoPromiseError
        if most > cap:
            if self._exact:
                raise _NoPromiseError
            return least, None
        return least, most
