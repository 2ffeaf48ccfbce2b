"""What dialects remember of tools: the same for the same bytes, nothing of anything else, never too much."""

from typing import Any

import msgspec
import pytest

from gateway.dialects import tool_memory
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.marked_syntax import GEMMA_4
from gateway.dialects.registry import dialect_for
from gateway.dialects.tool_memory import ToolMemory
from gateway.errors import InvalidRequest
from gateway.routing.catalog import VARIANTS
from gateway.wire.chat import ChatRequest
from tests.support.model_text import DIALECTS

GUARD = MarkerGuard("gemma3")


def request(name: str, question: str = "hi", **more: Any) -> ChatRequest:
    tools = [{"type": "function", "function": {"name": name, "description": "d" * 100}}]
    messages = [{"role": "user", "content": question}]
    return msgspec.convert({"model": "m", "messages": messages, "tools": tools} | more, ChatRequest)


class Maker:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, request: ChatRequest, guard: MarkerGuard) -> object:
        del guard
        self.asked += 1
        if request.tools is not None and request.tools[0].function.name == "bad":
            raise InvalidRequest("no", param="tools")
        return object()


def test_the_same_tools_are_read_once() -> None:
    """Whatever else the request says."""
    maker = Maker()
    memory = ToolMemory(maker)
    assert memory.made_of(request("a", "one"), GUARD) is memory.made_of(request("a", "two", temperature=1), GUARD)
    assert maker.asked == 1


@pytest.mark.parametrize(
    "other",
    [
        request("b"),
        request("a", tool_choice="none"),
        request("a", parallel_tool_calls=False),
        request("a", response_format={"type": "json_object"}),
        request("a", structured_outputs={"regex": "a"}),
        request("a", functions=[{"name": "a"}]),
        request("a", function_call="none"),
    ],
)
def test_whatever_says_something_about_tools_keeps_them_apart(other: ChatRequest) -> None:
    """And a guard of another family or mode."""
    memory = ToolMemory(Maker())
    made = memory.made_of(request("a"), GUARD)
    assert memory.made_of(other, GUARD) is not made
    assert memory.made_of(request("a"), MarkerGuard("gemma4")) is not made
    assert memory.made_of(request("a"), GUARD) is made


def test_errors_are_not_remembered() -> None:
    """They are raised anew."""
    maker = Maker()
    memory = ToolMemory(maker)
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            memory.made_of(request("bad"), GUARD)
    assert maker.asked == 2


def test_the_oldest_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by bytes; what has just been used stays."""
    maker = Maker()
    memory = ToolMemory(maker)
    monkeypatch.setattr(tool_memory, "_MAX_ENTRIES", 2)
    for name in ("a", "b", "a", "c", "a"):
        memory.made_of(request(name), GUARD)
    assert maker.asked == 3
    memory.made_of(request("b"), GUARD)
    assert maker.asked == 4
    monkeypatch.setattr(tool_memory, "_MAX_BYTES", 300)
    memory.made_of(request("d"), GUARD)
    memory.made_of(request("d"), GUARD)
    assert maker.asked == 5
    memory.made_of(request("b"), GUARD)
    assert maker.asked == 6


def test_huge_declarations_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would push out all others."""
    maker = Maker()
    memory = ToolMemory(maker)
    monkeypatch.setattr(tool_memory, "_MAX_ENTRY_BYTES", 50)
    memory.made_of(request("a"), GUARD)
    memory.made_of(request("a"), GUARD)
    assert maker.asked == 2


@pytest.mark.parametrize("dialect", ["gemma3-json", "gemma4", "functiongemma", "engine"])
def test_nothing_of_one_conversation_is_in_the_next(dialect: Any) -> None:
    """Two requests with the same tools differ in all that differs between them."""
    variant = VARIANTS["gemma-4-31B-it" if dialect == "gemma4" else "gemma-3-4b-it"]
    guard = MarkerGuard(variant.family)
    bodies = [
        msgspec.json.encode(dialect_for(dialect).prepare(request("a", question), variant, guard, lambda: "id").fields)
        for question in ("first", "second", "first")
    ]
    assert bodies[0] == bodies[2]
    assert bodies[1] == bodies[0].replace(b"first", b"second")


@pytest.mark.parametrize("dialect", [*DIALECTS, "engine"])
@pytest.mark.parametrize("more", [{}, {"tool_choice": "required"}, {"parallel_tool_calls": False}], ids=str)
def test_whatever_is_done_to_one_request_the_next_is_the_same(dialect: Any, more: dict[str, Any]) -> None:
    """Everything in it that can be changed is, down to the last list; what is remembered stays."""
    variant = VARIANTS["gemma-4-31B-it" if dialect == "gemma4" else "gemma-3-4b-it"]
    guard = MarkerGuard(variant.family)
    strict = {"name": "a", "strict": True, "parameters": {"type": "object", "properties": {"n": {"enum": [1, 2]}}}}
    bodies: list[bytes] = []
    for _ in range(3):
        asked = request("a", tools=[{"type": "function", "function": strict}], **more)
        prepared = dialect_for(dialect).prepare(asked, variant, guard, lambda: "id")
        ids = {marker: number for number, marker in enumerate(GEMMA_4.markers)}
        sent = prepared.for_worker(ids) if prepared.for_worker else {}
        bodies.append(msgspec.json.encode([prepared.fields, sent]))
        spoil(prepared.fields)
        spoil(sent)
    assert bodies[1:] == bodies[:1] * 2


def spoil(value: Any) -> None:
    """Changes all that can be changed."""
    if isinstance(value, dict):
        for member in value.values():
            spoil(member)
        value["spoilt"] = True
    elif isinstance(value, list):
        for item in value:
            spoil(item)
        value.append("spoilt")
