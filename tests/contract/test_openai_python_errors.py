"""openai-python, as it comes, against the gateway: every error class. Run with openai 3.x and with openai 2.x."""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.support.deployment import CHAT, EMBEDDING, FORBIDDEN, UNREACHABLE
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.sim_worker import Fault, FaultKind, Script, SimWorker

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True, slots=True)
class Case:
    """What a client sends, and the error it gets."""

    name: str
    expected: type[openai.APIStatusError]
    status: int
    type: str
    code: str | None
    param: str | None = None
    body: dict[str, Any] = field(default_factory=dict)
    """Replaces or adds fields of a good chat request."""
    key: str = TEST_KEY
    script: Script | None = None
    worker_asked: bool = False
    retryable: bool | None = False
    """None: `x-should-retry` is not sent, the SDK decides by the status."""


INVALID = (openai.BadRequestError, 400, "invalid_request_error", None)
CASES = [
    Case("ill-typed field", *INVALID, "temperature", {"temperature": "hot"}, retryable=None),
    Case("value out of range", *INVALID, "top_p", {"top_p": 2}, retryable=None),
    Case("no messages", *INVALID, "messages", {"messages": []}, retryable=None),
    Case(
        "unknown role", *INVALID, "messages[0].role", {"messages": [{"role": "boss", "content": "x"}]}, retryable=None
    ),
    Case(
        "usage without stream", *INVALID, "stream_options", {"stream_options": {"include_usage": True}}, retryable=None
    ),
    Case("model for another endpoint", *INVALID, "model", {"model": EMBEDDING}, retryable=None),
    Case(
        "prompt over the context",
        openai.BadRequestError,
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "messages",
        {"messages": [{"role": "user", "content": "long " * 5000}]},
        retryable=None,
    ),
    Case("wrong key", openai.AuthenticationError, 401, "invalid_request_error", "invalid_api_key", key="sk-wrong-key"),
    Case(
        "model not allowed",
        openai.PermissionDeniedError,
        403,
        "permission_error",
        "model_not_allowed",
        "model",
        {"model": FORBIDDEN},
    ),
    Case(
        "no such model",
        openai.NotFoundError,
        404,
        "invalid_request_error",
        "model_not_found",
        "model",
        {"model": "gpt-17"},
    ),
    Case(
        "body too large",
        openai.APIStatusError,
        413,
        "invalid_request_error",
        "request_too_large",
        body={"messages": [{"role": "user", "content": "x" * 1_100_000}]},
    ),
    Case(
        "worker answers 500",
        openai.InternalServerError,
        502,
        "server_error",
        "worker_error",
        script=Script(fault=Fault(kind="status", status=500)),
        worker_asked=True,
        retryable=None,
    ),
    Case(
        "worker refuses our key",
        openai.InternalServerError,
        502,
        "server_error",
        "worker_error",
        script=Script(fault=Fault(kind="raw_body", status=401, body='{"error":"Unauthorized"}')),
        worker_asked=True,
        retryable=None,
    ),
    Case(
        "worker does not know the model",
        openai.InternalServerError,
        502,
        "server_error",
        "worker_error",
        script=Script(fault=Fault(kind="status", status=404)),
        worker_asked=True,
        retryable=None,
    ),
    Case(
        "worker is full",
        openai.InternalServerError,
        503,
        "server_error",
        "no_worker_available",
        script=Script(fault=Fault(kind="status", status=503)),
        worker_asked=True,
        retryable=None,
    ),
    Case(
        "no worker",
        openai.InternalServerError,
        503,
        "server_error",
        "no_worker_available",
        body={"model": UNREACHABLE},
        retryable=None,
    ),
]
HEAD_FAULTS: list[FaultKind] = ["cut_before_headers", "cut_in_headers", "garbage", "raw_body"]
BODY_FAULTS: list[FaultKind] = ["cut_in_body", "huge_headers", "long_content_length"]
WORKER_FAULTS = [(kind, stream) for kind in HEAD_FAULTS for stream in (False, True)] + [
    (kind, False) for kind in BODY_FAULTS
]


def connect(gateway: GatewayProcess, key: str = TEST_KEY, *, max_retries: int = 0) -> OpenAI:
    return OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=max_retries, timeout=15)


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[OpenAI]:
    with connect(gateway) as client:
        yield client


@pytest.fixture
async def async_client(gateway: GatewayProcess) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the SDK waited between attempts; it doesn't really wait."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def check(error: openai.APIStatusError, case: Case) -> None:
    assert type(error) is case.expected
    assert error.status_code == case.status
    assert isinstance(error.body, dict)
    assert error.body.keys() == {"message", "type", "param", "code"}
    assert (error.type, error.code, error.param) == (case.type, case.code, case.param)
    assert error.body["message"]
    assert error.request_id == error.response.headers["x-request-id"]
    assert error.response.headers["content-type"] == "application/json"
    assert error.response.headers.get("x-should-retry") == ("false" if case.retryable is False else None)
    assert ("retry-after" in error.response.headers) == (case.status == 503)
    for secret in (case.key, "127.0.0.1", "Traceback"):
        assert secret not in error.response.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_chat_error(gateway: GatewayProcess, worker: SimWorker, case: Case, stream: bool) -> None:
    """Each error is raised as the SDK's class for it, with type, code, param and request id, before any stream."""
    if case.script is not None:
        worker.script(case.script)
    body = {"model": CHAT, "messages": HELLO, "stream": stream, **case.body}
    if case.param == "stream_options":
        body["stream"] = False
    with connect(gateway, case.key) as client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=body.pop("model"), messages=body.pop("messages"), extra_body=body)
    check(caught.value, case)
    assert bool(worker.generation_requests) == case.worker_asked


@pytest.mark.anyio
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_async_chat_error(async_client: AsyncOpenAI, worker: SimWorker, case: Case) -> None:
    """The asynchronous client raises the same."""
    if case.script is not None:
        worker.script(case.script)
    body = {"model": CHAT, "messages": HELLO, **case.body}
    with pytest.raises(openai.APIStatusError) as caught:
        await async_client.with_options(api_key=case.key).chat.completions.create(
            model=body.pop("model"), messages=body.pop("messages"), extra_body=body
        )
    check(caught.value, case)


@pytest.mark.parametrize(("kind", "stream"), WORKER_FAULTS)
def test_broken_worker(client: OpenAI, worker: SimWorker, kind: FaultKind, stream: bool) -> None:
    """However a worker breaks before its first byte reached the client: 502, and the next request works."""
    worker.script(Script(times=None, fault=Fault(kind=kind, status=200, body="<html>busy</html>", size_bytes=200_000)))
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=CHAT, messages=HELLO, extra_body={"stream": stream})
    assert (caught.value.status_code, caught.value.code) == (502, "worker_error")
    worker.app.scripts.clear()
    again = client.chat.completions.create(model=CHAT, messages=HELLO)
    assert again.choices[0].message.content == "Hello"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_deadline(hasty_gateway: GatewayProcess, worker: SimWorker, stream: bool) -> None:
    """A worker that says nothing until the request's deadline: 504, and its work is aborted."""
    worker.script(Script(fault=Fault(kind="stall_before_headers")))
    with connect(hasty_gateway) as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=CHAT, messages=HELLO, extra_body={"stream": stream})
    assert (caught.value.status_code, caught.value.code) == (504, "worker_timeout")
    worker.wait_until(lambda w: w.aborted == 1, 1.0)


def test_deadline_in_a_stream(hasty_gateway: GatewayProcess, worker: SimWorker) -> None:
    """The deadline holds for a whole stream: in its middle it is an error event."""
    worker.script(Script(chunks=("x",), repeat=1000, delay_s=0.02))
    with connect(hasty_gateway) as client:
        stream = client.chat.completions.create(model=CHAT, messages=HELLO, stream=True)
        with pytest.raises(openai.APIError) as caught:
            list(stream)
    assert caught.value.code == "worker_timeout"
    worker.wait_until(lambda w: w.aborted == 1, 1.0)


@pytest.mark.parametrize(("status", "code"), [(500, 502), (503, 503)])
def test_sdk_retries_what_a_retry_can_mend(
    gateway: GatewayProcess, worker: SimWorker, waits: list[float], status: int, code: int
) -> None:
    """The SDK's own retries come through to the worker, and the waits are the gateway's where it names one."""
    worker.script(Script(times=2, fault=Fault(kind="status", status=status)))
    with connect(gateway, max_retries=2) as client:
        answer = client.chat.completions.create(model=CHAT, messages=HELLO)
    assert answer.choices[0].message.content == "Hello"
    assert len(worker.generation_requests) == 3
    assert len(waits) == 2
    if code == 503:
        assert all(1 <= wait <= 5 for wait in waits)


def test_sdk_gives_up(gateway: GatewayProcess, worker: SimWorker, waits: list[float]) -> None:
    """After its retries the SDK raises the last error."""
    worker.script(Script(times=None, fault=Fault(kind="status", status=500)))
    with connect(gateway, max_retries=2) as client, pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model=CHAT, messages=HELLO)
    assert len(worker.generation_requests) == 3
    assert len(waits) == 2


@pytest.mark.parametrize("case", [case for case in CASES if case.status < 500], ids=lambda case: case.name)
def test_sdk_does_not_retry_what_is_the_clients(gateway: GatewayProcess, waits: list[float], case: Case) -> None:
    """Errors of the client are not tried again."""
    body = {"model": CHAT, "messages": HELLO, **case.body}
    with connect(gateway, case.key, max_retries=2) as client, pytest.raises(case.expected):
        client.chat.completions.create(model=body.pop("model"), messages=body.pop("messages"), extra_body=body)
    assert waits == []


def test_keys_fail_alike(gateway: GatewayProcess) -> None:
    """Nothing about a wrong key can be learnt from the answer: one message for all."""
    messages = set()
    for key in ("sk-wrong-key", TEST_KEY + "x", TEST_KEY[:-1], "x" * 4000):
        with connect(gateway, key) as client, pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        messages.add(caught.value.message)
    assert len(messages) == 1


def test_other_endpoints(client: OpenAI) -> None:
    """Completions, embeddings and models raise the same classes, with the field at fault."""
    with pytest.raises(openai.BadRequestError) as invalid:
        client.completions.create(model=CHAT, prompt="x", max_tokens=-1)
    assert invalid.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError) as empty:
        client.embeddings.create(model=EMBEDDING, input="")
    assert empty.value.param == "input"
    with pytest.raises(openai.BadRequestError) as too_many:
        client.embeddings.create(model=EMBEDDING, input="x", dimensions=4096)
    assert too_many.value.param == "dimensions"
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nope", input="x")
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("nope")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(FORBIDDEN)


def test_endpoint_that_does_not_exist(client: OpenAI) -> None:
    """What this gateway doesn't serve is a NotFoundError like OpenAI's."""
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.generate(prompt="a cat")
    assert caught.value.code == "model_not_found"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body.keys() == {"message", "type", "param", "code"}
