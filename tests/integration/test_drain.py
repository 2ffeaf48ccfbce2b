"""SIGTERM while requests are open: they finish if they can in time, are told if they can't, and the exit is clean."""

import json
import signal
import time
from collections.abc import Callable

import pytest

from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_up
from tests.support.raw_http import RawClient, chat_body, request
from tests.support.sim_worker import Script, SimWorker

Start = Callable[[float], GatewayProcess]


@pytest.fixture
def start(start_gateway: Callable[..., GatewayProcess], sim_worker: SimWorker) -> Start:
    """Starts a gateway that drains for so many seconds."""

    def started(drain_s: float) -> GatewayProcess:
        gateway = start_gateway(gateway_config(sim_worker.url, server={"drain_s": drain_s}))
        wait_until_up(gateway)
        return gateway

    return started


def test_open_streams_finish(start: Start, sim_worker: SimWorker) -> None:
    """A stream that ends within the drain time ends well, idle connections close, new ones are refused."""
    gateway = start(10)
    sim_worker.script(Script(chunks=("word ",), repeat=20, delay_s=0.05, contains="long"))
    with RawClient(gateway.port) as idle, RawClient(gateway.port) as client:
        idle.send(request(chat_body("short")))
        client.send(request(chat_body("long", stream=True)))
        client.read_until(b"word")
        idle.read_answer()
        gateway.signal(signal.SIGTERM)
        assert idle.read_to_end() == b""
        time.sleep(0.2)
        with pytest.raises(ConnectionError):
            RawClient(gateway.port)
        assert client.read_to_end().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert gateway.wait() == 0


@pytest.mark.parametrize("drain_s", [0, 1, 0.5])
def test_what_takes_longer_is_told(start: Start, sim_worker: SimWorker, drain_s: float) -> None:
    """After the drain time streams end in an error event and whole answers are errors; the worker is freed."""
    gateway = start(drain_s)
    sim_worker.script(Script(chunks=("word ",), repeat=2_000, delay_s=0.05, contains="stream"))
    sim_worker.script(Script(first_delay_s=60, contains="whole"))
    with RawClient(gateway.port) as stream, RawClient(gateway.port) as whole:
        stream.send(request(chat_body("stream", stream=True), headers=b"x-request-id: cut-stream\r\n"))
        whole.send(request(chat_body("whole"), headers=b"x-request-id: cut-whole\r\n"))
        stream.read_until(b"word")
        sim_worker.wait_until(lambda w: w.running == 2)
        signalled = time.monotonic()
        gateway.signal(signal.SIGTERM)
        answer = whole.read_answer()
        rest = stream.read_to_end()
    assert answer.status == 503
    assert answer.error["code"] == "no_worker_available"
    assert int(answer.headers["retry-after"]) >= 1
    last = rest[rest.rindex(b"data: ") :].split(b"\n\n")[0]
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "no_worker_available"
    assert b"[DONE]" not in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert gateway.wait() == 0
    assert time.monotonic() - signalled < drain_s + 3
    sim_worker.wait_until(lambda w: w.running == 0)
    assert sim_worker.aborted == 2
    lines = {line["request_id"]: line for line in gateway.logs if "request_id" in line}
    assert lines["cut-stream"]["status"] == 503
    assert lines["cut-whole"]["status"] == 503
    assert "Traceback" not in gateway.stderr


def test_a_stuck_client_does_not_hold_the_exit(start: Start, sim_worker: SimWorker) -> None:
    """A client that takes nothing can't keep the process alive beyond the drain time."""
    gateway = start(1)
    sim_worker.script(Script(chunks=("x" * 10_000,), repeat=2_000))
    with RawClient(gateway.port, receive_buffer_bytes=8_192) as client:
        client.send(request(chat_body(stream=True)))
        client.socket.recv(1)
        time.sleep(0.3)
        signalled = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
    assert time.monotonic() - signalled < 5
    assert "Traceback" not in gateway.stderr
