"""`POST /v1/completions`: the request (OpenAI's API reference, and vLLM 0.32's own fields)."""

from typing import Annotated, Any, cast

from msgspec import Meta, Struct
from msgspec.json import Decoder

from gateway.errors import InvalidRequest
from gateway.wire.decode import decode_request
from gateway.wire.fields import (
    LogitBias,
    Model,
    Penalty,
    Probability,
    Seed,
    SequenceCount,
    Stop,
    StreamOptions,
    Temperature,
)

MAX_PROMPTS = 256

Prompt = str | Annotated[list[Any], Meta(min_length=1, max_length=1_048_576)]


class CompletionRequest(Struct, frozen=True, kw_only=True):
    """A completion request whose every field is of its documented type and range. What is not named is ignored."""

    model: Model
    prompt: Prompt
    """One string, strings, one list of token ids, or several."""

    # Sent on to the worker, as they are (see FORWARDED).
    echo: bool | None = None
    frequency_penalty: Penalty | None = None
    ignore_eos: bool | None = None
    logit_bias: LogitBias | None = None
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    n: SequenceCount | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    structured_outputs: dict[str, Any] | None = None
    temperature: Temperature | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    top_p: Probability | None = None

    # Read by the gateway.
    best_of: SequenceCount | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    user: str | None = None


FORWARDED = (
    "echo",
    "frequency_penalty",
    "ignore_eos",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "min_p",
    "min_tokens",
    "n",
    "presence_penalty",
    "prompt",
    "repetition_penalty",
    "seed",
    "stop",
    "structured_outputs",
    "temperature",
    "top_k",
    "top_p",
)
_DECODER = Decoder(CompletionRequest)


def parse_completion_request(body: bytes) -> CompletionRequest:
    """Decode and check a request body. Raises InvalidRequest."""
    request = decode_request(_DECODER, body)
    if request.stream_options is not None and not request.stream:
        message = "'stream_options' is only allowed when 'stream' is true."
        raise InvalidRequest(message, param="stream_options")
    if request.suffix:
        message = "'suffix' is not supported by Gemma models."
        raise InvalidRequest(message, param="suffix")
    if request.best_of is not None and request.best_of != (request.n or 1):
        message = "'best_of' other than 'n' is not supported."
        raise InvalidRequest(message, param="best_of")
    check_prompt(request.prompt, "prompt", MAX_PROMPTS)
    return request


def check_prompt(prompt: Prompt, param: str, max_prompts: int) -> None:
    """Check that a list is of strings, of token ids, or of lists of token ids. Raises InvalidRequest."""
    if isinstance(prompt, str):
        return
    if all(type(item) is int for item in prompt):
        bad = next((i for i, item in enumerate(prompt) if not 0 <= item < 2**31), None)
        if bad is not None:
            message = f"Invalid value for '{param}[{bad}]': not a token id."
            raise InvalidRequest(message, param=f"{param}[{bad}]")
        return
    if len(prompt) > max_prompts:
        message = f"'{param}' may hold at most {max_prompts} entries, this one has {len(prompt)}."
        raise InvalidRequest(message, param=param)
    texts = isinstance(prompt[0], str)
    for i, item in enumerate(prompt):
        if not (isinstance(item, str) if texts else _is_token_list(item)):
            message = f"Invalid value for '{param}[{i}]': expected strings, or lists of token ids, all of one kind."
            raise InvalidRequest(message, param=f"{param}[{i}]")


def _is_token_list(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    items = cast("list[object]", value)
    return all(type(item) is int and 0 <= item < 2**31 for item in items)
