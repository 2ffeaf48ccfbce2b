"""What workers answer, in the client's words."""

import json
from typing import Any

import pytest

from gateway.errors import ContextLengthExceeded, InvalidRequest, NoWorkerAvailable, WorkerError, WorkerTimeout
from gateway.pipeline.worker_errors import error_of_failure, error_of_status
from gateway.upstream.failures import ConnectFailed, ConnectionLost, DeadlineExceeded, ProtocolViolation


def body(**error: Any) -> bytes:
    return json.dumps({"error": error}).encode()


@pytest.mark.parametrize("status", [401, 403, 404, 405, 413, 500, 502, 302])
def test_misconfiguration_is_ours(status: int) -> None:
    """A wrong worker key, model or path is a 502 that tells nothing of it."""
    error = error_of_status(status, b'{"error":"Unauthorized: key sk-secret at http://10.0.0.1"}', "messages")
    assert isinstance(error, WorkerError)
    assert "sk-secret" not in error.message


@pytest.mark.parametrize("status", [429, 503])
def test_busy(status: int) -> None:
    """A worker's own admission is a 503 that says when to come again."""
    error = error_of_status(status, b"", "messages")
    assert isinstance(error, NoWorkerAvailable)
    assert error.retry_after_s


def test_late() -> None:
    """A worker's time-out is ours."""
    assert isinstance(error_of_status(504, b"", "prompt"), WorkerTimeout)


def test_prompt_too_long() -> None:
    """vLLM 0.32: the numbers stay, the sentence is ours."""
    message = (
        "This model's maximum context length is 4096 tokens. However, you requested 0 output tokens and your prompt "
        "contains 5009 input tokens, for a total of 5009 tokens. (parameter=input_tokens, value=5009)"
    )
    error = error_of_status(400, body(message=message, param="input_tokens", code=400), "messages")
    assert isinstance(error, ContextLengthExceeded)
    assert (error.param, error.code) == ("messages", "context_length_exceeded")
    assert "4096" in error.message
    assert "5009" in error.message
    assert "parameter=" not in error.message


def test_max_tokens_too_large() -> None:
    """The same for `max_tokens` alone."""
    message = "max_tokens=6000 cannot be greater than max_model_len=4096. Please request fewer output tokens."
    error = error_of_status(400, body(message=message, param="max_tokens", code=400), "messages")
    assert isinstance(error, ContextLengthExceeded)
    assert error.param == "max_tokens"
    assert "4096" in error.message
    assert "6000" in error.message


@pytest.mark.parametrize("param", ["input_text", "input_tokens"])
def test_text_far_too_long(param: str) -> None:
    """vLLM refuses such text before it counts tokens."""
    error = error_of_status(400, body(message="too long", param=param, code=400), "prompt")
    assert isinstance(error, ContextLengthExceeded)
    assert error.param == "prompt"


def test_other_refusals_keep_their_reason() -> None:
    """`param` loses vLLM's prefix, the message its URLs and its length."""
    error = error_of_status(
        400, body(message="bad http://10.0.0.1:8000/x " + "y" * 900, param="body.top_k"), "messages"
    )
    assert isinstance(error, InvalidRequest)
    assert error.param == "top_k"
    assert "10.0.0.1" not in error.message
    assert len(error.message) <= 500


@pytest.mark.parametrize(
    "text", [b"", b"<html>", b'{"error":"Unauthorized"}', b'{"detail":"Not Found"}', b"\xff", b"[" * 5000]
)
def test_unreadable_refusals(text: bytes) -> None:
    """Whatever stands in the body, the client gets a sentence."""
    assert error_of_status(400, text, "messages").message


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ConnectFailed("x"), NoWorkerAvailable),
        (ConnectionLost("x", bytes_received=True), WorkerError),
        (ProtocolViolation("x"), WorkerError),
        (DeadlineExceeded("x"), WorkerTimeout),
    ],
)
def test_failures(failure: Any, kind: type) -> None:
    """Every way an exchange can break has its status."""
    assert isinstance(error_of_failure(failure), kind)
