"""Arguments of a call: what the model wrote, typed by the tool's schema, as compact JSON text.

A leaf is *delimited* (the model put it in quotes of its dialect) or *bare*. A delimited leaf stays a string unless the
schema wants something else; a bare one is a literal unless the schema wants a string. Digits are copied, never
converted: 9007199254740993 and 1.0 leave as they came.
"""

import json
import re
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Final

from gateway.dialects.events import MAX_NESTING
from gateway.dialects.json_values import is_array, is_object
from gateway.dialects.schema_view import SchemaView

_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WHOLE_FLOAT: Final = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_LITERALS: Final = {"true": "boolean", "false": "boolean", "null": "null"}
_SPELLINGS: Final = {"none": "null", "nil": "null", "undefined": "null"}
_NULLS: Final = frozenset({"null", "None"})
"""Null in the grammars of JSON and Python, not a slip of the pen."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Bare:
    """A scalar without delimiters, as written."""

    text: str


Raw = str | Bare | list["Raw"] | dict[str, "Raw"]
"""What a dialect's reader found: delimited strings, bare scalars, arrays, objects."""


def to_json(raw: Raw, view: SchemaView) -> str:
    """JSON text of `raw`, every leaf typed by `view`."""
    match raw:
        case Bare():
            return bare_json(raw.text, view)
        case str():
            return string_json(raw, view)
        case list():
            return "[" + ",".join([to_json(item, view.item(index)) for index, item in enumerate(raw)]) + "]"
        case dict():
            members = [f"{quote(key)}:{to_json(value, view.member(key))}" for key, value in raw.items()]
            return "{" + ",".join(members) + "}"


def quote(text: str) -> str:
    """A JSON string. Lone surrogates, which UTF-8 has no bytes for, are escaped."""
    encoded = encode_basestring(text)
    return encoded if encoded.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", encoded)


def string_json(text: str, view: SchemaView) -> str:
    """JSON text of a delimited leaf: a string, unless the schema allows none and the text is of an allowed type."""
    if "string" in view.types:
        return quote(text)
    stripped = text.strip()
    scalar = _scalar(stripped, view)
    if scalar is not None:
        return scalar
    if stripped[:1] in ("{", "["):
        value = read_json(stripped)
        if value is not None and view.allows("object" if isinstance(value, dict) else "array"):
            return to_json(value, view)
    return quote(text)


def bare_json(text: str, view: SchemaView) -> str:
    """JSON text of a bare leaf: a literal or number as written if the schema allows one, else a string.

    A null that the schema doesn't allow stays null where it allows no string either: no type makes it right.
    """
    if view.any_type:
        return text if is_number(text) else spelled_literal(text) or quote(text)
    if view.string_only:
        return quote(text)
    scalar = _scalar(text, view)
    if scalar is None and text in _NULLS and "string" not in view.types:
        return "null"
    return quote(text) if scalar is None else scalar


def _scalar(text: str, view: SchemaView) -> str | None:
    """`text` as a literal or number of a type that `view` allows."""
    literal = spelled_literal(text)
    if literal is not None:
        return literal if view.allows(_LITERALS[literal]) else None
    if not is_number(text):
        return None
    if "number" in view.types:
        return text
    if "integer" in view.types:
        whole = _WHOLE_FLOAT.fullmatch(text)
        if whole:
            return whole[1]
        return text if text.lstrip("-").isdigit() else None
    return None


def is_number(text: str) -> bool:
    """Whether `text` is a number in JSON's grammar; `02139` is not."""
    return _NUMBER.fullmatch(text) is not None


def spelled_literal(text: str) -> str | None:
    """`true`, `false` or `null` for any of the spellings models use."""
    if len(text) > len("undefined"):
        return None
    lower = text.lower()
    lower = _SPELLINGS.get(lower, lower)
    return lower if lower in _LITERALS else None


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def read_json(text: str) -> Raw | None:
    """Strict JSON as raw values; None when it isn't JSON or nests too deeply. Duplicate keys: the last wins."""
    try:
        value: object = json.loads(text, parse_float=Bare, parse_int=Bare, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return _from_decoded(value, 0)


def _from_decoded(value: object, depth: int) -> Raw | None:
    if isinstance(value, (str, Bare)):
        return value
    if depth >= MAX_NESTING:
        return None
    if is_array(value):
        items = [_from_decoded(item, depth + 1) for item in value]
        return None if None in items else [item for item in items if item is not None]
    if is_object(value):
        members = {key: _from_decoded(member, depth + 1) for key, member in value.items()}
        return None if None in members.values() else {key: raw for key, raw in members.items() if raw is not None}
    return Bare("null" if value is None else "true" if value is True else "false")


def conforms(raw: Raw, view: SchemaView) -> bool:
    """Whether every value is of an allowed type and nothing required or undeclared sticks out: for choosing repairs."""
    match raw:
        case list():
            return view.allows("array") and all(conforms(item, view.item(index)) for index, item in enumerate(raw))
        case dict():
            if not view.allows("object"):
                return False
            known = view.keys
            if any(name not in raw for name in view.required) or (known and any(key not in known for key in raw)):
                return False
            return all(conforms(value, view.member(key)) for key, value in raw.items())
        case str():
            return view.allows("string")
        case Bare():
            kind = _LITERALS.get(raw.text) or ("integer" if raw.text.lstrip("-").isdigit() else "number")
            return view.allows(kind)
