"""The request fields the worker checks, with vLLM 0.32's types; everything else is accepted and ignored, as vLLM does."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from .errors import WorkerError, bad_request, ill_typed

Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class StreamOptions(Struct):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class JsonSchema(Struct):
    name: str
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseFormat(Struct):
    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(Struct):
    json: str | dict[str, Any] | None = None
    choice: list[str] | None = None
    regex: str | None = None
    json_object: bool | None = None


class Message(Struct):
    role: str
    content: str | list[Any] | None = None


class Function(Struct):
    name: str
    parameters: dict[str, Any] | None = None


class Tool(Struct):
    function: Function
    type: Literal["function"] = "function"


class Sampling(Struct, kw_only=True):
    """What chat and text completions share."""

    model: str | None = None
    n: int | None = 1
    seed: Int64 | None = None
    stop: str | Annotated[list[str], Meta(max_length=64)] | None = None
    stop_token_ids: list[int] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    echo: bool = False
    priority: Int64 = 0
    return_token_ids: bool | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    user: str | None = None


class ChatRequest(Sampling, kw_only=True):
    messages: list[Message]
    max_completion_tokens: int | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    parallel_tool_calls: bool | None = True


class CompletionRequest(Sampling, kw_only=True):
    prompt: Any
    max_tokens: int | None = 16
    logprobs: int | None = None
    add_special_tokens: bool = True


class EmbeddingRequest(Struct, kw_only=True):
    input: str | list[Any]
    model: str | None = None
    encoding_format: Literal["float", "base64", "bytes", "bytes_only"] = "float"
    dimensions: int | None = None


class TokenizeRequest(Struct, kw_only=True):
    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = False


class DetokenizeRequest(Struct, kw_only=True):
    tokens: list[Annotated[int, Meta(ge=0)]]
    model: str | None = None


T = TypeVar("T", ChatRequest, CompletionRequest, EmbeddingRequest, TokenizeRequest, DetokenizeRequest)
_LOCATION = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(\w+)`")


def parse(raw: bytes, content_type: str, kind: type[T]) -> T:
    """The checked request; raises WorkerError in the shape vLLM gives this mistake."""
    if content_type.split(";", 1)[0].strip().lower() != "application/json":
        raise ill_typed("Unsupported Media Type: Only 'application/json' is allowed", "body")
    try:
        data = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ill_typed(f"JSON decode error: {exc}", "body.0") from exc
    if isinstance(data, dict):
        _check_before_types(data)
    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise _type_error(exc) from exc


def _type_error(exc: msgspec.ValidationError) -> WorkerError:
    found = _LOCATION.match(str(exc))
    what, path = (found["what"], found["path"] or "") if found else (str(exc), "")
    if missing := _MISSING.search(what):
        path += f".{missing[1]}"
    return ill_typed(what, "body" + path.replace("[", ".").replace("]", ""))


def _check_before_types(data: Mapping[str, Any]) -> None:
    """The checks that vLLM runs on the raw body, before it looks at types."""
    if data.get("stream_options") and not data.get("stream"):
        raise bad_request("Stream options can only be defined when `stream=True`.", "stream_options")
    if data.get("tools") == []:
        raise bad_request("`tools` must not be an empty array.", "tools")
    choice = data.get("tool_choice")
    if choice is not None and choice != "none":
        _check_tool_choice(choice, data.get("tools"))
    response_format = data.get("response_format")
    if (
        isinstance(response_format, dict)
        and response_format.get("type") == "json_schema"
        and response_format.get("json_schema") is None
    ):
        raise bad_request("the 'json_schema' field must be provided.", "response_format")
    if "messages" in data:
        _check_chat_logprobs(data)
    elif "prompt" in data and data["prompt"] in (None, ""):
        raise bad_request("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")


def _check_tool_choice(choice: object, tools: object) -> None:
    if tools is None:
        raise bad_request("When using `tool_choice`, `tools` must be set.", "tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        if not isinstance(function, dict):
            raise bad_request("Invalid value for `function` in `tool_choice`!", "tool_choice.function")
        names = (
            [t["function"].get("name") for t in tools if isinstance(t, dict) and "function" in t]
            if isinstance(tools, list)
            else []
        )
        if function.get("name") not in names:
            raise bad_request(
                "The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice"
            )
    elif choice not in ("auto", "required"):
        raise bad_request(f"Invalid value for `tool_choice`: {choice}!", "tool_choice")


def _check_chat_logprobs(data: Mapping[str, Any]) -> None:
    top = data.get("top_logprobs")
    if top is None:
        return
    if not isinstance(top, (int, float)):
        raise bad_request("`top_logprobs` must be an integer.", "top_logprobs")
    if top < 0 and top != -1:
        raise bad_request("`top_logprobs` must be a positive value or -1.", "top_logprobs")
    if top != 0 and not data.get("logprobs"):
        raise bad_request("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")


def check_sampling(request: Sampling, max_tokens: int | None) -> None:
    """The value ranges of vLLM's SamplingParams; those without a `param` have none there either."""
    if request.n is not None and request.n < 1:
        raise bad_request(f"n must be at least 1, got {request.n}.", "n")
    for name in ("presence_penalty", "frequency_penalty"):
        value = getattr(request, name)
        if value is not None and not -2 <= value <= 2:
            raise bad_request(f"{name} must be in [-2, 2], got {value}.")
    if request.repetition_penalty is not None and request.repetition_penalty <= 0:
        raise bad_request(f"repetition_penalty must be greater than zero, got {request.repetition_penalty}.")
    if request.temperature is not None and not 0 <= request.temperature <= 2:
        raise bad_request(f"temperature must be in [0, 2], got {request.temperature}.", "temperature")
    if request.top_p is not None and not 0 < request.top_p <= 1:
        raise bad_request(f"top_p must be in (0, 1], got {request.top_p}.", "top_p")
    if request.top_k is not None and request.top_k < -1:
        raise bad_request(f"top_k must be 0 (disable), or at least 1, got {request.top_k}.")
    if request.min_p is not None and not 0 <= request.min_p <= 1:
        raise bad_request(f"min_p must be in [0, 1], got {request.min_p}.")
    if max_tokens is not None and max_tokens < 1:
        raise bad_request(f"max_tokens must be at least 1, got {max_tokens}.", "max_tokens")
    if isinstance(request.stop, list) and "" in request.stop:
        raise bad_request("stop cannot contain an empty string.")
