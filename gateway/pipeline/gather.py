"""Whole replies whose text a dialect reads. No I/O.

The reply comes whole, or as a stream that is gathered here: then the worker can be aborted as soon as the client has
all it asked for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from gateway.dialects.events import (
    ArgumentsDelta,
    CallStart,
    ContentDelta,
    Enough,
    Event,
    Finish,
    ReasoningDelta,
    ReplyParser,
    Unfit,
)
from gateway.errors import WorkerError
from gateway.pipeline.editors import ChoiceText, UnfitArgumentsError, UnmetToolChoiceError, chat_id
from gateway.pipeline.token_logprobs import joined
from gateway.values import Usage
from gateway.wire.chunks import RawChoice, RawChunk, RawDelta
from gateway.wire.replies import (
    NULL,
    ChatChoice,
    ChatReply,
    FunctionCallBody,
    RawReply,
    ReplyMessage,
    ToolCallBody,
    UsageBody,
)

_CHUNK = msgspec.json.Decoder(RawChunk)
_ENCODER = msgspec.json.Encoder()


@dataclass(slots=True)
class GatheredChoice:
    """One choice of a whole reply."""

    content: list[str] = field(default_factory=list[str])
    reasoning: list[str] = field(default_factory=list[str])
    calls: list[ToolCallBody] = field(default_factory=list[ToolCallBody])
    arguments: list[str] = field(default_factory=list[str])
    logprobs: list[msgspec.Raw] = field(default_factory=list[msgspec.Raw])

    def add(self, events: Iterable[Event]) -> None:
        """Take events in their order."""
        for event in events:
            match event:
                case ContentDelta(text=text):
                    self.content.append(text)
                case ReasoningDelta(text=text):
                    self.reasoning.append(text)
                case CallStart(id=call_id, name=name):
                    self._close_call()
                    self.calls.append(ToolCallBody(call_id, FunctionCallBody(name, "")))
                case ArgumentsDelta(text=text):
                    self.arguments.append(text)
                case Unfit() | Enough() | Finish():
                    self._close_call()
                case _:
                    assert_never(event)

    def message(self, *, legacy: bool) -> ReplyMessage:
        """Return the message: content null next to calls without text, as OpenAI has it."""
        content = "".join(self.content)
        message = ReplyMessage(content=content if content or not self.calls else None)
        if self.reasoning:
            message.reasoning = message.reasoning_content = "".join(self.reasoning)
        if self.calls and legacy:
            message.function_call = self.calls[0].function
        elif self.calls:
            message.tool_calls = msgspec.Raw(_ENCODER.encode(self.calls))
        return message

    def _close_call(self) -> None:
        if self.calls and self.arguments:
            self.calls[-1].function.arguments = "".join(self.arguments)
            self.arguments.clear()


def untouched_reply(raw: RawReply, leaves_alone: Callable[[str], bool]) -> ChatReply | None:
    """Return the reply to a request for one choice where no parser would change anything; None: one may."""
    if len(raw.choices) != 1:
        return None
    (choice,) = raw.choices
    message = choice.message
    if choice.index or (message is not None and (message.reasoning or message.reasoning_content)):
        return None
    content = choice.text if message is None else message.content
    if not content or not leaves_alone(content):
        return None
    reason = choice.finish_reason
    chosen = ChatChoice(
        index=0,
        message=ReplyMessage(content=content),
        logprobs=choice.logprobs,
        finish_reason="stop" if reason in {None, "tool_calls"} else reason,
    )
    return ChatReply(id=chat_id(raw.id), created=raw.created, choices=[chosen])


class ReplyGatherer:
    """Gathers a reply's choices. Implements `relay.ChunkEditor` for streams of which no chunk leaves."""

    def __init__(self, make_parser: Callable[[], ReplyParser], *, choices: int, must_call: bool, legacy: bool) -> None:
        self.failure: WorkerError | None = None
        self._must_call = must_call
        self._legacy = legacy
        self._texts = [ChoiceText(make_parser()) for _ in range(choices)]
        self._gathered = [GatheredChoice() for _ in range(choices)]
        self._id = ""
        self._created = 0

    @property
    def stopped(self) -> bool:
        """Whether every choice has ended, one at least before the worker did."""
        return all(text.finish_reason is not None for text in self._texts) and any(text.stopped for text in self._texts)

    @property
    def idle(self) -> bool:
        """Never: every chunk is read."""
        return False

    def pass_on(self, frame: bytes) -> None:
        """Return None: every chunk is read."""

    def edit(self, data: bytes) -> list[bytes]:
        """Take a chunk; nothing is sent in its place."""
        chunk = _CHUNK.decode(data)
        if not self._id:
            self._id, self._created = chunk.id, chunk.created
        for choice in chunk.choices:
            events = self._add(choice)
            if events is None:
                continue
            logprobs = self._texts[choice.index].logprobs_of(choice, events)
            if logprobs != NULL:
                self._gathered[choice.index].logprobs.append(logprobs)
        return []

    def edit_text(self, text: str) -> list[bytes] | None:
        """Take a chunk that has this text and nothing else."""
        if not self._id or len(self._texts) > 1:
            return None
        self._add(RawChoice(0, RawDelta(text)))
        return []

    def finish(self) -> list[bytes]:
        """End the choices that the worker left open."""
        for index in range(len(self._texts)):
            self._add(RawChoice(index, finish_reason="stop"))
        return []

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return nothing: the usage goes into the reply."""
        del usage
        return b""

    def add_reply(self, reply: RawReply) -> None:
        """Take a whole reply."""
        self._id, self._created = reply.id, reply.created
        for choice in reply.choices:
            message = choice.message or ReplyMessage(content=choice.text)
            reasoning = message.reasoning or message.reasoning_content or None
            delta = RawDelta(content=message.content, reasoning=reasoning)
            self._add(RawChoice(choice.index, delta, finish_reason=choice.finish_reason or "stop"))
            if choice.logprobs != NULL and self._unchanged(choice.index, message.content):
                self._gathered[choice.index].logprobs.append(choice.logprobs)

    def reply(self, usage: UsageBody) -> ChatReply:
        """Return the reply in the client's terms. Raises WorkerError for one that isn't what the request demands."""
        if self.failure is not None:
            raise self.failure
        if self._must_call and not all(text.called for text in self._texts):
            raise UnmetToolChoiceError
        choices = [
            ChatChoice(
                index=index,
                message=gathered.message(legacy=self._legacy),
                logprobs=joined(gathered.logprobs),
                finish_reason=text.finish_reason or "stop",
            )
            for index, (text, gathered) in enumerate(zip(self._texts, self._gathered, strict=True))
        ]
        return ChatReply(id=chat_id(self._id), created=self._created, choices=choices, usage=usage)

    def _add(self, choice: RawChoice) -> list[Event] | None:
        """Take what a choice says; return what became of it, None for a choice that nobody asked for."""
        if not 0 <= choice.index < len(self._texts):
            return None
        text = self._texts[choice.index]
        events = text.read(choice)
        self._gathered[choice.index].add(events)
        if text.unfit is not None:
            self.failure = UnfitArgumentsError(text.unfit, must_call=self._must_call)
        return events

    def _unchanged(self, index: int, text: str | None) -> bool:
        """Whether the client sees the text as the log probabilities tell it."""
        return 0 <= index < len(self._gathered) and "".join(self._gathered[index].content) == (text or "")
