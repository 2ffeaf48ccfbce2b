"""Whether text that has begun may still be a call of a prompted dialect, told as soon as it can be."""

import re
from enum import IntEnum, auto
from functools import cached_property
from typing import Final

from gateway.dialects.tool_set import NAME_PREFIXES, ToolSet

MAX_HEAD_CHARS: Final = 512

FENCE_LANGUAGES: Final = ("tool_code", "tool_call", "tool_use", "python", "py", "json", "")
_JSON_KEYS: Final = ("name", "function", "tool_name", "parameters", "arguments", "args", "type", "id")
_NAME_KEYS: Final = ("name", "tool_name")
_CALL: Final = re.compile(r"(?P<name>[\w.:/-]*)(?P<space>\s*)(?P<paren>\(?)")
_PRINT: Final = re.compile(r"print\s*\(\s*")
_ASSIGNMENT: Final = re.compile(r"[^\W\d]\w*\s*=\s*")
_ASSIGNMENT_BEGUN: Final = re.compile(r"[^\W\d]\w*\s*")
_KEY: Final = re.compile(r"(?P<quote>[\"'])(?P<key>\w*)(?P<end>[\"']?)\s*(?P<colon>:?)\s*")
_VALUE: Final = re.compile(r"[\"'](?P<name>[^\"'\\]*)(?P<end>[\"']?)")
_LINE_PREFIX: Final = re.compile(r"[ \t*`-]*")
_LINE_KEYWORD: Final = "function_call:"
_BACKTICKS: Final = "```"
_FENCE: Final = re.compile(r"```(?P<language>\w*)[ \t]*(?P<newline>\r?\n\s*)?")

_LINE_PATTERN: Final = rf"[ \t*`-]*+(?i:{_LINE_KEYWORD})"
_OBJECT_PATTERN: Final = rf"\{{\s*+[\"'](?:{'|'.join(_JSON_KEYS)})[\"']"
_PREFIX_PATTERN: Final = rf"(?:{'|'.join(map(re.escape, NAME_PREFIXES))})?"


class Kind(IntEnum):
    """What a beginning is of; MAYBE: more text will tell; NONE: no call."""

    MAYBE = auto()
    NONE = auto()
    BRACKETS = auto()
    """A list of calls, or JSON."""
    CALL = auto()
    LINE = auto()
    FENCE = auto()
    TAG = auto()


def judge(head: str, tools: ToolSet, *, line_start: bool) -> Kind:
    """What `head`, which begins with a visible character, may be the beginning of.

    Once decided, it stays so for every text that begins with `head`.
    """
    kind = Kind.NONE
    if head[0] in "[{":
        kind = _list(head, tools) if head[0] == "[" else _object(head, tools)
    elif head[0] == "<":
        kind = _tag(head)
    elif line_start:
        readings = {"`": (_fence, _line), "-": (_line,), "*": (_line,)}.get(head[0], (_line, _call))
        kind = next((found for read in readings if (found := read(head, tools)) is not Kind.NONE), Kind.NONE)
    return _bounded(kind, head)


class Beginnings:
    """Finds, in text that is long enough behind it, every place where something may begin, and hardly any other.

    The patterns are compiled for the first long text.
    """

    def __init__(self, tools: ToolSet) -> None:
        self._tools: Final = tools
        self.initials: Final = frozenset("[{<`-*fFp") | {name[0] for name in tools.names if name}
        """The characters with which something may begin at the start of a line."""

    @cached_property
    def at_line(self) -> re.Pattern[str]:
        """At the first visible character of a line."""
        line, inside = self._parts
        return re.compile(f"{line}|{inside}")

    @cached_property
    def anywhere(self) -> re.Pattern[str]:
        """What begins a line is found by the line break before it."""
        line, inside = self._parts
        return re.compile(rf"\n[^\S\n]*+(?:{line})|{inside}")

    @property
    def _parts(self) -> tuple[str, str]:
        tools = self._tools
        names = "|".join(map(re.escape, sorted(tools.names, key=len, reverse=True)))
        call = rf"(?:print\s*+\(\s*+)?{_PREFIX_PATTERN}(?:{names})\s*+\("
        line = rf"```|{_LINE_PATTERN}|{call}"
        inside = rf"\[\s*+(?:{_OBJECT_PATTERN}|(?:[^\W\d]\w*+\s*+=\s*+)?{call})|{_OBJECT_PATTERN}|<tool(?:_call)?>"
        return line, inside


IN_FENCE: Final = re.compile(rf"\n[^\S\n]*+(?:```|{_LINE_PATTERN})")
"""The same inside a fence of other code."""


def judge_in_fence(head: str, tools: ToolSet) -> Kind:
    """The same in a fence of other code, where only a `FUNCTION_CALL:` line counts; NONE: the fence may end here."""
    if head.startswith(_BACKTICKS):
        return Kind.NONE
    return Kind.MAYBE if _BACKTICKS.startswith(head) else _bounded(_line(head, tools), head)


def _bounded(kind: Kind, head: str) -> Kind:
    return Kind.NONE if kind is Kind.MAYBE and len(head) > MAX_HEAD_CHARS else kind


def _list(head: str, tools: ToolSet) -> Kind:
    rest = head[1:].lstrip()
    if not rest:
        return Kind.MAYBE
    found = _object(rest, tools) if rest[0] == "{" else _assigned_call(rest, tools)
    return Kind.BRACKETS if found is Kind.CALL else found


def _object(head: str, tools: ToolSet) -> Kind:
    rest = head[1:].lstrip()
    key = _KEY.match(rest)
    if key is None:
        return Kind.NONE if rest else Kind.MAYBE
    after = rest[key.end() :]
    if not (key["end"] and key["colon"] and after):
        begun = key["key"] in _JSON_KEYS if key["end"] else _begins(key["key"], _JSON_KEYS)
        return Kind.MAYBE if begun and not after else Kind.NONE
    if key["key"] not in _JSON_KEYS:
        return Kind.NONE
    names_tool = key["key"] in _NAME_KEYS or (key["key"] == "function" and after[0] in "\"'")
    return _tool_name(after, tools) if names_tool else Kind.BRACKETS


def _begins(text: str, names: tuple[str, ...]) -> bool:
    return any(name.startswith(text) for name in names)


def _tool_name(text: str, tools: ToolSet) -> Kind:
    """A quoted name of a tool, as the value of `name`."""
    value = _VALUE.match(text)
    if value is None:
        return Kind.NONE
    if value["end"]:
        return Kind.BRACKETS if tools.find(value["name"]) else Kind.NONE
    return Kind.MAYBE if value.end() == len(text) and tools.may_become(value["name"]) else Kind.NONE


def _call(head: str, tools: ToolSet) -> Kind:
    """`name(` of a known tool, `print(` around it or not."""
    printed = _PRINT.match(head)
    if printed and tools.find("print") is None:
        head = head[printed.end() :]
        if not head:
            return Kind.MAYBE
    found = _CALL.match(head)
    if found is None or not found["name"] or (found.end() < len(head) and not found["paren"]):
        return Kind.NONE
    name = found["name"]
    if found["paren"]:
        return Kind.CALL if tools.find(name) else Kind.NONE
    if found["space"]:
        return Kind.MAYBE if tools.find(name) or name == "print" else Kind.NONE
    return Kind.MAYBE if tools.may_become(name) or "print".startswith(name) else Kind.NONE


def _assigned_call(head: str, tools: ToolSet) -> Kind:
    """The same, with `name =` before it or not."""
    assignment = _ASSIGNMENT.match(head)
    if assignment and assignment.end() < len(head):
        return _call(head[assignment.end() :], tools)
    if assignment or _ASSIGNMENT_BEGUN.fullmatch(head):
        return Kind.MAYBE
    return _call(head, tools)


def _line(head: str, tools: ToolSet) -> Kind:
    prefix = _LINE_PREFIX.match(head)
    rest = head[prefix.end() :].lower() if prefix else head.lower()
    if len(rest) < len(_LINE_KEYWORD):
        return Kind.MAYBE if _LINE_KEYWORD.startswith(rest) else Kind.NONE
    if not rest.startswith(_LINE_KEYWORD):
        return Kind.NONE
    call = head[len(head) - len(rest) + len(_LINE_KEYWORD) :].lstrip(" \t")
    found = _call(call, tools) if call else Kind.MAYBE
    return Kind.LINE if found is Kind.CALL else found


def _fence(head: str, tools: ToolSet) -> Kind:
    if len(head) < 3:
        return Kind.MAYBE if _BACKTICKS.startswith(head) else Kind.NONE
    fence = _FENCE.match(head)
    if fence is None:
        return Kind.NONE
    language, body = fence["language"].lower(), head[fence.end() :]
    if not fence["newline"]:
        known = any(each.startswith(language) for each in FENCE_LANGUAGES)
        return Kind.MAYBE if not body.strip("\r") and known else Kind.NONE
    if language not in FENCE_LANGUAGES:
        return Kind.NONE
    if not body:
        return Kind.MAYBE
    inside = _inside_fence(body, tools)
    return inside if inside in (Kind.MAYBE, Kind.NONE) else Kind.FENCE


def _inside_fence(body: str, tools: ToolSet) -> Kind:
    if body[0] == "[":
        return _list(body, tools)
    if body[0] == "{":
        return _object(body, tools)
    line = _line(body, tools)
    return _assigned_call(body, tools) if line is Kind.NONE else line


def _tag(head: str) -> Kind:
    for tag in ("<tool_call>", "<tool>"):
        if head.startswith(tag):
            return Kind.TAG
    return Kind.MAYBE if any(tag.startswith(head) for tag in ("<tool_call>", "<tool>")) else Kind.NONE
