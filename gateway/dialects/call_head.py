"""Between a call's opening marker and its brace: which tool, or no call at all."""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from gateway.dialects.arguments import quote, string_json
from gateway.dialects.tool_set import DeclaredTool, ToolSet

MAX_HEAD_CHARS: Final = 512

_BARE: Final = "call:"
# Nothing is given back once taken (`*+`), so that no text makes these patterns slow.
_NAMED: Final = re.compile(r"\s*+(?:call)?\s*+:([^{(]++)[{(]")
_NAMED_PREFIX: Final = re.compile(r"\s*+(?:c(?:a(?:ll?)?)?)?\s*+|\s*+(?:call)?\s*+:[^{(]*+")
_FREE: Final = re.compile(r"\s*+(?:(?:call)?\s*+:\s*+)?([^\s{(]++)\s*+[{(]")
_FREE_PREFIX: Final = re.compile(r"\s*+(?:(?:call)?\s*+:\s*+)?[^\s{(]*+\s*+")
_WITHOUT_BRACE: Final = re.compile(r"\s*+(?:call)?\s*+:\s*+([^\n]++)\n?+(.*+)", re.DOTALL)
_POSITIONAL_HEAD: Final = re.compile(r"\s*+(?:call)?\s*+:\s*+[^\s{(]+?:?[^\S\n]*+\n\s*+BEGIN_ARG:")
_ARGUMENT: Final = "BEGIN_ARG:"
_ARGUMENT_END: Final = "END_ARG"


class Verdict(Enum):
    UNDECIDED = auto()
    NO_CALL = auto()
    UNKNOWN_TOOL = auto()
    POSITIONAL = auto()
    """Arguments without keys: they go up to the next marker."""


@dataclass(frozen=True, slots=True)
class Head:
    """A call of `tool` begins; `rest` is what came after its brace."""

    tool: DeclaredTool
    rest: str


def read_head(text: str, tools: ToolSet, *, free: bool) -> Head | Verdict:
    """What the text after an opening marker begins. `free`: the marker alone makes it a call, without `call:`."""
    head = text[:MAX_HEAD_CHARS]
    if _POSITIONAL_HEAD.match(head):
        return Verdict.POSITIONAL
    match = (_FREE if free else _NAMED).match(head)
    if match:
        tool = tools.find(match[1].strip())
        return Head(tool, text[match.end() :]) if tool else Verdict.UNKNOWN_TOOL
    prefix = _FREE_PREFIX if free else _NAMED_PREFIX
    may_go_on = len(text) <= MAX_HEAD_CHARS and prefix.fullmatch(text) is not None
    return Verdict.UNDECIDED if may_go_on else Verdict.NO_CALL


def read_bare_head(text: str, tools: ToolSet) -> Head | Verdict:
    """What text without a marker begins: only `call:` and the name of a tool make it a call."""
    if len(text) <= len(_BARE):
        return Verdict.UNDECIDED if _BARE.startswith(text) else Verdict.NO_CALL
    if not text.startswith(_BARE):
        return Verdict.NO_CALL
    match = _NAMED.match(text[:MAX_HEAD_CHARS])
    if match is None:
        may_become = len(text) <= MAX_HEAD_CHARS and tools.may_become(text[len(_BARE) :].strip())
        return Verdict.UNDECIDED if may_become else Verdict.NO_CALL
    tool = tools.find(match[1].strip())
    return Head(tool, text[match.end() :]) if tool else Verdict.NO_CALL


def read_without_brace(text: str, tools: ToolSet) -> tuple[DeclaredTool, str] | None:
    """The tool and its arguments where the call ended before any brace: none, or positional ones; None: no call."""
    match = _WITHOUT_BRACE.fullmatch(text)
    tool = tools.find(match[1].rstrip().removesuffix(":")) if match else None
    if match is None or tool is None:
        return None
    arguments = _positional(tool, match[2]) if match[2].strip() else "{}"
    return None if arguments is None else (tool, arguments)


def _positional(tool: DeclaredTool, text: str) -> str | None:
    """Arguments without keys, by the order of the schema; None when they don't fit it."""
    values = _argument_texts(text, len(tool.view.keys))
    if not values:
        return None
    members = [
        f"{quote(key)}:{string_json(value, tool.view.member(key))}"
        for key, value in zip(tool.view.keys, values, strict=False)
    ]
    return "{" + ",".join(members) + "}"


def _argument_texts(text: str, most: int) -> list[str] | None:
    """What stands between each BEGIN_ARG: and its END_ARG; None when there is anything else, or more than `most`."""
    values: list[str] = []
    rest = text.strip()
    while rest.startswith(_ARGUMENT) and len(values) < most:
        value, found, rest = rest.removeprefix(_ARGUMENT).partition(_ARGUMENT_END)
        if not found:
            return None
        values.append(value.removeprefix("\n").removesuffix("\n"))
        rest = rest.lstrip()
    return None if rest else values
