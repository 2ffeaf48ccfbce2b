"""Decoded JSON, narrowed for the type checker."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

_TYPE_NAMES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "boolean",
    str: "string",
    int: "integer",
    float: "number",
    list: "array",
}
_SPELLINGS: Final = {
    "any": "string",
    "array": "array",
    "bool": "boolean",
    "boolean": "boolean",
    "dict": "object",
    "double": "number",
    "float": "number",
    "int": "integer",
    "integer": "integer",
    "list": "array",
    "long": "integer",
    "null": "null",
    "none": "null",
    "number": "number",
    "object": "object",
    "str": "string",
    "string": "string",
    "tuple": "array",
}


def json_type(name: object) -> str | None:
    """The JSON type of this name; type names of programming languages are taken, too. None: no such type."""
    return _SPELLINGS.get(name.lower()) if isinstance(name, str) else None


def is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a decoded JSON value is an object; its keys are strings then."""
    return isinstance(value, Mapping)


def is_array(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a decoded JSON value is an array."""
    return isinstance(value, list)


def type_name(value: object) -> str:
    """The JSON type of a decoded value."""
    return _TYPE_NAMES.get(type(value), "object")
