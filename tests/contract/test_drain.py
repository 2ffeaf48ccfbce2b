"""SIGTERM: what is open ends well, nothing new begins, the process ends with 0."""

import http.client
import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.deployment import CHAT, Workers, running_gateway
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.plain_http import Opened, opened
from tests.support.sim_worker import Fault, Script, SimWorker

AUTHORIZED = {"authorization": f"Bearer {TEST_KEY}"}
STREAM: dict[str, Any] = {"model": CHAT, "messages": [{"role": "user", "content": "Hello"}], "stream": True}


@pytest.fixture
def leaving_gateway(workers: Workers) -> Iterator[GatewayProcess]:
    """A gateway of its own that gives open streams one second."""
    with running_gateway(workers, drain_s=1, keepalive_s=0.2) as gateway:
        yield gateway


def read_to(stream: Opened, text: str) -> None:
    """Reads events until one has `text`."""
    while text not in stream.read_event():
        pass


def wait_until_refused(gateway: GatewayProcess) -> None:
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", gateway.port), timeout=1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.01)
    raise AssertionError("the gateway still accepts connections")


def test_open_streams_finish(leaving_gateway: GatewayProcess, worker: SimWorker) -> None:
    """A stream that is open at SIGTERM is served to its end, while new connections are refused; then exit 0."""
    worker.script(Script(chunks=("begin", *"....", "end"), delay_s=0.1))
    with opened(leaving_gateway, "/v1/chat/completions", STREAM) as stream:
        read_to(stream, "begin")
        leaving_gateway.signal(signal.SIGTERM)
        wait_until_refused(leaving_gateway)
        answer = stream.rest()
    assert answer.complete
    assert "end" in answer.body.decode()
    assert answer.events[-1] == "data: [DONE]"
    assert leaving_gateway.wait(5) == 0
    assert worker.aborted == 0


def test_whole_answers_finish(leaving_gateway: GatewayProcess, worker: SimWorker) -> None:
    """So is a request that waits for its answer in one piece."""
    worker.script(Script(text="Hello", first_delay_s=0.4))
    connection = http.client.HTTPConnection("127.0.0.1", leaving_gateway.port, timeout=15)
    connection.request(
        "POST",
        "/v1/chat/completions",
        json.dumps({**STREAM, "stream": False}),
        {"authorization": "Bearer test-key-0123456789"},
    )
    worker.wait_until(lambda w: len(w.generation_requests) == 1)
    leaving_gateway.signal(signal.SIGTERM)
    response = connection.getresponse()
    assert response.status == 200
    assert json.loads(response.read())["choices"][0]["message"]["content"] == "Hello"
    assert leaving_gateway.wait(5) == 0
    connection.close()


@pytest.mark.parametrize("told", ["talking", "silent"])
def test_streams_over_the_drain_time_end_in_an_error(
    leaving_gateway: GatewayProcess, worker: SimWorker, told: str
) -> None:
    """A stream that outlives `drain_s` gets an error event and no end; its work is aborted; exit 0 all the same."""
    if told == "talking":
        worker.script(Script(chunks=("begin", "x"), repeat=1000, delay_s=0.05))
    else:
        worker.script(Script(chunks=("begin", "x"), fault=Fault(kind="stall_mid_stream", at_chunk=1)))
    with opened(leaving_gateway, "/v1/chat/completions", STREAM) as stream:
        read_to(stream, "begin")
        signalled = time.monotonic()
        leaving_gateway.signal(signal.SIGTERM)
        answer = stream.rest()
    assert not answer.complete
    assert b"[DONE]" not in answer.body
    assert answer.events[-1].startswith('data: {"error":{"message":"')
    assert leaving_gateway.wait(5) == 0
    assert 0.9 < time.monotonic() - signalled < 3
    worker.wait_until(lambda w: w.aborted == 1, 1.0)
    (line,) = [line for line in leaving_gateway.logs if line.get("message") == "request"]
    assert line["stream"]
    assert line["status"] >= 500


def test_whole_answers_over_the_drain_time(leaving_gateway: GatewayProcess, worker: SimWorker) -> None:
    """A request still without an answer when the drain time is over gets a status that says: try again."""
    worker.script(Script(fault=Fault(kind="stall_before_headers")))
    connection = http.client.HTTPConnection("127.0.0.1", leaving_gateway.port, timeout=15)
    connection.request(
        "POST",
        "/v1/chat/completions",
        json.dumps({**STREAM, "stream": False}),
        {"authorization": "Bearer test-key-0123456789"},
    )
    worker.wait_until(lambda w: len(w.generation_requests) == 1)
    leaving_gateway.signal(signal.SIGTERM)
    response = connection.getresponse()
    assert response.status in (503, 504)
    assert json.loads(response.read())["error"]["type"] == "server_error"
    assert leaving_gateway.wait(5) == 0
    connection.close()


def test_a_request_that_was_under_way_is_answered(leaving_gateway: GatewayProcess) -> None:
    """What a kept connection brings just after SIGTERM is served; the answer says that it is the last one."""
    connection = http.client.HTTPConnection("127.0.0.1", leaving_gateway.port, timeout=15)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    leaving_gateway.signal(signal.SIGTERM)
    wait_until_refused(leaving_gateway)
    connection.request("POST", "/v1/chat/completions", json.dumps({**STREAM, "stream": False}), AUTHORIZED)
    response = connection.getresponse()
    assert response.status == 200
    assert response.getheader("connection") == "close"
    assert json.loads(response.read())["choices"]
    assert leaving_gateway.wait(5) == 0
    connection.close()


def test_a_request_behind_a_stream_is_answered(leaving_gateway: GatewayProcess, worker: SimWorker) -> None:
    """So is one that follows a stream whose head could not say yet that the connection ends."""
    worker.script(Script(chunks=("begin", *"....", "end"), delay_s=0.1))
    connection = http.client.HTTPConnection("127.0.0.1", leaving_gateway.port, timeout=15)
    connection.request("POST", "/v1/chat/completions", json.dumps(STREAM), AUTHORIZED)
    stream = connection.getresponse()
    assert stream.readline()
    leaving_gateway.signal(signal.SIGTERM)
    assert stream.read().endswith(b"data: [DONE]\n\n")
    connection.request("POST", "/v1/chat/completions", json.dumps({**STREAM, "stream": False}), AUTHORIZED)
    response = connection.getresponse()
    assert response.status == 200
    assert response.getheader("connection") == "close"
    response.read()
    assert leaving_gateway.wait(5) == 0
    connection.close()


def test_idle_connections_do_not_hold_it_up(leaving_gateway: GatewayProcess) -> None:
    """Kept connections without a request are closed before long."""
    connection = http.client.HTTPConnection("127.0.0.1", leaving_gateway.port, timeout=15)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    signalled = time.monotonic()
    leaving_gateway.signal(signal.SIGTERM)
    assert leaving_gateway.wait(5) == 0
    assert time.monotonic() - signalled < 0.9
    connection.close()
