"""What a prompted dialect writes: declarations, earlier calls, their results, and the beginning of a call.

Python, JSON and tool_code are the forms of Google's function calling guide for Gemma 3 (ai.google.dev/gemma/docs), with
vLLM's `<tool_response>` around results; `FUNCTION_CALL:` is this project's own. Released forms must stay as they are:
adapters are trained on them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from gateway.dialects.arguments import Bare, Raw, quote, to_json
from gateway.dialects.control_tokens import BREAKER
from gateway.dialects.history import AnsweredCall
from gateway.dialects.literals import is_bare_key
from gateway.dialects.schema_view import SchemaView
from gateway.dialects.tools import DeclaredFunction, NameWriter, identifier, verbatim

_INTRODUCTION: Final = (
    "You have access to functions. If you decide to invoke any of the function(s), "
    "you MUST put it in the format of {form}"
    "  You SHOULD NOT include any other text in the response if you call a function"
)
_PYTHON_FORM: Final = "[func_name1(params_name1=params_value1, params_name2=params_value2...), func_name2(params)]"
_JSON_FORM: Final = '{"name": function name, "parameters": dictionary of argument name and its value}'
_TOOLCODE_FORM: Final = "a fenced code block:\n```tool_code\nfunc_name(params_name1=params_value1)\n```\n"
_FUNCTIONCALL: Final = """\
You are Gemma, an AI assistant with access to specific functions.

Available Functions:
{functions}

When a user request requires function calls:
1. Identify which function(s) to use
2. Extract appropriate parameters from the user's request
3. Respond with function calls in this format:
   FUNCTION_CALL: function_name(param1="value1", param2="value2")

If multiple functions are needed, list them separately.
If no function is needed, respond normally."""

Notation = Literal["json", "python", "line"]
"""How arguments are written: `line` has Python's keywords and JSON's values."""
_UNTYPED: Final = SchemaView.of(None)
_CONSTANTS: Final = {"true": "True", "false": "False", "null": "None"}


class PromptedStyle(Protocol):
    """One way to write calls into turns."""

    @property
    def write_name(self) -> NameWriter:
        """How names of tools are written."""
        ...

    @property
    def notation(self) -> Notation:
        """How values are written."""
        ...

    @property
    def closing(self) -> str:
        """What ends a single call's turn, behind its arguments."""
        ...

    @property
    def following(self) -> Callable[[str], str] | None:
        """What stands between a call's arguments and those of the next, of the tool named; None: they stand apart."""
        ...

    def declare(self, functions: Sequence[DeclaredFunction]) -> str:
        """The text that tells the model of its functions."""
        ...

    def calls(self, calls: Sequence[AnsweredCall]) -> str:
        """A model's turn that makes the calls; names are written as `write_name` writes them already."""
        ...

    def results(self, calls: Sequence[AnsweredCall]) -> str:
        """A user's turn with the results."""
        ...

    def beginning(self, name: str | None) -> str:
        """What a call begins with: of the function `name`, or of any."""
        ...


@dataclass(frozen=True)
class PythonStyle:
    """`[f(a="x"), g()]`."""

    write_name: NameWriter = identifier
    notation: Notation = "python"
    closing: str = ")]"
    following: Callable[[str], str] | None = "), {}(".format

    def declare(self, functions: Sequence[DeclaredFunction]) -> str:
        return _introduced(_PYTHON_FORM, functions)

    def calls(self, calls: Sequence[AnsweredCall]) -> str:
        return f"[{', '.join(call_text(call, python_value) for call in calls)}]"

    def results(self, calls: Sequence[AnsweredCall]) -> str:
        return _tagged_results(calls)

    def beginning(self, name: str | None) -> str:
        return f"[{name}(" if name else "["


@dataclass(frozen=True)
class JsonStyle:
    """`{"name": "f", "parameters": {…}}`."""

    write_name: NameWriter = verbatim
    notation: Notation = "json"
    closing: str = "}}"
    following: Callable[[str], str] | None = None

    def declare(self, functions: Sequence[DeclaredFunction]) -> str:
        return _introduced(_JSON_FORM, functions)

    def calls(self, calls: Sequence[AnsweredCall]) -> str:
        texts = [f'{{"name": {quote(call.name)}, "parameters": {spaced_json(call.arguments)}}}' for call in calls]
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"

    def results(self, calls: Sequence[AnsweredCall]) -> str:
        return _tagged_results(calls)

    def beginning(self, name: str | None) -> str:
        return f'{{"name": {quote(name)}, "parameters": {{' if name else '{"name": "'


@dataclass(frozen=True)
class ToolCodeStyle:
    """Calls in a `tool_code` fence, results in a `tool_outputs` fence."""

    write_name: NameWriter = identifier
    notation: Notation = "python"
    closing: str = ")\n```"
    following: Callable[[str], str] | None = ")\n{}(".format

    def declare(self, functions: Sequence[DeclaredFunction]) -> str:
        return _introduced(_TOOLCODE_FORM, functions)

    def calls(self, calls: Sequence[AnsweredCall]) -> str:
        lines = "\n".join(call_text(call, python_value) for call in calls)
        return f"```tool_code\n{lines}\n```"

    def results(self, calls: Sequence[AnsweredCall]) -> str:
        return "\n".join(f"```tool_outputs\n{_labelled(call, calls)}\n```" for call in calls)

    def beginning(self, name: str | None) -> str:
        return f"```tool_code\n{name}(" if name else "```tool_code"


@dataclass(frozen=True)
class FunctionCallStyle:
    """One line `FUNCTION_CALL: f(a="x")` for each call."""

    write_name: NameWriter = verbatim
    notation: Notation = "line"
    closing: str = ")"
    following: Callable[[str], str] | None = None

    def declare(self, functions: Sequence[DeclaredFunction]) -> str:
        return _FUNCTIONCALL.replace("{functions}", "\n".join(map(_described, functions)))

    def calls(self, calls: Sequence[AnsweredCall]) -> str:
        return "\n".join(f"FUNCTION_CALL: {call_text(call, json_value)}" for call in calls)

    def results(self, calls: Sequence[AnsweredCall]) -> str:
        return "\n".join(f"FUNCTION_RESULT: {call.name}: {call.result}" for call in calls)

    def beginning(self, name: str | None) -> str:
        return f"FUNCTION_CALL: {name}(" if name else "FUNCTION_CALL:"


def call_text(call: AnsweredCall, write: Callable[[Raw], str]) -> str:
    """`f(a=1, b="x")`; keys that are no identifiers go into a `**{…}` at the end."""
    written = [f"{key}={write(value)}" for key, value in call.arguments.items() if is_bare_key(key)]
    other: dict[str, Raw] = {key: value for key, value in call.arguments.items() if not is_bare_key(key)}
    if other:
        written.append(f"**{write(other)}")
    return f"{call.name}({', '.join(written)})"


def python_value(value: Raw) -> str:
    """A Python literal; JSON's strings are Python's, too."""
    match value:
        case Bare():
            return _CONSTANTS.get(value.text, value.text)
        case str():
            return quote(value)
        case list():
            return f"[{', '.join(python_value(item) for item in value)}]"
        case dict():
            members = [f"{quote(key)}: {python_value(member)}" for key, member in value.items()]
            return f"{{{', '.join(members)}}}"


def json_value(value: Raw) -> str:
    """Compact JSON."""
    return to_json(value, _UNTYPED)


def spaced_json(value: Raw) -> str:
    """JSON with the spaces that models write."""
    match value:
        case list():
            return f"[{', '.join(spaced_json(item) for item in value)}]"
        case dict():
            return f"{{{', '.join(f'{quote(key)}: {spaced_json(member)}' for key, member in value.items())}}}"
        case _:
            return to_json(value, _UNTYPED)


def _introduced(form: str, functions: Sequence[DeclaredFunction]) -> str:
    listed = [{"name": each.name, "description": each.description, "parameters": each.parameters} for each in functions]
    return f"{_INTRODUCTION.replace('{form}', form)}\n{json.dumps(listed, ensure_ascii=False)}"


def _described(function: DeclaredFunction) -> str:
    properties = function.parameters.get("properties", {})
    described = ", ".join(f"{name} ({schema['type']})" for name, schema in properties.items())
    return f"- {function.name}: {function.description}\n  Parameters: {described}"


def _tagged_results(calls: Sequence[AnsweredCall]) -> str:
    """One `<tool_response>` per result; a result can't end it before its time."""
    texts = [_labelled(call, calls).replace("</tool_response", f"<{BREAKER}/tool_response") for call in calls]
    return "\n".join(f"<tool_response>\n{text}</tool_response>" for text in texts)


def _labelled(call: AnsweredCall, calls: Sequence[AnsweredCall]) -> str:
    """The result, the function's name before it where there are several."""
    return f"{call.name}: {call.result}" if len(calls) > 1 else call.result
