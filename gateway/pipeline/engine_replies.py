"""Replies whose calls and thoughts the engine has parsed (`dialect: engine`), made OpenAI's. No I/O.

Thoughts get both of their names. A call's first delta is whole, its id, type and name come once. `tool_calls` as the
reason of an end without calls becomes `stop` (vllm#50889, #53363). Clients that speak of `functions` get
`function_call`. Where a call has to be made prose is none, whatever the engine thinks of it.
"""

import msgspec

from gateway.errors import WorkerError
from gateway.pipeline.editors import UnmetToolChoiceError
from gateway.values import Usage
from gateway.wire.chunks import (
    Chunk,
    ChunkChoice,
    Delta,
    FunctionDelta,
    ParsedCall,
    ParsedChoice,
    ParsedChunk,
    ParsedDelta,
    ParsedFunction,
    ToolCallDelta,
    UsageChunk,
)
from gateway.wire.replies import NULL, ChatChoice, ChatReply, ToolCallBody, usage_body

_CHUNK = msgspec.json.Decoder(ParsedChunk)
_CALLS = msgspec.json.Decoder(list[ToolCallBody])
_ENCODER = msgspec.json.Encoder()
_EMPTY_LIST = msgspec.Raw(b"[]")
_MENDED = (b'"tool_calls"', b'"reasoning')
"""With their quotes these are keys, or a reason to end: a chunk without them is OpenAI's already."""


def mend_reply(reply: ChatReply, *, must_call: bool, legacy: bool) -> None:
    """Change a whole reply in place. Raises UnmetToolChoiceError for prose where a call has to be made."""
    for choice in reply.choices:
        _mend_message(choice)
        called = choice.message.tool_calls is not msgspec.UNSET
        if must_call and not called:
            raise UnmetToolChoiceError
        if legacy and called:
            _speak_of_functions(choice)


def _mend_message(choice: ChatChoice) -> None:
    message = choice.message
    if message.tool_calls in (NULL, _EMPTY_LIST):
        message.tool_calls = msgspec.UNSET
    if message.tool_calls is msgspec.UNSET:
        choice.finish_reason = "stop" if choice.finish_reason == "tool_calls" else choice.finish_reason
    else:
        message.content = message.content or None
    if not message.function_call:
        message.function_call = msgspec.UNSET
    reasoning = message.reasoning or message.reasoning_content or msgspec.UNSET
    message.reasoning = message.reasoning_content = reasoning


def _speak_of_functions(choice: ChatChoice) -> None:
    message = choice.message
    if not isinstance(message.tool_calls, msgspec.Raw):
        return
    try:
        calls = _CALLS.decode(message.tool_calls)
    except msgspec.DecodeError as error:
        raise WorkerError("The model's worker answered with calls of another shape than OpenAI's.") from error
    message.function_call, message.tool_calls = calls[0].function, msgspec.UNSET
    choice.finish_reason = _with_a_call(choice.finish_reason, legacy=True)


def _with_a_call(reason: str | None, *, legacy: bool) -> str | None:
    return "function_call" if legacy and reason in ("stop", "tool_calls") else reason


class EngineEditor:
    """Mends the chunks of one stream, of `choices` choices. Implements `relay.ChunkEditor`."""

    def __init__(self, *, model: str, choices: int, must_call: bool, legacy: bool) -> None:
        self.failure: WorkerError | None = None
        self._id = ""
        self._created = 0
        self._model = model
        self._choices = choices
        self._must_call = must_call
        self._legacy = legacy
        self._named: set[tuple[int, int]] = set()
        """Calls whose head has left: choice and index."""
        self._called: set[int] = set()

    @property
    def stopped(self) -> bool:
        """Never: how many calls are made is the engine's business."""
        return False

    @property
    def idle(self) -> bool:
        """Whether text may leave: where a call has to be made, not before there is one."""
        return not self._must_call or len(self._called) == self._choices

    def pass_on(self, frame: bytes) -> bytes | None:
        """Return a frame that has nothing to mend."""
        passes = self._id and self.idle and all(frame.find(key) < 0 for key in _MENDED)
        return frame if passes else None

    def edit(self, data: bytes) -> list[bytes]:
        """Return the chunk to send in place of this one, if any is left."""
        chunk = _CHUNK.decode(data)
        if not self._id:
            self._id, self._created = chunk.id, chunk.created
        edited = [mended for choice in chunk.choices for mended in self._mend(choice)]
        return [_ENCODER.encode(Chunk(chunk.id, chunk.created, self._model, edited))] if edited else []

    def edit_text(self, text: str) -> None:
        """Return None: chunks are read whole."""
        del text

    def finish(self) -> list[bytes]:
        """Return nothing: nothing is held back."""
        if not self.idle:
            self.failure = UnmetToolChoiceError()
        return []

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return the chunk that tells the usage."""
        return _ENCODER.encode(UsageChunk(self._id, self._created, self._model, usage_body(usage)))

    def _mend(self, choice: ParsedChoice) -> list[ChunkChoice]:
        said = choice.delta or ParsedDelta()
        calls = [delta for call in said.tool_calls or () for delta in self._call(choice.index, call)]
        reason, called = choice.finish_reason, choice.index in self._called
        if reason is not None and self._must_call and not called:
            self.failure = UnmetToolChoiceError()
            return []
        if called:
            reason = _with_a_call(reason, legacy=self._legacy)
        elif reason == "tool_calls":
            reason = "stop"
        delta = Delta()
        if said.role:
            delta.role = "assistant"
        if said.content or (said.role and not calls):
            delta.content = "" if self._must_call and not called else said.content or ""
        if said.refusal:
            delta.refusal = said.refusal
        reasoning = said.reasoning or said.reasoning_content
        if reasoning:
            delta.reasoning = delta.reasoning_content = reasoning
        self._put(calls, delta)
        if delta == Delta() and reason is None:
            return []
        return [ChunkChoice(choice.index, delta, NULL if calls else choice.logprobs, reason)]

    def _put(self, calls: list[ToolCallDelta], delta: Delta) -> None:
        if self._legacy and calls:
            delta.function_call = calls[0].function
        elif calls:
            delta.tool_calls = calls

    def _call(self, choice: int, call: ParsedCall) -> list[ToolCallDelta]:
        """The client's delta of a call, if it has anything to say."""
        if self._legacy and call.index:
            return []
        said = call.function or ParsedFunction()
        self._called.add(choice)
        if (choice, call.index) in self._named:
            return [ToolCallDelta(call.index, FunctionDelta(arguments=said.arguments))] if said.arguments else []
        self._named.add((choice, call.index))
        head = FunctionDelta(name=said.name or msgspec.UNSET, arguments=said.arguments or "")
        return [ToolCallDelta(call.index, head, id=call.id or msgspec.UNSET, type="function")]
