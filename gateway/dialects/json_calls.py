"""Calls written as plain JSON: `{"name": …, "parameters": {…}}`, one or an array of them, in quotes of either kind."""

import re
from collections.abc import Sequence
from typing import Final

from gateway.dialects.arguments import Raw, read_json, to_json
from gateway.dialects.literals import LiteralReader, NotALiteral
from gateway.dialects.tool_set import DeclaredTool, ToolSet

Calls = Sequence[tuple[DeclaredTool, str]]
"""Tools and the JSON text of their arguments."""

_NAMES: Final = ("name", "function", "tool_name")
_ARGUMENTS: Final = ("parameters", "arguments", "args")
_CALLS_OWN: Final = frozenset({*_NAMES, *_ARGUMENTS, "id", "type"})
_DECLARES: Final = "description"
"""With this key an object tells of a tool: a model that is asked for its tools writes what it was shown."""
_FENCED: Final = re.compile(r"\s*```(?:[a-z_]+)?[ \t]*\n(.*?)\n?\s*```\s*", re.DOTALL)


def read_whole_json(text: str, tools: ToolSet) -> Calls | None:
    """The calls that `text` consists of, a fence around it aside; None when it is something else."""
    fenced = _FENCED.fullmatch(text)
    reader = LiteralReader(fenced[1] if fenced else text)
    if reader.skip_space() not in ("{", "["):
        return None
    try:
        value = reader.value()
    except NotALiteral:
        return None
    return None if reader.skip_space() else calls_of(value, tools)


def calls_of(value: Raw, tools: ToolSet) -> Calls | None:
    """The calls that the value stands for; None unless every one of them is of a known tool."""
    objects = value if isinstance(value, list) else [value]
    calls = [_call_of(each, tools) for each in objects]
    known = [call for call in calls if call is not None]
    return known if known and len(known) == len(calls) else None


def _call_of(value: Raw, tools: ToolSet) -> tuple[DeclaredTool, str] | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("function")
    if isinstance(inner, dict):
        value = inner
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    tool = tools.find(name) if isinstance(name, str) else None
    if tool is None or _DECLARES in value:
        return None
    arguments: Raw | None = next((value[key] for key in _ARGUMENTS if key in value), None)
    if arguments is None:
        return (tool, "{}") if value.keys() <= _CALLS_OWN else None  # else it is a thing of the same name
    if isinstance(arguments, str):
        arguments = read_json(arguments)
    return (tool, to_json(arguments, tool.view)) if isinstance(arguments, dict) else None
