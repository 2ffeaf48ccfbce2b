"""Calls in Python's syntax, `f(a="x", b=1)`, alone, in a list or one under the other; and the `FUNCTION_CALL:` line.

Read by our own small reader: nothing a model wrote is ever evaluated, and the digits stay as they are.
"""

import re
from typing import Final

from gateway.dialects.arguments import Raw, to_json
from gateway.dialects.events import MAX_CALLS
from gateway.dialects.json_calls import Calls, calls_of
from gateway.dialects.literals import LiteralReader, NotALiteral
from gateway.dialects.tool_set import DeclaredTool, ToolSet

_NAME: Final = re.compile(r"[\w.:/-]+(?=\s*\()")
_ASSIGNMENT: Final = re.compile(r"[^\W\d]\w*\s*=(?!=)")
_PRINT: Final = re.compile(r"print\s*\(")
_KEYWORD: Final = re.compile(r"([^\W\d][\w.-]*)\s*=(?!=)")
_BETWEEN_CALLS: Final = re.compile(r"[;\s]*")
_LINE_START: Final = re.compile(r"[\s*`-]*function_call:\s*", re.IGNORECASE)
_LINE_END: Final = re.compile(r"[\s`.]*$")


def read_calls(text: str, tools: ToolSet) -> Calls | None:
    """The calls that the text consists of: a list, calls one after the other, or JSON. None: something else.

    No more than MAX_CALLS of them are read.
    """
    reader = LiteralReader(text)
    try:
        calls = _read_any(reader, tools)
    except NotALiteral:
        return None
    complete = not reader.skip_space() or (calls is not None and len(calls) >= MAX_CALLS)
    return calls if complete else None


def read_call_line(text: str, tools: ToolSet) -> Calls | None:
    """The call of a `FUNCTION_CALL: name(…)` line; None when it is something else."""
    start = _LINE_START.match(text)
    if start is None:
        return None
    reader = LiteralReader(text, start.end())
    try:
        call = _read_call(reader, tools)
    except NotALiteral:
        return None
    return [call] if _LINE_END.match(text, reader.position) else None


def _read_any(reader: LiteralReader, tools: ToolSet) -> Calls | None:
    if reader.skip_space() == "{":
        return calls_of(reader.value(), tools)
    calls: list[tuple[DeclaredTool, str]] = []
    if reader.skip_space() == "[":
        start = reader.position
        reader.take("[")
        if reader.skip_space() == "{":
            reader.position = start
            return calls_of(reader.value(), tools)
        while not reader.take("]"):
            calls.append(_read_call(reader, tools))
            if len(calls) == MAX_CALLS:
                break
            if not reader.take(",") and reader.skip_space() != "]":
                raise NotALiteral
        return calls or None
    while reader.skip_space() and len(calls) < MAX_CALLS:
        calls.append(_read_line_or_call(reader, tools))
        reader.match(_BETWEEN_CALLS)
    return calls or None


def _read_line_or_call(reader: LiteralReader, tools: ToolSet) -> tuple[DeclaredTool, str]:
    reader.match(_LINE_START)
    return _read_call(reader, tools)


def _read_call(reader: LiteralReader, tools: ToolSet) -> tuple[DeclaredTool, str]:
    """One call of a known tool; an assignment before it and a `print` around it are taken off."""
    reader.match(_ASSIGNMENT)
    printed = reader.match(_PRINT) if tools.find("print") is None else None
    name = reader.match(_NAME)
    tool = tools.find(name[0]) if name else None
    if tool is None or not reader.take("("):
        raise NotALiteral
    arguments = _read_arguments(reader, tool)
    if printed and not reader.take(")"):
        raise NotALiteral
    return tool, to_json(arguments, tool.view)


def _read_arguments(reader: LiteralReader, tool: DeclaredTool) -> dict[str, Raw]:
    keys = tool.view.keys
    positional: list[Raw] = []
    named: dict[str, Raw] = {}
    while not reader.take(")"):
        keyword = reader.match(_KEYWORD)
        if keyword:
            named[keyword[1]] = reader.value()
        elif reader.take("**"):
            spread = reader.value()
            if not isinstance(spread, dict):
                raise NotALiteral
            named |= spread
        elif named or len(positional) == len(keys):
            raise NotALiteral
        else:
            positional.append(reader.value())
        if not reader.take(",") and reader.skip_space() != ")":
            raise NotALiteral
    if not named.keys().isdisjoint(keys[: len(positional)]):
        raise NotALiteral
    return {**dict(zip(keys, positional, strict=False)), **named}
