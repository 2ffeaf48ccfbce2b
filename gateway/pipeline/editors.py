"""Streams whose text a dialect reads, chunk by chunk. No I/O.

The worker sends the model's raw text, over the chat route or the completions route; the dialect's parser, one per
choice, turns it into events, and these become OpenAI's deltas.
"""

from collections.abc import Callable
from dataclasses import dataclass
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
from gateway.pipeline.frame_form import is_plain
from gateway.pipeline.token_logprobs import TokenLogprobs
from gateway.values import Usage
from gateway.wire.chunks import (
    Chunk,
    ChunkChoice,
    Delta,
    FunctionDelta,
    RawChoice,
    RawChunk,
    ToolCallDelta,
    UsageChunk,
)
from gateway.wire.replies import NULL, usage_body

_CHUNK = msgspec.json.Decoder(RawChunk)
_ENCODER = msgspec.json.Encoder()
_NO_ARGUMENTS = b'"arguments":""'


def chat_id(worker_id: str) -> str:
    """Return a chat completion's id for the id of a worker's answer, which may be a text completion's."""
    return f"chatcmpl-{worker_id.removeprefix('chatcmpl-').removeprefix('cmpl-')}"


class UnusableReplyError(WorkerError):
    """The model's reply is not what the request demands; another may be."""


class UnmetToolChoiceError(UnusableReplyError):
    """The model was told to call a function and did not."""

    def __init__(self) -> None:
        super().__init__("The model made no valid call though 'tool_choice' asks for one.", param="tool_choice")


class UnfitArgumentsError(UnusableReplyError):
    """The model's arguments break the schema of a tool that had to be kept."""

    def __init__(self, unfit: Unfit, *, must_call: bool) -> None:
        super().__init__(
            f"The model's arguments for '{unfit.name}' don't fit its schema: {unfit.problem}.",
            param="tool_choice" if must_call else "tools",
        )


@dataclass(slots=True)
class ChoiceText:
    """One choice of a reply on its way through its parser."""

    parser: ReplyParser
    begun: bool = False
    """Its first chunk has gone out."""
    called: bool = False
    finish_reason: str | None = None
    stopped: bool = False
    """The parser wants nothing more."""
    unfit: Unfit | None = None
    """A call that must not leave: the reply is a failure."""
    logprobs: TokenLogprobs | None = None
    """Made when the worker tells the first."""

    def read(self, choice: RawChoice) -> list[Event]:
        """Return the events of one chunk, or of a whole reply."""
        if self.finish_reason is not None:
            return []
        text, thought = choice.said, ""
        if choice.delta is not None:
            thought = choice.delta.reasoning or choice.delta.reasoning_content or ""
        events: list[Event] = [ReasoningDelta(thought)] if thought else []
        if text:
            events += self.parser.feed(text)
        return self.take(events, choice.finish_reason)

    def logprobs_of(self, choice: RawChoice, events: list[Event]) -> msgspec.Raw:
        """Return the log probabilities that leave with the content of these events, which became of the chunk."""
        if self.logprobs is None:
            if choice.logprobs == NULL:
                return NULL
            self.logprobs = TokenLogprobs()
        return self.logprobs.leaving(choice.said, choice.logprobs, events, idle=self.parser.idle)

    def take(self, events: list[Event], finish_reason: str | None = None) -> list[Event]:
        """Return the parser's events, with the end if this is it: the worker's, or that nothing more is wanted."""
        enough = next((event.reason for event in events if isinstance(event, Enough)), None)
        if enough is not None:
            self.stopped = True
            events += self.parser.finish(enough)
        elif finish_reason is not None:
            events += self.parser.finish(finish_reason)
        for event in events:
            if isinstance(event, CallStart):
                self.called = True
            elif isinstance(event, Unfit):
                self.unfit = event
            elif isinstance(event, Finish):
                self.finish_reason = event.reason
        return events


class ReplyEditor:
    """Turns a worker's chunks into the client's, for `choices` choices. Implements `relay.ChunkEditor`."""

    def __init__(
        self,
        make_parser: Callable[[], ReplyParser],
        *,
        model: str,
        choices: int,
        must_call: bool,
        legacy: bool,
    ) -> None:
        self.failure: WorkerError | None = None
        self._reply_id = ""
        self._created = 0
        self._chat_chunks = False
        """The worker's chunks have the client's form: they come from the chat route."""
        self._model = model
        self._must_call = must_call
        self._legacy = legacy
        self._choices = [ChoiceText(make_parser()) for _ in range(choices)]
        self._around_arguments = -1, b"", b""
        """Of a chunk with arguments: the call's index, and the bytes before and after them."""

    @property
    def stopped(self) -> bool:
        """Whether every choice has ended before the worker did: it may be aborted."""
        return all(choice.finish_reason is not None for choice in self._choices) and any(
            choice.stopped for choice in self._choices
        )

    @property
    def idle(self) -> bool:
        """Whether chunks of plain text leave as they come."""
        choice = self._choices[0]
        if len(self._choices) > 1 or self._must_call or not choice.begun or choice.finish_reason is not None:
            return False
        return choice.parser.idle

    def pass_on(self, frame: bytes) -> bytes | None:
        """Return a frame that may go to the client as it came."""
        return frame if self._chat_chunks and self.idle and is_plain(frame) else None

    def edit(self, data: bytes) -> list[bytes]:
        """Return the chunks to send in place of this one."""
        chunk = _CHUNK.decode(data)
        if not self._reply_id:
            self._reply_id = chat_id(chunk.id)
            self._created = chunk.created
        out: list[bytes] = []
        for raw in chunk.choices:
            self._chat_chunks = raw.delta is not None
            if 0 <= raw.index < len(self._choices):
                self._edit_choice(raw, out)
        return out

    def edit_text(self, text: str) -> list[bytes] | None:
        """Return the chunks to send in place of one with this text for its only choice; None: `edit` it."""
        if len(self._choices) > 1 or not self._chat_chunks:
            return None
        choice = self._choices[0]
        events = choice.take(choice.parser.feed(text)) if choice.finish_reason is None else []
        if not events:
            return []
        event = events[0]
        if len(events) == 1 and isinstance(event, ArgumentsDelta) and choice.begun and not self._legacy:
            return [self._arguments_chunk(event)]
        out: list[bytes] = []
        self._send(0, events, NULL, out)
        return out

    def finish(self) -> list[bytes]:
        """Return the ends of choices that the worker left open."""
        out: list[bytes] = []
        for index in range(len(self._choices)):
            self._edit_choice(RawChoice(index, finish_reason="stop"), out)
        return out

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return the chunk that tells the usage."""
        return _ENCODER.encode(UsageChunk(self._reply_id, self._created, self._model, usage_body(usage)))

    def _edit_choice(self, raw: RawChoice, out: list[bytes]) -> None:
        choice = self._choices[raw.index]
        if choice.finish_reason is None:
            events = choice.read(raw)
            self._send(raw.index, events, choice.logprobs_of(raw, events), out)

    def _send(self, index: int, events: list[Event], logprobs: msgspec.Raw, out: list[bytes]) -> None:
        """Add the chunks that tell these events; the log probabilities are those of all their content."""
        choice = self._choices[index]
        finish = next((event.reason for event in events if isinstance(event, Finish)), None)
        if choice.unfit is not None:
            self.failure = UnfitArgumentsError(choice.unfit, must_call=self._must_call)
            return
        if self._must_call and not choice.called:
            if finish is not None:
                self.failure = UnmetToolChoiceError()
            return
        deltas = [delta for event in events for delta in self._deltas(event)]
        if not choice.begun:
            choice.begun = True
            deltas.insert(0, Delta(role="assistant", content=""))
        for position, delta in enumerate(deltas, start=1):
            told = logprobs if position == len(deltas) else NULL
            out.append(self._chunk(ChunkChoice(index, delta, told)))
        if finish is not None:
            out.append(self._chunk(ChunkChoice(index, Delta(), finish_reason=finish)))

    def _arguments_chunk(self, event: ArgumentsDelta) -> bytes:
        """Write the most frequent chunk of a call: as `_chunk` does, but for what is the same in all of them."""
        index, before, after = self._around_arguments
        if index != event.index:
            whole = self._chunk(ChunkChoice(0, self._call_delta(event.index, FunctionDelta(arguments=""), None)))
            before, after = whole.split(_NO_ARGUMENTS)
            before += _NO_ARGUMENTS[:-2]
            self._around_arguments = event.index, before, after
        return b"%b%b%b" % (before, _ENCODER.encode(event.text), after)

    def _chunk(self, choice: ChunkChoice) -> bytes:
        return _ENCODER.encode(Chunk(self._reply_id, self._created, self._model, [choice]))

    def _deltas(self, event: Event) -> list[Delta]:
        match event:
            case ContentDelta(text=text):
                return [Delta(content=text)]
            case ReasoningDelta(text=text):
                return [Delta(reasoning=text, reasoning_content=text)]
            case CallStart(index=index, id=call_id, name=name):
                return [self._call_delta(index, FunctionDelta(name=name, arguments=""), call_id)]
            case ArgumentsDelta(index=index, text=text):
                return [self._call_delta(index, FunctionDelta(arguments=text), None)]
            case Unfit() | Enough() | Finish():
                return []
            case _:
                assert_never(event)

    def _call_delta(self, index: int, function: FunctionDelta, call_id: str | None) -> Delta:
        if self._legacy:
            return Delta(function_call=function)
        if call_id is None:
            return Delta(tool_calls=[ToolCallDelta(index, function)])
        return Delta(tool_calls=[ToolCallDelta(index, function, id=call_id, type="function")])
