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


def is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a decoded JSON value is an object; its keys are strings then."""
    return isinstance(value, Mapping)


def is_array(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a decoded JSON value is an array."""
    return isinstance(value, list)


def type_name(value: object) -> str:
    """The JSON type of a decoded value."""
    return _TYPE_NAMES.get(type(value), "object")
