"""Clients that hang up: their request ends at the worker within a second, in every phase, and nothing stays behind."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import log_line, metric, wait_for, wait_until_idle, wait_until_up
from tests.support.raw_http import CHAT_PATH, RawClient, ask, chat_body, request
from tests.support.sim_worker import Fault, Script, SimWorker

CLIENTS = 20
ABORTED_WITHIN_S = 1.0
LONG_TEXT = Script(chunks=("word ",), repeat=2_000, delay_s=0.05, times=CLIENTS)
STALLED = Script(first_delay_s=60, times=CLIENTS)
PADDING = {"small": 0, "100 KB": 100_000, "800 KB": 800_000}


def body(*, stream: bool, padding: int = 0, path: str = CHAT_PATH) -> bytes:
    """A request with so many bytes beside its prompt."""
    if path == CHAT_PATH:
        return chat_body("Hello", stream=stream, user="u" * padding)
    return chat_body().replace(
        b'"messages": [{"role": "user", "content": "Hello"}]', b'"prompt": "Hello", "stream": false'
    )


def hang_up(client: RawClient, *, reset: bool) -> None:
    """Closes by FIN, or by RST as a killed process does."""
    if reset:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def hang_up_all(clients: list[RawClient], worker: SimWorker, *, reset: bool = False) -> float:
    """Every client closes; returns the seconds until the worker has seen the last abort."""
    before = worker.aborted
    closed_s = time.time()
    for client in clients:
        hang_up(client, reset=reset)
    worker.wait_until(lambda w: w.aborted == before + len(clients), 10.0)
    return max(seen.ended_s or 0.0 for seen in worker.generation_requests) - closed_s


@pytest.fixture
def clients(shared_gateway: GatewayProcess, shared_worker: SimWorker) -> Iterator[list[RawClient]]:
    """Connections to the gateway; afterwards nothing is in flight, at the gateway and at the worker."""
    shared_worker.reset()
    with ExitStack() as stack:
        yield [stack.enter_context(RawClient(shared_gateway.port)) for _ in range(CLIENTS)]
        wait_until_idle(shared_gateway)
        shared_worker.wait_until(lambda w: w.running == 0)
        shared_worker.reset()
    assert ask(shared_gateway.port, request(chat_body())).status == 200


@pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING)
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_disconnect_in_a_stream_aborts(
    clients: list[RawClient], shared_worker: SimWorker, reset: bool, padding: int
) -> None:
    """Twenty clients leave in the middle of their streams: twenty aborts."""
    shared_worker.script(LONG_TEXT)
    for client in clients:
        client.send(request(body(stream=True, padding=padding)))
    for client in clients:
        client.read_until(b"word")
    spent_s = hang_up_all(clients, shared_worker, reset=reset)
    print(f"{CLIENTS} streams aborted in {spent_s:.3f} s")
    assert spent_s < ABORTED_WITHIN_S


@pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_disconnect_before_the_first_token_aborts(
    clients: list[RawClient], shared_worker: SimWorker, stream: bool, reset: bool, padding: int
) -> None:
    """Twenty clients leave while the worker computes: twenty aborts, streaming or not, however long the prompt."""
    shared_worker.script(STALLED)
    for client in clients:
        client.send(request(body(stream=stream, padding=padding)))
    shared_worker.wait_until(lambda w: w.running == CLIENTS)
    spent_s = hang_up_all(clients, shared_worker, reset=reset)
    print(f"{CLIENTS} waiting requests aborted in {spent_s:.3f} s")
    assert spent_s < ABORTED_WITHIN_S


@pytest.mark.parametrize("padding", [66_000, 120_000, 200_000])
def test_disconnect_after_a_body_that_came_late_aborts(
    clients: list[RawClient], shared_worker: SimWorker, padding: int
) -> None:
    """A large body that comes at once while the gateway waits for it leaves the client watched."""
    shared_worker.script(STALLED)
    head, separator, rest = request(body(stream=False, padding=padding)).partition(b"\r\n\r\n")
    for client in clients:
        client.send(head + separator)
    time.sleep(0.1)
    for client in clients:
        client.send(rest)
    shared_worker.wait_until(lambda w: w.running == CLIENTS)
    assert hang_up_all(clients, shared_worker) < ABORTED_WITHIN_S


def test_disconnect_aborts_completions_too(clients: list[RawClient], shared_worker: SimWorker) -> None:
    """The other endpoints behave alike."""
    shared_worker.script(STALLED)
    for client in clients:
        client.send(request(body(stream=False, path="/v1/completions"), path="/v1/completions"))
    shared_worker.wait_until(lambda w: w.running == CLIENTS)
    assert hang_up_all(clients, shared_worker) < ABORTED_WITHIN_S


def test_disconnect_on_a_used_connection_aborts(clients: list[RawClient], shared_worker: SimWorker) -> None:
    """The second request of a kept connection is watched as the first was."""
    for client in clients:
        client.send(request(body(stream=True)))
    for client in clients:
        assert client.read_answer().whole
    shared_worker.script(STALLED)
    for client in clients:
        client.send(request(body(stream=False)))
    shared_worker.wait_until(lambda w: w.running == CLIENTS)
    assert hang_up_all(clients, shared_worker) < ABORTED_WITHIN_S


def test_disconnect_with_requests_waiting_behind_aborts(clients: list[RawClient], shared_worker: SimWorker) -> None:
    """A client that has sent its next requests already is seen to leave, and those are never begun."""
    shared_worker.script(STALLED)
    for client in clients:
        client.send(request(body(stream=False)) * 3)
    shared_worker.wait_until(lambda w: w.running == CLIENTS)
    assert hang_up_all(clients, shared_worker) < ABORTED_WITHIN_S
    assert len(shared_worker.generation_requests) == CLIENTS


def test_disconnect_of_a_later_request_of_a_batch_aborts(clients: list[RawClient], shared_worker: SimWorker) -> None:
    """A request that waited behind another is watched when its turn comes."""
    shared_worker.script(Script(text="done", contains="first", times=CLIENTS))
    shared_worker.script(STALLED)
    for client in clients:
        client.send(request(chat_body("first", stream=True)) + request(chat_body("second")))
    for client in clients:
        assert client.read_answer().whole
    shared_worker.wait_until(lambda w: w.running == CLIENTS)
    assert hang_up_all(clients, shared_worker) < ABORTED_WITHIN_S


def test_disconnect_while_sending_reaches_no_worker(clients: list[RawClient], shared_worker: SimWorker) -> None:
    """A client that leaves in the middle of its body or its head has asked nothing."""
    data = request(body(stream=True, padding=200_000))
    for index, client in enumerate(clients):
        client.send(data[: (40, 1_000, 70_000, 150_000)[index % 4]])
    time.sleep(0.1)
    for client in clients:
        client.close()
    assert shared_worker.generation_requests == []


def test_an_abort_is_logged_as_such(shared_gateway: GatewayProcess, shared_worker: SimWorker) -> None:
    """The log says 499 and how far the stream came; the metrics count it."""
    shared_worker.reset()
    shared_worker.script(LONG_TEXT)
    before = metric(shared_gateway, "gateway_requests_total", status="499")
    with RawClient(shared_gateway.port) as client:
        client.send(request(body(stream=True), headers=b"x-request-id: left-early\r\n"))
        client.read_until(b"word")
    line = log_line(shared_gateway, "left-early")
    assert line["status"] == 499
    assert line["cause"] == "the client went away"
    assert isinstance(line["frames"], int)
    assert line["frames"] >= 1
    assert metric(shared_gateway, "gateway_requests_total", status="499") == before + 1
    wait_until_idle(shared_gateway)
    shared_worker.reset()


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that never completes a connection: its queue of waiting ones is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_disconnect_while_connecting_ends_the_request(
    start_gateway: Callable[..., GatewayProcess], stream: bool
) -> None:
    """A client that leaves while no worker can be reached leaves nothing in flight."""
    with deaf_port() as port:
        gateway = start_gateway(gateway_config(f"http://127.0.0.1:{port}"))
        with ExitStack() as stack:
            clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(CLIENTS)]
            for client in clients:
                client.send(request(body(stream=stream)))
            wait_for(lambda: metric(gateway, "gateway_worker_in_flight") == CLIENTS, "all wait for the worker")
        wait_until_idle(gateway, ABORTED_WITHIN_S)


def test_a_client_that_hangs_up_at_the_end_has_been_served(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> None:
    """Clients close at `[DONE]`, before the transfer has ended: that is a success, not an abort."""
    worker = start_sim_worker()
    gateway = start_gateway(gateway_config(worker.url))
    wait_until_up(gateway)
    for number in range(CLIENTS):
        with RawClient(gateway.port) as client:
            client.send(request(body(stream=True), headers=b"x-request-id: done-%d\r\n" % number))
            client.read_until(b"data: [DONE]\n\n")
    for number in range(CLIENTS):
        assert log_line(gateway, f"done-{number}")["status"] == 200
    wait_until_idle(gateway)


def test_a_stalled_stream_is_aborted_too(clients: list[RawClient], shared_worker: SimWorker) -> None:
    """A worker that fell silent in the middle is left as soon as its client is gone."""
    shared_worker.script(Script(text="a b c d e f", fault=Fault(kind="stall_mid_stream", at_chunk=2), times=CLIENTS))
    for client in clients:
        client.send(request(body(stream=True)))
    for client in clients:
        client.read_until(b"data: ")
    shared_worker.wait_until(lambda w: w.running == CLIENTS)
    assert hang_up_all(clients, shared_worker) < ABORTED_WITHIN_S
