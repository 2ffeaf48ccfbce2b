"""What a request says about tools: which are declared, which may be called, and whether one must be."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.json_values import is_array, is_object
from gateway.dialects.schema import Declaration, declaration_of
from gateway.dialects.tool_set import DeclaredTool, ToolSet
from gateway.errors import InvalidRequest
from gateway.wire.chat import AllowedToolsChoice, ChatRequest, Function, NamedFunction, NamedToolChoice

Choice = Literal["none", "auto", "required"]
NameWriter = Callable[[str], str]
"""How a dialect writes a tool's name."""

_NOT_IDENTIFIER: Final = re.compile(r"\W")


@dataclass(frozen=True, slots=True)
class ToolPlan:
    """The tools of one request. Without any: `declared` is empty and `choice` is `none`."""

    declared: tuple[DeclaredTool, ...] = ()
    """What the model is shown: nothing with `tool_choice: "none"`."""
    known: ToolSet = field(default_factory=lambda: ToolSet(()))
    """What a reply's calls are recognised by, even those that will be dropped."""
    choice: Choice = "none"
    named: str | None = None
    """The client's name of the one function that must be called; `choice` is `required` then."""
    parallel: bool = True
    legacy: bool = False
    """The client speaks of `functions`: the answer carries `function_call`, one at most."""

    @property
    def must_call(self) -> bool:
        """Whether an answer without a call is a failure."""
        return self.choice == "required"


@dataclass(frozen=True, slots=True)
class DeclaredFunction:
    """A function as the prompt shows it: harmless text, a schema that the declaration can express."""

    name: str
    description: str
    parameters: Declaration


def plan_tools(request: ChatRequest, write_name: NameWriter) -> ToolPlan:
    """Reads `tools`, `tool_choice`, `parallel_tool_calls` and their predecessors.

    Raises InvalidRequest for duplicate names, choices without tools, and choices of unknown ones.
    """
    legacy = request.tools is None and request.functions is not None
    functions = [tool.function for tool in request.tools or ()] or list(request.functions or ())
    choice_param = "function_call" if legacy else "tool_choice"
    choice, allowed, named = _choice(request, legacy=legacy)
    if not functions:
        if choice == "required" or allowed:
            raise InvalidRequest(f"'{choice_param}' is only allowed when 'tools' are given.", param=choice_param)
        return ToolPlan()
    _check_names(functions, "functions[{}].name" if legacy else "tools[{}].function.name")
    tools = _declare(functions, write_name)
    if allowed:
        unknown = set(allowed) - {tool.name for tool in tools}
        if unknown:
            raise InvalidRequest(f"Tool '{min(unknown)}' is not in 'tools'.", param=choice_param)
        # a named function is the only one worth declaring: the model has no other choice
        tools = [tool for tool in tools if tool.name in allowed]
    return ToolPlan(
        declared=() if choice == "none" else tuple(tools),
        known=ToolSet(tools),
        choice=choice,
        named=named,
        parallel=request.parallel_tool_calls is not False and not legacy and named is None,
        legacy=legacy,
    )


@dataclass(frozen=True, slots=True)
class Declarations:
    """What a prompt declares."""

    functions: tuple[DeclaredFunction, ...]
    neutralised: bool
    """Some text of the client's had to be changed."""


class HarmlessText:
    """Takes control tokens out of whole JSON values; `changed` tells whether there were any."""

    def __init__(self, guard: MarkerGuard) -> None:
        self._guard = guard
        self.changed = False

    def text(self, text: str, param: str) -> str:
        """A text without control tokens. Raises InvalidRequest if the guard rejects it."""
        clean = self._guard.neutralise(text, param)
        self.changed = self.changed or clean is not text
        return clean

    def value(self, value: object, param: str) -> object:
        """A decoded JSON value, all its strings and keys harmless."""
        if isinstance(value, str):
            return self.text(value, param)
        if is_object(value):
            return {self.text(key, param): self.value(member, param) for key, member in value.items()}
        return [self.value(item, param) for item in value] if is_array(value) else value


def declarations_of(plan: ToolPlan, guard: MarkerGuard) -> Declarations:
    """The plan's declarations, every text in them harmless. Raises InvalidRequest for a schema that can't be used."""
    clean = HarmlessText(guard)
    functions: list[DeclaredFunction] = []
    for index, tool in enumerate(plan.declared):
        place = f"functions[{index}]" if plan.legacy else f"tools[{index}].function"
        schema = clean.value(declaration_of(tool.parameters, f"{place}.parameters"), f"{place}.parameters")
        description = clean.text(tool.description, f"{place}.description")
        functions.append(DeclaredFunction(tool.wire_name, description, dict(schema) if is_object(schema) else {}))
    return Declarations(tuple(functions), clean.changed)


def verbatim(name: str) -> str:
    """For dialects that can write any name."""
    return name


def identifier(name: str) -> str:
    """For dialects that write Python: what is no part of an identifier becomes `_`."""
    written = _NOT_IDENTIFIER.sub("_", name)
    return f"_{written}" if written[:1].isdigit() else written


def _choice(request: ChatRequest, *, legacy: bool) -> tuple[Choice, list[str], str | None]:
    """The choice, the names it is limited to (none: all), and the one named function."""
    choice = request.function_call if legacy else request.tool_choice
    match choice:
        case None:
            return "auto", [], None
        case NamedFunction(name=name) | NamedToolChoice(function=NamedFunction(name=name)):
            return "required", [name], name
        case AllowedToolsChoice(allowed_tools=allowed):
            return allowed.mode, [tool.function.name for tool in allowed.tools], None
        case _:
            return choice, [], None


def _check_names(functions: Sequence[Function], param: str) -> None:
    seen: set[str] = set()
    for index, function in enumerate(functions):
        if function.name in seen:
            raise InvalidRequest(f"Two functions are called '{function.name}'.", param=param.format(index))
        seen.add(function.name)


def _declare(functions: Iterable[Function], write_name: NameWriter) -> list[DeclaredTool]:
    """The tools, each under a name of its own in the prompt."""
    tools: list[DeclaredTool] = []
    taken: set[str] = set()
    for position, function in enumerate(functions):
        written = base = write_name(function.name)
        number = 2
        while written in taken:
            written = f"{base}_{number}"
            number += 1
        taken.add(written)
        tools.append(
            DeclaredTool(
                name=function.name,
                wire_name=written,
                description=function.description or "",
                parameters=function.parameters or {},
                strict=function.strict is True,
                position=position,
            )
        )
    return tools
