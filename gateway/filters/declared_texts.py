"""The texts of tool declarations: a model reads them as it reads messages."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard

import msgspec

from gateway.errors import InvalidRequest
from gateway.filters.conversation import Screen
from gateway.wire.chat import Function, Tool

MAX_DEPTH: Final = 100
"""Levels of a schema that are read; deeper ones are refused."""
_STRUCTURE: Final = frozenset({"$ref", "$schema", "$id", "type", "format", "pattern"})
"""Keywords of JSON Schema whose values say nothing to the model, or must stay what they are."""


def screen_tools(tools: Sequence[Tool], screen: Screen) -> list[Tool]:
    """Return the tools with every text of their functions screened. Raises InvalidRequest for a schema too deep."""
    return [msgspec.structs.replace(tool, function=screen_function(tool.function, screen)) for tool in tools]


def screen_function(function: Function, screen: Screen) -> Function:
    """Return a function with its description and its schema's texts screened; its name stays."""
    parameters = function.parameters
    return msgspec.structs.replace(
        function,
        description=screen(function.description, "trusted") if function.description else function.description,
        parameters=None if parameters is None else _screen_object(parameters, screen, function.name, 1),
    )


def _screen_object(node: Mapping[str, Any], screen: Screen, tool: str, depth: int) -> dict[str, Any]:
    """Names of properties are screened wherever they stand, so that `required` still names them."""
    return {
        screen(name, "trusted") if name else name: value
        if name in _STRUCTURE and isinstance(value, str)
        else _screen_value(value, screen, tool, depth)
        for name, value in node.items()
    }


def _screen_value(value: object, screen: Screen, tool: str, depth: int) -> object:
    if isinstance(value, str):
        return screen(value, "trusted") if value else value
    if depth > MAX_DEPTH and isinstance(value, list | dict):
        raise InvalidRequest(f"The schema of '{tool}' is nested more than {MAX_DEPTH} deep.", param="tools")
    if _is_array(value):
        return [_screen_value(item, screen, tool, depth + 1) for item in value]
    if _is_object(value):
        return _screen_object(value, screen, tool, depth + 1)
    return value


def _is_array(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)
