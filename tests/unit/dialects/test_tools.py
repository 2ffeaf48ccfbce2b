"""What requests say about tools, and what earlier turns did with them."""

from typing import Any

import msgspec
import pytest

from gateway.dialects.control_tokens import BREAKER, MarkerGuard
from gateway.dialects.tools import ToolPlan, declarations_of, identifier, plan_tools, verbatim
from gateway.errors import InvalidRequest
from gateway.wire.chat import ChatRequest, Function, Tool

USER = [{"role": "user", "content": "hi"}]


def request(**fields: Any) -> ChatRequest:
    return msgspec.convert({"model": "m", "messages": USER, **fields}, ChatRequest)


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def plan(**fields: Any) -> ToolPlan:
    return plan_tools(request(**fields), verbatim)


TOOLS = [function("a"), function("b")]


@pytest.mark.parametrize(
    ("fields", "choice", "declared", "parallel"),
    [
        ({}, "auto", ["a", "b"], True),
        ({"tool_choice": "auto"}, "auto", ["a", "b"], True),
        ({"tool_choice": "none"}, "none", [], True),
        ({"tool_choice": "required"}, "required", ["a", "b"], True),
        ({"tool_choice": {"type": "function", "function": {"name": "b"}}}, "required", ["b"], False),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOLS[0]]}}},
            "required",
            ["a"],
            True,
        ),
        ({"parallel_tool_calls": False}, "auto", ["a", "b"], False),
    ],
)
def test_choices(fields: dict[str, Any], choice: str, declared: list[str], parallel: bool) -> None:
    """As OpenAI documents them."""
    found = plan(tools=TOOLS, **fields)
    assert (found.choice, [tool.name for tool in found.declared], found.parallel) == (choice, declared, parallel)
    assert found.must_call is (choice == "required")
    assert [tool.name for tool in found.known] == (declared or ["a", "b"])


def test_the_older_fields() -> None:
    """`functions` and `function_call` are tools of one call at a time."""
    found = plan(functions=[{"name": "a"}], function_call={"name": "a"})
    assert (found.legacy, found.parallel, found.named) == (True, False, "a")
    assert plan(functions=[{"name": "a"}], function_call="none").choice == "none"


def test_without_tools_there_is_nothing() -> None:
    """And `auto` or `none` without tools does no harm."""
    for fields in ({}, {"tool_choice": "auto"}, {"tool_choice": "none"}):
        found = plan(**fields)
        assert not found.declared
        assert not found.known
        assert found.choice == "none"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "a"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "z"}}}, "tool_choice"),
        ({"functions": [{"name": "a"}], "function_call": {"name": "z"}}, "function_call"),
        ({"tools": [*TOOLS, function("a")]}, "tools[2].function.name"),
        ({"functions": [{"name": "a"}, {"name": "a"}]}, "functions[1].name"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], param: str) -> None:
    """With the culprit."""
    with pytest.raises(InvalidRequest) as caught:
        plan(**fields)
    assert caught.value.param == param


def test_names_that_a_dialect_cannot_write_are_mapped_and_found_again() -> None:
    """Both spellings of a reply lead back, collisions are numbered."""
    tools = [Tool(Function(name), "function") for name in ("get-it", "get.it", "get_it", "2x")]
    found = plan_tools(ChatRequest(model="m", messages=[], tools=tools), identifier)
    assert [tool.wire_name for tool in found.declared] == ["get_it", "get_it_2", "get_it_3", "_2x"]
    for tool in found.declared:
        for written in (tool.wire_name, f"functions.{tool.wire_name}", f"default_api:{tool.wire_name}"):
            assert found.known.find(written) is tool
    assert found.known.find("get-it") is found.declared[0]
    assert found.known.find("nothing") is None


def test_declarations_hold_no_control_token() -> None:
    """In descriptions, names of parameters, enums."""
    mark = "<end_of_turn>"
    parameters = {"properties": {mark: {"enum": [mark], "description": mark}}}
    found = declarations_of(plan(tools=[function("a", description=mark, parameters=parameters)]), MarkerGuard("gemma3"))
    assert found.neutralised
    assert mark not in str(found.functions)
    assert f"<{BREAKER}end_of_turn>" in found.functions[0].description
    assert not declarations_of(plan(tools=TOOLS), MarkerGuard("gemma3")).neutralised


def test_declarations_are_the_same_the_second_time() -> None:
    """What is remembered of a tool includes that its text had to be changed, and is kept apart by family and place."""
    mark = "<end_of_turn>"
    tools = [function("a", description=mark), function("b", description="plain", parameters={"maximum": 10**30})]
    guards = MarkerGuard("gemma3"), MarkerGuard("gemma4")
    first, again = (declarations_of(plan(tools=tools), guards[0]) for _ in range(2))
    assert first == again
    assert again.neutralised
    assert not declarations_of(plan(tools=tools), guards[1]).neutralised
    with pytest.raises(InvalidRequest) as caught:
        declarations_of(plan(tools=[function("c", parameters={"type": "array"})]), guards[0])
    assert caught.value.param == "tools[0].function.parameters"


def test_a_bad_schema_names_its_tool() -> None:
    """The client sees which one."""
    with pytest.raises(InvalidRequest) as caught:
        declarations_of(plan(tools=[*TOOLS, function("c", parameters={"type": "array"})]), MarkerGuard("gemma3"))
    assert caught.value.param == "tools[2].function.parameters"
