"""What went wrong at a worker, in the client's words.

A worker's own errors never pass: their shapes differ from OpenAI's (vLLM 0.32: `code` is a number, `type` is
"BadRequestError", a wrong key gives a bare string), and what they tell of the worker is not the client's.
"""

import re
from typing import Literal

import msgspec

from gateway.errors import (
    ContextLengthExceeded,
    GatewayError,
    InvalidRequest,
    NoWorkerAvailable,
    WorkerError,
    WorkerTimeout,
)
from gateway.upstream.failures import ConnectFailed, DeadlineExceeded, UpstreamFailure, WorkerSilent
from gateway.wire.replies import WorkerErrorBody, WorkerErrorDetail

RETRY_AFTER_S = 2.0
MAX_MESSAGE_CHARS = 500

PromptParam = Literal["messages", "prompt", "input"]
_DECODER = msgspec.json.Decoder(WorkerErrorBody)
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")


def error_of_failure(failure: UpstreamFailure) -> GatewayError:
    """Return the client's error for an exchange that broke before its first byte went out."""
    if isinstance(failure, DeadlineExceeded):
        return WorkerTimeout("The model did not answer in time. Try a smaller request, or stream it.")
    if isinstance(failure, ConnectFailed | WorkerSilent):
        return NoWorkerAvailable(
            "No worker for this model can be reached at the moment. Please retry.", retry_after_s=RETRY_AFTER_S
        )
    return WorkerError("The model's worker broke off before it answered. Please retry.")


def error_of_status(status: int, body: bytes, prompt_param: PromptParam) -> GatewayError:
    """Return the client's error for a worker's answer that is not 200. `prompt_param` names the endpoint's prompt."""
    if status in (429, 503):
        return NoWorkerAvailable(
            "All workers for this model are busy at the moment. Please retry.", retry_after_s=RETRY_AFTER_S
        )
    if status in (408, 504):
        return WorkerTimeout("The model did not answer in time. Try a smaller request, or stream it.")
    if status in (400, 422):
        return _bad_request(detail_of(body), prompt_param)
    return WorkerError("The model's worker failed to answer this request.")


def detail_of(body: bytes) -> WorkerErrorDetail:
    """Return what a worker said, as far as it can be read."""
    try:
        error = _DECODER.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return WorkerErrorDetail()
    return error if isinstance(error, WorkerErrorDetail) else WorkerErrorDetail(message=error)


def _bad_request(detail: WorkerErrorDetail, prompt_param: PromptParam) -> GatewayError:
    param = (detail.param or "").removeprefix("body.") or None
    if (
        param in ("input_tokens", "input_text")
        or "maximum context length" in detail.message
        or "max_model_len" in detail.message
    ):
        return _too_long(detail.message, "max_tokens" if param == "max_tokens" else prompt_param)
    message = _URL.sub("[url]", detail.message)[:MAX_MESSAGE_CHARS]
    return InvalidRequest(message or "The model's worker refused this request.", param=param)


def _too_long(message: str, param: str) -> ContextLengthExceeded:
    limit = re.search(r"maximum context length (?:is|of) (\d+)", message) or re.search(r"max_model_len=(\d+)", message)
    numbers = [int(n) for n in _NUMBER.findall(message)]
    maximum = int(limit[1]) if limit else min(numbers, default=0)
    asked = [n for n in numbers if n > maximum]
    sentence = f"This model's maximum context length is {maximum} tokens" if maximum else "The context is too long"
    if asked:
        sentence += f"; this request needs {asked[0]}"
    return ContextLengthExceeded(f"{sentence}. Shorten the {param}.", param=param)
