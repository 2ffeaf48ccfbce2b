"""Between a call's opening marker and its brace: which tool, or no call at all."""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from gateway.dialects.arguments import quote, string_json
from gateway.dialects.events import MAX_HELD_CHARS
from gateway.dialects.tool_set import DeclaredTool, ToolSet

MAX_HEAD_CHARS: Final = 512

_BARE: Final = "call:"
_NAMED: Final = re.compile(r"\s*(?:call)?\s*:\s*([^{(]+?)\s*[{(]")
_NAMED_PREFIX: Final = re.compile(r"\s*(?:c|ca|cal|call)?\s*|\s*(?:call)?\s*:[^{(]*")
_FREE: Final = re.compile(r"\s*(?:(?:call)?\s*:\s*)?([^\s{(]+)\s*[{(]")
_FREE_PREFIX: Final = re.compile(r"\s*(?:(?:call)?\s*:\s*)?[^\s{(]*\s*")
_WITHOUT_BRACE: Final = re.compile(r"\s*(?:call)?\s*:\s*([^\n]+?):?\s*(?:\n(.*))?", re.DOTALL)
_POSITIONAL_HEAD: Final = re.compile(r"\s*(?:call)?\s*:\s*(\S+?):?\s*\n?\s*BEGIN_ARG:")
_POSITIONAL: Final = re.compile(r"BEGIN_ARG:\n?(.*?)\n?END_ARG", re.DOTALL)


class Verdict(Enum):
    UNDECIDED = auto()
    NO_CALL = auto()
    UNKNOWN_TOOL = auto()


@dataclass(frozen=True, slots=True)
class Head:
    """A call of `tool` begins; `rest` is what came after its brace."""

    tool: DeclaredTool
    rest: str


def read_head(text: str, tools: ToolSet, *, free: bool) -> Head | Verdict:
    """What the text after an opening marker begins. `free`: the marker alone makes it a call, without `call:`."""
    match = (_FREE if free else _NAMED).match(text)
    if match and match.end() <= MAX_HEAD_CHARS:
        tool = tools.find(match[1])
        return Head(tool, text[match.end() :]) if tool else Verdict.UNKNOWN_TOOL
    if _POSITIONAL_HEAD.match(text):
        return Verdict.UNDECIDED if len(text) < MAX_HELD_CHARS else Verdict.NO_CALL
    prefix = _FREE_PREFIX if free else _NAMED_PREFIX
    may_go_on = len(text) <= MAX_HEAD_CHARS and prefix.fullmatch(text) is not None
    return Verdict.UNDECIDED if may_go_on else Verdict.NO_CALL


def read_bare_head(text: str, tools: ToolSet) -> Head | Verdict:
    """What text without a marker begins: only `call:` and the name of a tool make it a call."""
    if len(text) <= len(_BARE):
        return Verdict.UNDECIDED if _BARE.startswith(text) else Verdict.NO_CALL
    if not text.startswith(_BARE):
        return Verdict.NO_CALL
    match = _NAMED.match(text)
    if match is None:
        may_become = tools.may_become(text[len(_BARE) :].strip())
        return Verdict.UNDECIDED if may_become else Verdict.NO_CALL
    tool = tools.find(match[1])
    return Head(tool, text[match.end() :]) if tool else Verdict.NO_CALL


def read_without_brace(text: str, tools: ToolSet) -> tuple[DeclaredTool, str] | None:
    """The tool and its arguments where the call ended before any brace: none, or positional ones; None: no call."""
    match = _WITHOUT_BRACE.fullmatch(text)
    tool = tools.find(match[1]) if match else None
    if match is None or tool is None:
        return None
    rest = match[2] or ""
    arguments = _positional(tool, rest) if rest.strip() else "{}"
    return None if arguments is None else (tool, arguments)


def _positional(tool: DeclaredTool, text: str) -> str | None:
    """Arguments without keys, by the order of the schema; None when they don't fit it."""
    values = _POSITIONAL.findall(text)
    keys = tool.view.keys
    if not values or len(values) > len(keys) or _POSITIONAL.sub("", text).strip():
        return None
    members = [
        f"{quote(key)}:{string_json(value, tool.view.member(key))}" for key, value in zip(keys, values, strict=False)
    ]
    return "{" + ",".join(members) + "}"
