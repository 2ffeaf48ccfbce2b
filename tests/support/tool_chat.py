"""Answers of a model with tools as openai-python gives them, whole or streamed: one form for both."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from openai import OpenAI

from tests.support.tool_task import TOOLS

EITHER_WAY = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@dataclass
class Turn:
    """One answer, whole or put together from its stream."""

    content: str | None = None
    finish_reason: str | None = None
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    function_call: dict[str, Any] | None = None
    """What OpenAI had before tool calls."""
    reasoning: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """One for each token that has one."""

    @property
    def called(self) -> list[tuple[str, Any]]:
        return [(each["function"]["name"], json.loads(each["function"]["arguments"])) for each in self.calls]

    @property
    def message(self) -> Any:
        return {"role": "assistant", "content": self.content, "tool_calls": self.calls}


def ask(client: OpenAI, model: str, messages: list[Any], *, stream: bool, **fields: Any) -> Turn:
    (turn,) = ask_for_choices(client, model, messages, stream=stream, n=1, **fields)
    return turn


def ask_for_choices(
    client: OpenAI, model: str, messages: list[Any], *, stream: bool, n: int, **fields: Any
) -> list[Turn]:
    """All choices of one request; `fields` may replace the tools."""
    body: dict[str, Any] = {"model": model, "messages": messages, "tools": TOOLS, **fields}
    if n > 1:
        body["n"] = n
    if not stream:
        choices = client.chat.completions.create(**body).choices
        assert [choice.index for choice in choices] == list(range(n))
        return [_whole(choice) for choice in choices]
    turns = [Turn() for _ in range(n)]
    for chunk in client.chat.completions.create(**body, stream=True):
        for piece in chunk.choices:
            _add(turns[piece.index], piece)
    return turns


def _whole(choice: Any) -> Turn:
    message = choice.message
    return Turn(
        message.content,
        choice.finish_reason,
        calls=[call.model_dump(exclude_none=True) for call in message.tool_calls or ()],
        function_call=message.function_call and message.function_call.model_dump(),
        reasoning=_reasoning(message),
        logprobs=_logprobs(choice),
    )


def _add(turn: Turn, piece: Any) -> None:
    """One chunk: a call's head comes once and before its arguments, which only ever grow."""
    assert turn.finish_reason is None
    turn.finish_reason = piece.finish_reason
    turn.reasoning += _reasoning(piece.delta)
    turn.logprobs += _logprobs(piece)
    if piece.delta.content:
        turn.content = (turn.content or "") + piece.delta.content
    for delta in piece.delta.tool_calls or ():
        if delta.index == len(turn.calls):
            assert delta.id
            assert delta.type == "function"
            turn.calls.append(
                {"id": delta.id, "type": "function", "function": {"name": delta.function.name, "arguments": ""}}
            )
        else:
            assert delta.index == len(turn.calls) - 1
            assert delta.id is None
            assert delta.function.name is None
        turn.calls[delta.index]["function"]["arguments"] += delta.function.arguments or ""
    function = piece.delta.function_call
    if function is not None:
        if turn.function_call is None:
            turn.function_call = {"name": function.name, "arguments": ""}
        else:
            assert function.name is None
        turn.function_call["arguments"] += function.arguments or ""


def _reasoning(message: Any) -> str:
    """A thought, which comes under two names."""
    told = getattr(message, "reasoning", None) or ""
    assert told == (getattr(message, "reasoning_content", None) or "")
    return told


def _logprobs(choice: Any) -> list[dict[str, Any]]:
    return [each.model_dump() for each in (choice.logprobs and choice.logprobs.content) or ()]
