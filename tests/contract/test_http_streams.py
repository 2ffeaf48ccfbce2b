"""Streams as they are on the wire: frames, comments, errors inside, and how each ends."""

import json
from typing import Any

import pytest

from tests.support.deployment import CHAT, RENAMED
from tests.support.gateway_process import GatewayProcess
from tests.support.plain_http import Answer, ask, opened
from tests.support.sim_worker import Fault, FaultKind, Script, SimWorker

STREAM: dict[str, Any] = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
PROMPT: dict[str, Any] = {"model": CHAT, "prompt": "Hello", "stream": True}
ENDPOINTS = [("/v1/chat/completions", STREAM), ("/v1/completions", PROMPT)]
KEEP_ALIVE = ": keep-alive"
both_endpoints = pytest.mark.parametrize(("path", "body"), ENDPOINTS, ids=["chat", "completions"])


def chunks_of(answer: Answer) -> list[dict[str, Any]]:
    """The chunks of a good stream, after checking its frames and its end."""
    *frames, last = answer.events
    assert last == "data: [DONE]"
    assert answer.body.endswith(b"\n\n")
    assert answer.complete
    frames = [frame for frame in frames if frame != KEEP_ALIVE]
    assert all(frame.startswith("data: {") and "\n" not in frame for frame in frames)
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def check_broken(answer: Answer, code: str) -> None:
    """The stream ends in one error event, without `[DONE]` and without the end of its transfer."""
    assert not answer.complete
    assert b"[DONE]" not in answer.body
    assert answer.body.count(b'data: {"error":') == 1
    last = answer.events[-1]
    assert last.startswith('data: {"error":{"message":"')
    error = json.loads(last.removeprefix("data: "))["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["type"], error["code"]) == ("server_error", code)
    assert answer.body.endswith(b"\n\n")


@both_endpoints
def test_head_and_frames(gateway: GatewayProcess, path: str, body: dict[str, Any]) -> None:
    """A stream has the headers that keep proxies from holding it back, and frames of one line each."""
    answer = ask(gateway, path, body)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.headers["x-gateway-worker"].startswith("127.0.0.1:")
    assert float(answer.headers["x-gateway-overhead-ms"]) < 1000
    assert answer.headers["x-request-id"]
    assert chunks_of(answer)


@both_endpoints
def test_no_usage_unasked(gateway: GatewayProcess, path: str, body: dict[str, Any]) -> None:
    """Who doesn't ask for usage finds no trace of it."""
    answer = ask(gateway, path, body)
    assert b'"usage"' not in answer.body
    assert all(chunk["choices"] for chunk in chunks_of(answer))


@both_endpoints
@pytest.mark.parametrize("model", [CHAT, RENAMED])
def test_usage_asked_for(gateway: GatewayProcess, path: str, body: dict[str, Any], model: str) -> None:
    """Every chunk says `usage: null`, but for the last before the end, which has all the numbers."""
    asked = {**body, "model": model, "stream_options": {"include_usage": True}}
    *chunks, last = chunks_of(ask(gateway, path, asked))
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert last["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert {chunk["model"] for chunk in (*chunks, last)} == {model}


@both_endpoints
@pytest.mark.parametrize("kind", ["error_mid_stream", "cut_mid_stream", "end_without_done", "stall_mid_stream"])
@pytest.mark.parametrize("include_usage", [False, True], ids=["plain", "usage"])
def test_break(
    lively_gateway: GatewayProcess,
    worker: SimWorker,
    path: str,
    body: dict[str, Any],
    kind: FaultKind,
    include_usage: bool,
) -> None:
    """However the worker breaks off, or falls silent for too long, the stream visibly ends in an error."""
    worker.script(Script(chunks=("a", "b", "c"), fault=Fault(kind=kind, at_chunk=2, message="CUDA at 10.0.0.7")))
    answer = ask(lively_gateway, path, {**body, "stream_options": {"include_usage": include_usage}})
    assert answer.status == 200
    check_broken(answer, "worker_timeout" if kind == "stall_mid_stream" else "worker_error")
    assert b"10.0.0.7" not in answer.body
    assert b'"b"' in answer.body
    worker.wait_until(lambda w: w.running == 0, 1.0)


def test_worker_that_resets(gateway: GatewayProcess, worker: SimWorker) -> None:
    """A reset in mid-stream is told like any other break."""
    worker.script(Script(chunks=("a", "b"), fault=Fault(kind="cut_mid_stream", at_chunk=1, reset=True)))
    check_broken(ask(gateway, "/v1/chat/completions", STREAM), "worker_error")


@both_endpoints
def test_keep_alive_before_the_first_token(
    lively_gateway: GatewayProcess, worker: SimWorker, path: str, body: dict[str, Any]
) -> None:
    """While the model reads the prompt the client gets its head and comments, then the stream as ever."""
    worker.script(Script(text="Hello", first_delay_s=0.5))
    with opened(lively_gateway, path, body) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["x-gateway-worker"].startswith("127.0.0.1:")
        assert stream.read_event() == KEEP_ALIVE
        assert chunks_of(stream.rest())


def test_keep_alive_in_the_middle(lively_gateway: GatewayProcess, worker: SimWorker) -> None:
    """Silence between two tokens is filled with comments; the text is whole."""
    worker.script(Script(chunks=("one", "two"), delay_s=0.5))
    answer = ask(lively_gateway, "/v1/chat/completions", STREAM)
    events = answer.events
    assert KEEP_ALIVE in events
    first, last = (next(i for i, event in enumerate(events) if f'"{text}"' in event) for text in ("one", "two"))
    assert KEEP_ALIVE in events[first:last]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks_of(answer)) == "onetwo"


def test_no_keep_alive_while_it_flows(lively_gateway: GatewayProcess, worker: SimWorker) -> None:
    """A stream that is longer than the interval, but never silent, has no comments."""
    worker.script(Script(chunks=("x",), repeat=40, delay_s=0.01))
    assert KEEP_ALIVE not in ask(lively_gateway, "/v1/chat/completions", STREAM).events


@pytest.mark.parametrize("status", [400, 500, 503])
def test_refusal_after_a_keep_alive(lively_gateway: GatewayProcess, worker: SimWorker, status: int) -> None:
    """Once a comment is out, a worker's refusal can only be an event of the stream; it says the same."""
    worker.script(Script(first_delay_s=0.4, fault=Fault(kind="status", status=status, message="no")))
    answer = ask(lively_gateway, "/v1/chat/completions", STREAM)
    assert answer.status == 200
    assert answer.events[0] == KEEP_ALIVE
    assert not answer.complete
    error = json.loads(answer.events[-1].removeprefix("data: "))["error"]
    assert error["code"] == {400: None, 500: "worker_error", 503: "no_worker_available"}[status]


def test_deadline_before_the_first_token(hasty_gateway: GatewayProcess, worker: SimWorker) -> None:
    """Without a comment out, a missed deadline is a plain 504, though a stream was asked for."""
    worker.script(Script(fault=Fault(kind="stall_before_headers")))
    answer = ask(hasty_gateway, "/v1/chat/completions", STREAM)
    assert answer.status == 504
    assert answer.complete
    assert answer.json()["error"]["code"] == "worker_timeout"


def test_worker_that_never_answers(lively_gateway: GatewayProcess, worker: SimWorker) -> None:
    """A worker that is silent for too long before its first token is given up as well, and its work aborted."""
    worker.script(Script(fault=Fault(kind="stall_before_headers")))
    check_broken(ask(lively_gateway, "/v1/chat/completions", STREAM), "worker_timeout")
    worker.wait_until(lambda w: w.aborted == 1, 1.0)


def test_connection_lives_on_after_a_good_stream(gateway: GatewayProcess, worker: SimWorker) -> None:
    """Streams that end well leave the worker's connection for the next request."""
    for _ in range(5):
        assert chunks_of(ask(gateway, "/v1/chat/completions", STREAM))
    assert len({seen.connection for seen in worker.generation_requests}) < 5
