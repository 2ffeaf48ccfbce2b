"""What a worker answers and what a client gets: replies, usage, errors.

The worker's types name only what OpenAI has too, so decoding drops the dozen keys that vLLM adds (`stop_reason`,
`token_ids`, `prompt_logprobs`, `kv_transfer_params`, …).

msgspec decodes `Raw | None` as null only: where a key may hold null, the type is `Raw` and null is `NULL`.
"""

from msgspec import UNSET, Raw, Struct, UnsetType, field

from gateway.values import Usage

NULL = Raw(b"null")


class PromptTokensDetails(Struct, frozen=True):
    cached_tokens: int | None = 0


class CompletionTokensDetails(Struct, frozen=True):
    reasoning_tokens: int | None = 0


class UsageBody(Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None

    def to_usage(self) -> Usage:
        """Return the counts as a plain value."""
        cached = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else 0
        reasoning = self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else 0
        return Usage(self.prompt_tokens, self.completion_tokens or 0, cached or 0, reasoning or 0)


def usage_body(usage: Usage) -> UsageBody:
    """Return the counts as clients see them: numbers everywhere, never null."""
    return UsageBody(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(usage.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(usage.reasoning_tokens),
    )


class FunctionCallBody(Struct):
    name: str
    arguments: str
    """JSON text."""


class ToolCallBody(Struct):
    id: str
    function: FunctionCallBody
    type: str = "function"


class ReplyMessage(Struct):
    role: str = "assistant"
    content: str | None = None
    refusal: str | None = None
    tool_calls: Raw | UnsetType = UNSET
    function_call: FunctionCallBody | UnsetType | None = UNSET
    reasoning: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET


class ChatChoice(Struct):
    index: int
    message: ReplyMessage
    logprobs: Raw = NULL
    finish_reason: str | None = None


class ChatReply(Struct):
    id: str
    created: int
    choices: list[ChatChoice]
    model: str = ""
    object: str = "chat.completion"
    usage: UsageBody | None = None


class RawReplyChoice(Struct):
    """A choice of a worker's reply whose text a dialect reads: `message` or `text`, by the route it was asked on."""

    index: int
    message: ReplyMessage | None = None
    text: str | None = None
    logprobs: Raw = NULL
    finish_reason: str | None = None


class RawReply(Struct):
    choices: list[RawReplyChoice]
    id: str = ""
    created: int = 0
    usage: UsageBody | None = None


class CompletionChoice(Struct):
    index: int
    text: str
    logprobs: Raw = NULL
    finish_reason: str | None = None


class CompletionReply(Struct):
    id: str
    created: int
    choices: list[CompletionChoice]
    model: str = ""
    object: str = "text_completion"
    usage: UsageBody | None = None


class EmbeddingItem(Struct):
    index: int
    embedding: list[float] | str
    object: str = "embedding"


class EmbeddingUsage(Struct, frozen=True):
    prompt_tokens: int = 0
    total_tokens: int = 0


class EmbeddingReply(Struct):
    data: list[EmbeddingItem]
    model: str = ""
    object: str = "list"
    usage: EmbeddingUsage = field(default_factory=EmbeddingUsage)


class ChoiceView(Struct):
    """What every choice of a chunk has."""

    index: int


class ChunkView(Struct):
    """The little of a stream's chunk that the gateway must look at."""

    choices: list[ChoiceView] | None = None
    usage: UsageBody | UnsetType | None = UNSET
    error: Raw = NULL


class WorkerErrorDetail(Struct):
    message: str = ""
    param: str | None = None
    type: str | None = None
    code: int | str | None = None


class WorkerErrorBody(Struct):
    error: WorkerErrorDetail | str = ""


class ErrorDetail(Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Struct):
    error: ErrorDetail
