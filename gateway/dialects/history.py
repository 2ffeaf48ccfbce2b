"""Calls of earlier turns and their results, brought together.

OpenAI's rule: every call is answered, by a tool message with its id, before anybody speaks again. A template either
drops what breaks it without a word or shows the model a call that hangs in the air, so it is checked here. Results may
come in any order; they are told to the model in the order of the calls.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.dialects.arguments import Raw, read_json
from gateway.dialects.content import ContentReader
from gateway.errors import InvalidRequest
from gateway.wire.messages import (
    AnyMessage,
    AssistantMessage,
    FunctionCall,
    FunctionMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """A call and its result, all text harmless."""

    id: str
    name: str
    arguments: dict[str, Raw]
    result: str


@dataclass(slots=True)
class _Open:
    """Calls of one assistant message that wait for results."""

    index: int
    calls: list[ToolCall]
    results: dict[str, tuple[str, int]]
    """By call id: the text and the message it came in."""


def answered_calls(messages: Sequence[AnyMessage], reader: ContentReader) -> Mapping[int, Sequence[AnsweredCall]]:
    """The calls of each assistant message that made some, by its index. Raises InvalidRequest for what is amiss."""
    found: dict[int, Sequence[AnsweredCall]] = {}
    waiting: _Open | None = None
    for index, message in enumerate(messages):
        match message:
            case UserMessage() | AssistantMessage():
                if waiting is not None:
                    found[waiting.index] = _close(waiting, reader)
                waiting = _opened(message, index) if isinstance(message, AssistantMessage) else None
            case ToolMessage():
                text = reader.joined_text(message.content, f"messages[{index}].content")
                _answer(waiting, message.tool_call_id, text, index)
            case FunctionMessage():
                text = reader.joined_text(message.content, f"messages[{index}].content")
                _answer(waiting, _id_of(waiting, message.name), text, index)
            case _:
                pass
    if waiting is not None:
        found[waiting.index] = _close(waiting, reader)
    return found


def _opened(message: AssistantMessage, index: int) -> _Open | None:
    calls = list(message.tool_calls or ())
    if not calls and message.function_call is not None:
        calls = [ToolCall(id=f"call_{index}", function=message.function_call)]
    if len({call.id for call in calls}) < len(calls):
        raise InvalidRequest("Two tool calls have the same id.", param=f"messages[{index}].tool_calls")
    return _Open(index, calls, {}) if calls else None


def _answer(waiting: _Open | None, call_id: str | None, text: str, index: int) -> None:
    if waiting is None or all(call.id != call_id for call in waiting.calls) or call_id in waiting.results:
        raise InvalidRequest(
            "A message with the result of a tool call must follow the assistant's message that made the call, "
            "and answer one of its calls that has no answer yet.",
            param=f"messages[{index}]",
        )
    waiting.results[str(call_id)] = (text, index)


def _id_of(waiting: _Open | None, name: str) -> str | None:
    """The open call of this name: legacy results have no ids."""
    calls: Iterable[ToolCall] = waiting.calls if waiting else ()
    return next((call.id for call in calls if call.function.name == name), None)


def _close(waiting: _Open, reader: ContentReader) -> list[AnsweredCall]:
    missing = [call.id for call in waiting.calls if call.id not in waiting.results]
    if missing:
        raise InvalidRequest(
            "An assistant message with tool calls must be followed by a tool message for each of them. "
            f"No answer to: {', '.join(missing[:8])[:256]}.",
            param=f"messages[{waiting.index}].tool_calls",
        )
    answered: list[AnsweredCall] = []
    for position, call in enumerate(waiting.calls):
        param = f"messages[{waiting.index}].tool_calls[{position}].function"
        name = reader.text(call.function.name, f"{param}.name")
        arguments = _arguments(call.function, reader, f"{param}.arguments")
        answered.append(AnsweredCall(call.id, name, arguments, waiting.results[call.id][0]))
    return answered


def _arguments(function: FunctionCall, reader: ContentReader, param: str) -> dict[str, Raw]:
    raw = read_json(function.arguments) if function.arguments.strip() else {}
    if not isinstance(raw, dict):
        raise InvalidRequest("The arguments of a tool call must be a JSON object.", param=param)

    def clean(value: Raw) -> Raw:
        match value:
            case str():
                return reader.text(value, param)
            case list():
                return [clean(item) for item in value]
            case dict():
                return {reader.text(key, param): clean(member) for key, member in value.items()}
            case _:
                return value

    cleaned = clean(raw) if "<" in function.arguments or "\\u003" in function.arguments else raw
    return cleaned if isinstance(cleaned, dict) else raw
