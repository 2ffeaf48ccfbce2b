"""The request fields the worker checks, with vLLM 0.32's types; all others are accepted and ignored, as vLLM does."""

import json
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from .errors import WorkerError, bad_request, framework_error, ill_typed
from .raw_checks import check_raw

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
    return_tokens_as_token_ids: bool | None = None
    logprob_token_ids: list[int] | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    user: str | None = None

    def check_logprobs(self, wanted: int | None) -> None:
        """More alternatives than an engine gives by default are refused."""
        if wanted is not None and wanted > _MAX_LOGPROBS:
            raise bad_request(
                f"Requested sample logprobs of {wanted}, which is greater than max allowed: {_MAX_LOGPROBS}", "logprobs"
            )


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


class LoadAdapterRequest(Struct, kw_only=True):
    lora_name: str
    lora_path: str
    load_inplace: bool = False
    is_3d_lora_weight: bool = False


class UnloadAdapterRequest(Struct, kw_only=True):
    lora_name: str
    lora_int_id: int | None = None


_MAX_LOGPROBS = 20

T = TypeVar(
    "T",
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    TokenizeRequest,
    DetokenizeRequest,
    LoadAdapterRequest,
    UnloadAdapterRequest,
)
_LOCATION = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$(?P<path>.*)`)?$", re.DOTALL)
_MISSING = re.compile(r"missing required field `(\w+)`")


def parse(raw: bytes, content_type: str, kind: type[T]) -> T:
    """The checked request; raises WorkerError in the shape vLLM gives this mistake."""
    if content_type.split(";", 1)[0].strip().lower() != "application/json":
        raise ill_typed("Unsupported Media Type: Only 'application/json' is allowed", None)
    if not raw:
        raise ill_typed("Field required", "body")
    try:
        data = json.loads(raw)
    except json.JSONDecodeError as exc:
        raise ill_typed("JSON decode error", f"body.{exc.pos}") from exc
    except (UnicodeDecodeError, RecursionError) as exc:
        raise framework_error(400, "There was an error parsing the body") from exc
    if isinstance(data, dict):
        check_raw(data, chat="messages" in data or kind is ChatRequest, completion=kind is CompletionRequest)
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


def check_sampling(request: Sampling, max_tokens: int | None) -> None:
    """The value ranges of vLLM's SamplingParams; those without a `param` have none there either."""
    if request.n is not None and request.n < 1:
        raise bad_request(f"n must be at least 1, got {request.n}.")
    if (request.n or 1) > 1 and request.temperature == 0:
        raise bad_request(f"n must be 1 when using greedy sampling, got {request.n}.")
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
