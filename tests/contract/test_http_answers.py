"""Headers, statuses and bodies as they are on the wire: what SDKs don't show."""

import gzip
import re
from typing import Any

import pytest

from tests.support.deployment import CHAT, EMBEDDING, UNREACHABLE
from tests.support.gateway_process import GatewayProcess
from tests.support.plain_http import Answer, ask
from tests.support.sim_worker import Fault, Script, SimWorker

HELLO: dict[str, Any] = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}]}
CHAT_PATH = "/v1/chat/completions"
OPEN_PATHS = ["/healthz", "/readyz", "/metrics"]


def check_error(answer: Answer, status: int, code: str | None) -> None:
    """OpenAI's envelope, every key there, `param` and `code` null or text."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert body.keys() == {"error"}
    error = body["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["code"] == code


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT_PATH, HELLO),
        ("/v1/completions", {"model": CHAT, "prompt": "Hello"}),
        ("/v1/embeddings", {"model": EMBEDDING, "input": "Hello"}),
    ],
)
def test_headers_of_an_answer(gateway: GatewayProcess, path: str, body: dict[str, Any]) -> None:
    """An answer names its worker and what the gateway cost; it doesn't name the software that serves it."""
    answer = ask(gateway, path, body)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", answer.headers["x-gateway-worker"])
    assert re.fullmatch(r"\d+\.\d+", answer.headers["x-gateway-overhead-ms"])
    assert float(answer.headers["x-gateway-overhead-ms"]) < 1000
    assert answer.headers["x-request-id"]
    assert answer.headers["openai-version"] == "2020-10-01"
    assert "server" not in answer.headers


@pytest.mark.parametrize("name", ["x-request-id", "x-client-request-id"])
@pytest.mark.parametrize("sent", ["a", "order-66/a:b;c", "x" * 128])
def test_sane_request_id_is_kept(gateway: GatewayProcess, name: str, sent: str) -> None:
    """A client's request id of up to 128 visible ASCII characters comes back."""
    assert ask(gateway, CHAT_PATH, HELLO, headers={name: sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "two words", "x" * 129, "tab\there", "caf\xe9"])
def test_other_request_id_is_replaced(gateway: GatewayProcess, sent: str) -> None:
    """Any other is replaced by one of ours."""
    assert re.fullmatch(
        "[0-9a-f]{24}", ask(gateway, CHAT_PATH, HELLO, headers={"x-request-id": sent}).headers["x-request-id"]
    )


@pytest.mark.parametrize("path", ["/v1/models", f"/v1/models/{CHAT}", *OPEN_PATHS, "/nowhere"])
def test_request_id_is_everywhere(gateway: GatewayProcess, path: str) -> None:
    """Every answer has a request id, whoever gives it."""
    assert ask(gateway, path, headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"


def test_request_id_finds_the_log_line(gateway: GatewayProcess, worker: SimWorker) -> None:
    """The log has one line per request, with its id and its outcome; and nobody's secret, prompt or answer."""
    ask(gateway, CHAT_PATH, HELLO, headers={"x-request-id": "find-me"})
    worker.wait_until(lambda _: any(line.get("request_id") == "find-me" for line in gateway.logs))
    (line,) = [line for line in gateway.logs if line.get("request_id") == "find-me"]
    assert (line["status"], line["tenant"], line["key"], line["model"]) == (200, "acme", "acme-test", CHAT)
    assert line["completion_tokens"] > 0
    assert "test-key" not in gateway.stderr
    assert "Hello" not in gateway.stderr


@pytest.mark.parametrize("scheme", ["authorization", "api-key", "x-api-key"])
def test_ways_to_send_a_key(gateway: GatewayProcess, scheme: str) -> None:
    """A key is taken from each of the three headers that clients use."""
    key = "test-key-0123456789"
    headers = {"authorization": "", scheme: f"Bearer {key}" if scheme == "authorization" else key}
    assert ask(gateway, "/v1/models", headers=headers).status == 200


@pytest.mark.parametrize("path", OPEN_PATHS)
def test_open_paths_need_no_key(gateway: GatewayProcess, path: str) -> None:
    """Probes and Prometheus come without a key."""
    answer = ask(gateway, path, headers={"authorization": ""})
    assert answer.status in (200, 503)
    assert b"invalid_api_key" not in answer.body


def test_readiness_says_what_is_missing(gateway: GatewayProcess, worker: SimWorker) -> None:
    """A model without a usable worker makes the gateway not ready, and the answer says which and why."""
    worker.wait_until(lambda _: UNREACHABLE in ask(gateway, "/readyz").json()["models"])
    answer = ask(gateway, "/readyz")
    assert answer.status == 503
    assert answer.headers["content-type"] == "application/json"
    assert CHAT not in answer.json()["models"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/V1/chat/completions"),
        ("GET", "/tokenize"),
        ("GET", "/admin/v1/keys"),
        ("GET", "/v1/chat/completions/chatcmpl-1"),
        ("DELETE", "/v1/files/x"),
    ],
)
def test_unknown_path(gateway: GatewayProcess, method: str, path: str) -> None:
    """What isn't served is 404 in OpenAI's shape, a worker's own paths included."""
    answer = ask(gateway, path, method=method)
    check_error(answer, 404, "model_not_found")
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT_PATH, "POST"),
        ("PUT", "/v1/completions", "POST"),
        ("DELETE", "/v1/embeddings", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", f"/v1/models/{CHAT}", "GET"),
        ("POST", "/healthz", "GET"),
    ],
)
def test_wrong_method(gateway: GatewayProcess, method: str, path: str, allowed: str) -> None:
    """A known path with another method is 405, and `allow` says which is meant."""
    answer = ask(gateway, path, method=method)
    check_error(answer, 405, "method_not_allowed")
    assert allowed in answer.headers["allow"].split(", ")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"text"', b"null", b"{]", b'{"model": "\xff"}', b"[" * 100_000, b'{"a":' * 100_000],
    ids=["empty", "cut off", "array", "string", "null", "not JSON", "not UTF-8", "deep array", "deep object"],
)
def test_body_that_is_no_request(gateway: GatewayProcess, worker: SimWorker, body: bytes) -> None:
    """Whatever isn't a JSON object is 400, and nobody is asked."""
    check_error(ask(gateway, CHAT_PATH, body), 400, None)
    assert not worker.generation_requests
    assert ask(gateway, CHAT_PATH, HELLO).status == 200


def test_packed_body(gateway: GatewayProcess) -> None:
    """A body may come packed with gzip."""
    packed = gzip.compress(b'{"model":"%s","messages":[{"role":"user","content":"Hello"}]}' % CHAT.encode())
    assert ask(gateway, CHAT_PATH, packed, headers={"content-encoding": "gzip"}).status == 200


def test_packed_body_that_grows_too_large(gateway: GatewayProcess) -> None:
    """The limit is for the unpacked size."""
    answer = ask(gateway, CHAT_PATH, gzip.compress(b" " * 2_000_000), headers={"content-encoding": "gzip"})
    check_error(answer, 413, "request_too_large")


def test_large_body_is_refused_before_it_is_sent(gateway: GatewayProcess) -> None:
    """Where content-length says that it is too large, the answer is there before the body."""
    answer = ask(gateway, CHAT_PATH, method="POST", headers={"content-length": "20000000"})
    check_error(answer, 413, "request_too_large")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("model", [CHAT, UNREACHABLE])
def test_retry_headers(gateway: GatewayProcess, worker: SimWorker, model: str) -> None:
    """503 says when to come again, in whole seconds rounded up and in milliseconds: one to five seconds."""
    worker.script(Script(fault=Fault(kind="status", status=503)))
    answer = ask(gateway, CHAT_PATH, {**HELLO, "model": model})
    check_error(answer, 503, "no_worker_available")
    seconds, milliseconds = int(answer.headers["retry-after"]), int(answer.headers["retry-after-ms"])
    assert 1 <= seconds <= 5
    assert (seconds - 1) * 1000 < milliseconds <= seconds * 1000
    assert "x-should-retry" not in answer.headers


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", status=400, message="bad thing at http://10.0.0.7:8000/v1", type="BadRequestError"),
        Fault(kind="raw_body", status=401, body='{"error":"Unauthorized"}', content_type="application/json"),
        Fault(kind="raw_body", status=404, body='{"detail":"Not Found"}', content_type="application/json"),
        Fault(kind="raw_body", status=500, body="<html>Traceback (most recent call last)</html>"),
    ],
    ids=["400", "401", "404", "500"],
)
def test_workers_own_errors_never_pass(gateway: GatewayProcess, worker: SimWorker, fault: Fault) -> None:
    """A worker's error is told in OpenAI's shape and without what it says of the inside."""
    worker.script(Script(fault=fault))
    answer = ask(gateway, CHAT_PATH, HELLO)
    check_error(answer, 400 if fault.status == 400 else 502, None if fault.status == 400 else "worker_error")
    for inside in (b"10.0.0.7", b"Traceback", b"html", b"Unauthorized", b"BadRequestError"):
        assert inside not in answer.body


def test_nothing_of_the_client_reaches_the_worker(gateway: GatewayProcess, worker: SimWorker) -> None:
    """The worker gets a request id of ours and no header of the client's, least of all its key."""
    ask(gateway, CHAT_PATH, HELLO, headers={"x-request-id": "mine", "x-secret": "s3cret", "cookie": "a=b"})
    (seen,) = worker.generation_requests
    assert seen.header("x-request-id") not in (None, "mine")
    assert not {"authorization", "x-secret", "cookie"} & {name for name, _ in seen.headers}
