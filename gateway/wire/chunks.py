"""Chunks of a chat stream: what a worker sends, as far as it is read, and what a client gets."""

from msgspec import UNSET, Raw, Struct, UnsetType

from gateway.wire.replies import NULL, UsageBody


class RawDelta(Struct):
    """A worker's delta: raw text of the model, which a dialect reads."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class RawChoice(Struct):
    """One choice of a worker's chunk; `delta` from the chat route, `text` from the completions route."""

    index: int = 0
    delta: RawDelta | None = None
    text: str | None = None
    logprobs: Raw = NULL
    finish_reason: str | None = None

    @property
    def said(self) -> str:
        """The model's text."""
        return (self.text if self.delta is None else self.delta.content) or ""


class RawChunk(Struct):
    choices: list[RawChoice]
    id: str = ""
    created: int = 0


class ParsedFunction(Struct):
    name: str | None = None
    arguments: str | None = None


class ParsedCall(Struct):
    """A piece of a call that the engine has parsed."""

    index: int = 0
    id: str | None = None
    function: ParsedFunction | None = None


class ParsedDelta(RawDelta):
    """A worker's delta where the engine parses calls and thoughts."""

    role: str | None = None
    refusal: str | None = None
    tool_calls: list[ParsedCall] | None = None


class ParsedChoice(Struct):
    index: int
    delta: ParsedDelta | None = None
    logprobs: Raw = NULL
    finish_reason: str | None = None


class ParsedChunk(Struct):
    choices: list[ParsedChoice]
    id: str = ""
    created: int = 0


class FunctionDelta(Struct, omit_defaults=True):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(Struct, omit_defaults=True):
    """The first delta of a call has id, type and name; the later ones arguments only."""

    index: int
    function: FunctionDelta
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET


class Delta(Struct, omit_defaults=True):
    role: str | UnsetType = UNSET
    content: str | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: FunctionDelta | UnsetType = UNSET


class ChunkChoice(Struct):
    index: int
    delta: Delta
    logprobs: Raw = NULL
    finish_reason: str | None = None


class Chunk(Struct):
    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: str = "chat.completion.chunk"


class UsageChunk(Struct):
    """The last chunk of a stream whose client asked for the usage."""

    id: str
    created: int
    model: str
    usage: UsageBody
    choices: tuple[()] = ()
    object: str = "chat.completion.chunk"
