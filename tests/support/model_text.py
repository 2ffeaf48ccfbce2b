"""Tool calls as a model of each dialect writes them: by the published formats, not by the gateway's own writers."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from gateway.dialects.literals import is_bare_key
from gateway.values import DialectName

Json = Any
Call = tuple[str, dict[str, Json]]
"""A function's name, as the dialect writes it, and its arguments."""

GEMMA_4_QUOTE = '<|"|>'
FUNCTIONGEMMA_QUOTE = "<escape>"
_BARE_KEY = re.compile(r"[A-Za-z_][\w .-]*(?<! )")


def model_text(dialect: DialectName, calls: Sequence[Call]) -> str:
    """The part of a model's turn that makes the calls."""
    return _WRITERS[dialect](calls)


def _gemma4(calls: Sequence[Call]) -> str:
    return "".join(f"<|tool_call>call:{name}{_marked(members, GEMMA_4_QUOTE)}<tool_call|>" for name, members in calls)


def _functiongemma(calls: Sequence[Call]) -> str:
    return "".join(
        f"<start_function_call>call:{name}{_marked(members, FUNCTIONGEMMA_QUOTE)}<end_function_call>"
        for name, members in calls
    )


def _marked(value: Json, mark: str) -> str:
    match value:
        case str():
            return f"{mark}{value}{mark}"
        case list():
            return f"[{','.join(_marked(item, mark) for item in value)}]"
        case dict():
            members = [f"{_key(key, mark)}:{_marked(member, mark)}" for key, member in value.items()]
            return "{" + ",".join(members) + "}"
        case _:
            return json.dumps(value)


def _key(key: str, mark: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else f"{mark}{key}{mark}"


def _json(calls: Sequence[Call]) -> str:
    texts = [json.dumps({"name": name, "parameters": members}, ensure_ascii=False) for name, members in calls]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _python(calls: Sequence[Call]) -> str:
    return f"[{', '.join(_call(call, repr) for call in calls)}]"


def _tool_code(calls: Sequence[Call]) -> str:
    lines = "\n".join(_call(call, repr) for call in calls)
    return f"```tool_code\n{lines}\n```"


def _function_call(calls: Sequence[Call]) -> str:
    return "\n".join(f"FUNCTION_CALL: {_call(call, _json_value)}" for call in calls)


def _call(call: Call, write: Callable[[Json], str]) -> str:
    name, members = call
    arguments = [f"{key}={write(value)}" for key, value in members.items() if is_bare_key(key)]
    others = {key: value for key, value in members.items() if not is_bare_key(key)}
    if others:
        arguments.append(f"**{write(others)}")
    return f"{name}({', '.join(arguments)})"


def _json_value(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


_WRITERS: dict[DialectName, Callable[[Sequence[Call]], str]] = {
    "gemma4": _gemma4,
    "functiongemma": _functiongemma,
    "gemma3-json": _json,
    "gemma3-python": _python,
    "gemma3-toolcode": _tool_code,
    "gemma3-functioncall": _function_call,
}
DIALECTS: tuple[DialectName, ...] = tuple(_WRITERS)
