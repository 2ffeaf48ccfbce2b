"""`POST /v1/chat/completions`: the request (OpenAI's API reference, November 2026, and vLLM 0.32's own fields)."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.json import Decoder

from gateway.errors import InvalidRequest
from gateway.wire.decode import decode_request
from gateway.wire.fields import (
    ChatTemplateKwargs,
    LogitBias,
    MaxTokens,
    Model,
    Penalty,
    Probability,
    Seed,
    SequenceCount,
    Stop,
    StreamOptions,
    Temperature,
    TopLogprobs,
)
from gateway.wire.messages import AnyMessage

MAX_MESSAGES = 10_000
MAX_TOOLS = 1024

ToolName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Description = Annotated[str, Meta(max_length=1_048_576)]


class Function(Struct, frozen=True, omit_defaults=True):
    name: ToolName
    description: Description | None = None
    parameters: dict[str, Any] | None = None
    """JSON Schema, as the client wrote it."""
    strict: bool | None = None


class Tool(Struct, frozen=True):
    function: Function
    type: Literal["function"]


class NamedFunction(Struct, frozen=True):
    name: str


class NamedToolChoice(Struct, frozen=True, tag_field="type", tag="function"):
    function: NamedFunction


class AllowedTool(Struct, frozen=True):
    function: NamedFunction
    type: Literal["function"] = "function"


class AllowedTools(Struct, frozen=True):
    tools: Annotated[list[AllowedTool], Meta(min_length=1, max_length=MAX_TOOLS)]
    mode: Literal["auto", "required"] = "auto"


class AllowedToolsChoice(Struct, frozen=True, tag_field="type", tag="allowed_tools"):
    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required"] | NamedToolChoice | AllowedToolsChoice


class JsonSchema(Struct, frozen=True, omit_defaults=True):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any] | None = None
    description: Description | None = None
    strict: bool | None = None


class TextFormat(Struct, frozen=True, tag_field="type", tag="text"):
    pass


class JsonObjectFormat(Struct, frozen=True, tag_field="type", tag="json_object"):
    pass


class JsonSchemaFormat(Struct, frozen=True, tag_field="type", tag="json_schema"):
    json_schema: JsonSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class ChatRequest(Struct, frozen=True, kw_only=True):
    """A chat request whose every field is of its documented type and range. What is not named here is ignored."""

    model: Model
    messages: Annotated[list[AnyMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]

    # Sent on to the worker, as they are (see FORWARDED).
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    logprobs: bool | None = None
    n: SequenceCount | None = None
    presence_penalty: Penalty | None = None
    response_format: ResponseFormat | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    temperature: Temperature | None = None
    top_logprobs: TopLogprobs | None = None
    top_p: Probability | None = None
    ignore_eos: bool | None = None
    include_reasoning: bool | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    structured_outputs: dict[str, Any] | None = None
    thinking_token_budget: Annotated[int, Meta(ge=0)] | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None

    # Read by the gateway, which decides what the worker gets.
    chat_template_kwargs: ChatTemplateKwargs | None = None
    function_call: Literal["none", "auto"] | NamedFunction | None = None
    functions: Annotated[list[Function], Meta(min_length=1, max_length=MAX_TOOLS)] | None = None
    max_completion_tokens: MaxTokens | None = None
    max_tokens: MaxTokens | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tool_choice: ToolChoice | None = None
    tools: Annotated[list[Tool], Meta(min_length=1, max_length=MAX_TOOLS)] | None = None
    audio: dict[str, Any] | None = None

    # OpenAI's own services: accepted when well typed, without effect here.
    metadata: dict[str, str] | None = None
    prediction: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    user: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: dict[str, Any] | None = None


FORWARDED = (
    "frequency_penalty",
    "ignore_eos",
    "include_reasoning",
    "logit_bias",
    "logprobs",
    "min_p",
    "min_tokens",
    "mm_processor_kwargs",
    "n",
    "presence_penalty",
    "repetition_penalty",
    "response_format",
    "seed",
    "stop",
    "structured_outputs",
    "temperature",
    "thinking_token_budget",
    "top_k",
    "top_logprobs",
    "top_p",
)
"""Fields that go to the worker unchanged. Everything else a client sends stays here: `priority`, `cache_salt`,
`chat_template`, `kv_transfer_params` and their like are the operator's."""

_DECODER = Decoder(ChatRequest)


def parse_chat_request(body: bytes) -> ChatRequest:
    """Decode and check a request body. Raises InvalidRequest, with `param` naming the field at fault."""
    request = decode_request(_DECODER, body)
    if request.stream_options is not None and not request.stream:
        message = "'stream_options' is only allowed when 'stream' is true."
        raise InvalidRequest(message, param="stream_options")
    if request.top_logprobs and not request.logprobs:
        message = "'top_logprobs' is only allowed when 'logprobs' is true."
        raise InvalidRequest(message, param="top_logprobs")
    if request.audio is not None or (request.modalities is not None and "audio" in request.modalities):
        message = "Gemma models answer in text: audio output is not supported."
        raise InvalidRequest(message, param="modalities" if request.audio is None else "audio")
    if request.tools is None and request.functions is None:
        if request.tool_choice is not None and request.tool_choice not in ("none", "auto"):
            message = "'tool_choice' is only allowed when 'tools' are given."
            raise InvalidRequest(message, param="tool_choice")
        if isinstance(request.function_call, NamedFunction):
            message = "'function_call' is only allowed when 'functions' are given."
            raise InvalidRequest(message, param="function_call")
    elif request.tools is not None and request.functions is not None:
        message = "Give 'tools' or the older 'functions', not both."
        raise InvalidRequest(message, param="functions")
    return request
