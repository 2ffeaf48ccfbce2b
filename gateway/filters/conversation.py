"""The texts of a chat conversation: each through a function, and how long they are together."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from gateway.config.model import FilterLimits
from gateway.errors import InvalidRequest
from gateway.wire.messages import (
    AnyMessage,
    AssistantMessage,
    FunctionCall,
    FunctionMessage,
    ImagePart,
    Part,
    RefusalPart,
    TextPart,
    ToolMessage,
    UserMessage,
)

TextKind = Literal["untrusted", "trusted", "arguments"]
"""`untrusted`: of users and tools; `trusted`: of the system or the model; `arguments`: JSON of a call."""
Screen = Callable[[str, TextKind], str]


def screen_messages(messages: list[AnyMessage], screen: Screen) -> list[AnyMessage]:
    """Return the messages with every text part screened, arguments of earlier calls and tool results included."""
    return [_screen_message(message, screen) for message in messages]


def _screen_message(message: AnyMessage, screen: Screen) -> AnyMessage:
    kind: TextKind = "untrusted" if isinstance(message, UserMessage | ToolMessage | FunctionMessage) else "trusted"
    changes: dict[str, Any] = {"content": _screen_content(message.content, kind, screen)}
    if message.name is not None and not isinstance(message, FunctionMessage):
        changes["name"] = screen(message.name, kind)
    if isinstance(message, AssistantMessage):
        for name in ("refusal", "reasoning", "reasoning_content"):
            text = getattr(message, name)
            if text:
                changes[name] = screen(text, "trusted")
        if message.tool_calls:
            changes["tool_calls"] = [
                msgspec.structs.replace(call, function=_screen_call(call.function, screen))
                for call in message.tool_calls
            ]
        if message.function_call is not None:
            changes["function_call"] = _screen_call(message.function_call, screen)
    return msgspec.structs.replace(message, **changes)


def _screen_call(call: FunctionCall, screen: Screen) -> FunctionCall:
    return FunctionCall(call.name, screen(call.arguments, "arguments"))


def _screen_content(content: str | list[Any] | None, kind: TextKind, screen: Screen) -> str | list[Part] | None:
    if content is None or isinstance(content, str):
        return screen(content, kind) if content else content
    parts: list[Part] = []
    for part in content:
        match part:
            case TextPart(text=text):
                parts.append(TextPart(screen(text, kind)))
            case RefusalPart(refusal=refusal):
                parts.append(RefusalPart(screen(refusal, kind)))
            case _:
                parts.append(part)
    return parts


def image_urls(messages: list[AnyMessage]) -> list[str]:
    """Return the URLs of all image parts, in order."""
    return [
        part.image_url.url
        for message in messages
        if isinstance(message.content, list)
        for part in message.content
        if isinstance(part, ImagePart)
    ]


def _chars_of(message: AnyMessage) -> int:
    count = 0

    def measure(text: str, kind: TextKind) -> str:
        nonlocal count
        del kind
        count += len(text)
        return text

    _screen_message(message, measure)
    return count


def limit_conversation(messages: list[AnyMessage], limits: FilterLimits) -> list[AnyMessage]:
    """Return the messages within the limits. Raises InvalidRequest.

    `truncate` drops the oldest turns, never a system message or the last turn, and a call only with its results.
    """
    sizes = [_chars_of(message) for message in messages]
    count, chars = len(messages), sum(sizes)
    if _fits(count, chars, limits):
        return messages
    if limits.over == "truncate":
        kept = [True] * len(messages)
        for turn in _turns(messages)[:-1]:
            for index in turn:
                kept[index] = False
                count -= 1
                chars -= sizes[index]
            if _fits(count, chars, limits):
                return [message for message, keep in zip(messages, kept, strict=True) if keep]
    most = limits.max_messages
    if most is not None and count > most:
        raise InvalidRequest(f"This conversation has {count} messages; at most {most} are allowed.", param="messages")
    raise InvalidRequest(
        f"This conversation has {chars} characters; at most {limits.max_chars} are allowed.", param="messages"
    )


def _fits(count: int, chars: int, limits: FilterLimits) -> bool:
    return (limits.max_messages is None or count <= limits.max_messages) and (
        limits.max_chars is None or chars <= limits.max_chars
    )


def _turns(messages: list[AnyMessage]) -> list[list[int]]:
    """Return the indexes that go together: a message, with the tool results that follow it."""
    turns: list[list[int]] = []
    for index, message in enumerate(messages):
        if message.__class__.__name__ in ("SystemMessage", "DeveloperMessage"):
            continue
        if isinstance(message, ToolMessage | FunctionMessage) and turns:
            turns[-1].append(index)
        else:
            turns.append([index])
    return turns
