"""Judging a call's arguments by the schema that the client gave its tool.

JSON Schema as its standard has it (the draft that `$schema` names, else 2020-12; `format` says nothing about
validity). The work is bounded: schemas have a size when all references are written out, patterns a limit of
backtracking, and nothing is ever fetched.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from jsonschema_rs import FancyRegexOptions, ReferencingError, ValidationError, validator_for

from gateway.dialects.json_values import is_array, is_object, json_type
from gateway.dialects.tool_set import DeclaredTool
from gateway.errors import InvalidRequest

_MAX_COST: Final = 50_000
"""Subschemas, those behind references as often as they are referred to."""
_MAX_DEPTH: Final = 100
_PATTERNS: Final = FancyRegexOptions(backtrack_limit=10_000)


class ArgumentCheck:
    """One tool's schema, compiled."""

    def __init__(self, tool: DeclaredTool, param: str) -> None:
        """Raises InvalidRequest, with `param`, for what is no JSON Schema or too much of one."""
        schema = dict(tool.parameters)
        if _Cost(schema).of(schema) > _MAX_COST:
            raise InvalidRequest(f"The schema of '{tool.name}' is too large to judge arguments by.", param=param)
        try:
            self._validator = _compiled(schema)
        except (ValidationError, ReferencingError, ValueError, RecursionError) as error:
            message = f"The schema of '{tool.name}' can't be used: {str(error).splitlines()[0][:200]}."
            raise InvalidRequest(message, param=param) from error

    def problem(self, arguments: str) -> str:
        """What the JSON text breaks, as place and keyword; empty when it fits."""
        try:
            value = json.loads(arguments)
            error = next(iter(self._validator.iter_errors(value)), None)
        except (ValueError, RecursionError):  # a number of thousands of digits, a nesting beyond all reason
            return "they can't be read"
        if error is None:
            return ""
        place = "".join(f"/{step}" for step in error.instance_path)
        return f"'{error.kind.name}' at '{place or '/'}'"


def _compiled(schema: dict[str, Any]) -> Any:
    """The validator. Type names of programming languages count as JSON's where the schema is no other use."""
    try:
        return validator_for(schema, offline=True, pattern_options=_PATTERNS)
    except ValidationError:
        translated = _with_json_types(schema)
        if translated == schema:
            raise
        return validator_for(translated, offline=True, pattern_options=_PATTERNS)


def _with_json_types(node: Any) -> Any:
    if is_array(node):
        return [_with_json_types(item) for item in node]
    if not is_object(node):
        return node
    return {
        key: (json_type(value) or value) if key == "type" and isinstance(value, str) else _with_json_types(value)
        for key, value in node.items()
    }


class _Cost:
    """Counts a schema's parts. A cycle counts once: the arguments' own depth bounds it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[str, int] = {}

    def of(self, node: object, depth: int = 0) -> int:
        """The cost of a part; more than `_MAX_COST` as soon as that is certain."""
        if depth > _MAX_DEPTH:
            return _MAX_COST + 1
        if is_array(node):
            return min(1 + sum(self.of(item, depth + 1) for item in node), _MAX_COST + 1)
        if not is_object(node):
            return 1
        cost = 1
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                cost += self._behind(value, depth)
            else:
                cost += self.of(value, depth + 1)
            if cost > _MAX_COST:
                break
        return cost

    def _behind(self, reference: str, depth: int) -> int:
        if reference not in self._known:
            self._known[reference] = 1
            node: object = self._root
            for step in reference.removeprefix("#").split("/")[1:]:
                node = node.get(step.replace("~1", "/").replace("~0", "~")) if is_object(node) else None
            self._known[reference] = self.of(node, depth + 1)
        return self._known[reference]
