"""Slow and stuck readers: the worker is held back, memory stays flat, and nothing waits for ever."""

import json
import re
import time
from collections.abc import Callable

import pytest

from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import open_files, peak_memory_mb, wait_for, wait_until_idle, wait_until_up
from tests.support.raw_http import RawClient, ask, chat_body, request
from tests.support.sim_worker import Fault, Script, SimWorker

MAX_PEAK_MB = 150
STREAM_BYTES = 50_000_000
PIECE = "x" * 10_000 + " "
BIG_STREAM = Script(chunks=(PIECE,), repeat=STREAM_BYTES // len(PIECE) + 1)
STUCK_S = 0.5


def frames_sent(worker: SimWorker) -> int:
    """How many frames of text the worker has sent in its newest stream."""
    return worker.generation_requests[-1].frames_sent


def read_slowly(client: RawClient, pause_s: float, bytes_before_hurry: int) -> tuple[int, bytes]:
    """Reads in small pieces at first, then all; returns the bytes and the last of them."""
    count, tail = 0, b""
    while True:
        data = client.socket.recv(65_536)
        count += len(data)
        tail = (tail + data)[-200:]
        if not data or tail.endswith(b"0\r\n\r\n"):
            return count, tail
        if count < bytes_before_hurry:
            time.sleep(pause_s)


def test_one_slow_reader_of_a_large_stream(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> None:
    """50 MB through a slow client: the worker waits for it, the gateway stays under 150 MB, every byte arrives."""
    sim_worker = start_sim_worker(max_model_len=100_000)
    gateway = start_gateway(gateway_config(sim_worker.url))
    wait_until_up(gateway)
    sim_worker.script(BIG_STREAM)
    with RawClient(gateway.port, timeout_s=30, receive_buffer_bytes=65_536) as client:
        client.send(request(chat_body(stream=True)))
        client.socket.recv(10)
        time.sleep(1.0)
        held_back_at = frames_sent(sim_worker)
        time.sleep(0.5)
        assert frames_sent(sim_worker) == held_back_at
        assert held_back_at * len(PIECE) < STREAM_BYTES / 2
        count, tail = read_slowly(client, 0.002, 5_000_000)
    assert count > STREAM_BYTES
    assert b"data: [DONE]\n\n" in tail
    peak_mb = peak_memory_mb(gateway)
    print(f"peak {peak_mb:.0f} MB; the worker was held back after {held_back_at * len(PIECE) / 1e6:.1f} MB")
    assert peak_mb < MAX_PEAK_MB
    wait_until_idle(gateway)
    assert ask(gateway.port, request(chat_body())).status == 200


def test_many_slow_readers_share_the_memory(
    start_gateway: Callable[..., GatewayProcess], sim_worker: SimWorker
) -> None:
    """Twenty stuck streams hold twenty bounded buffers, and others are served meanwhile."""
    gateway = start_gateway(gateway_config(sim_worker.url))
    wait_until_up(gateway)
    sim_worker.script(Script(chunks=(PIECE,), repeat=2_000, contains="stuck", times=20))
    clients = [RawClient(gateway.port, receive_buffer_bytes=16_384) for _ in range(20)]
    for client in clients:
        client.send(request(chat_body("stuck", stream=True)))
    sim_worker.wait_until(lambda w: w.running == 20)
    time.sleep(1.0)
    assert ask(gateway.port, request(chat_body("Hello"))).status == 200
    for client in clients:
        client.close()
    sim_worker.wait_until(lambda w: w.running == 0)
    wait_until_idle(gateway)
    assert peak_memory_mb(gateway) < MAX_PEAK_MB


@pytest.fixture
def short_tempered(start_gateway: Callable[..., GatewayProcess], sim_worker: SimWorker) -> GatewayProcess:
    """A gateway that gives up on a client which takes nothing for half a second."""
    gateway = start_gateway(gateway_config(sim_worker.url, server={"stream_idle_timeout_s": STUCK_S}))
    wait_until_up(gateway)
    return gateway


@pytest.mark.parametrize(
    "script",
    [
        Script(chunks=(PIECE,), repeat=2_000),
        Script(chunks=(PIECE,), repeat=2_000, fault=Fault(kind="stall_mid_stream", at_chunk=1_500)),
        Script(chunks=(PIECE,), repeat=2_000, fault=Fault(kind="error_mid_stream", at_chunk=600)),
        Script(fault=Fault(kind="big_body", size_bytes=20_000_000)),
    ],
    ids=["stream", "stream that stalls", "stream that fails", "whole"],
)
def test_a_client_that_takes_nothing_is_cut(
    short_tempered: GatewayProcess, sim_worker: SimWorker, script: Script
) -> None:
    """A stuck client is given up, whatever is being sent to it: the worker is freed and so is the connection."""
    before = open_files(short_tempered)
    sim_worker.script(script)
    with RawClient(short_tempered.port, receive_buffer_bytes=8_192) as client:
        client.send(request(chat_body(stream=script.repeat > 1)))
        client.socket.recv(1)
        wait_until_idle(short_tempered, STUCK_S + 2)
        sim_worker.wait_until(lambda w: w.running == 0)
        wait_for(lambda: open_files(short_tempered) <= before + 1, "the connection is closed", STUCK_S + 2)


def test_a_client_that_is_slow_but_reads_is_served(short_tempered: GatewayProcess, sim_worker: SimWorker) -> None:
    """Slowness is no fault: who takes something now and then gets all."""
    sim_worker.script(Script(chunks=(PIECE,), repeat=300))
    with RawClient(short_tempered.port, receive_buffer_bytes=65_536) as client:
        client.send(request(chat_body(stream=True)))
        _, tail = read_slowly(client, 0.02, 3_000_000)
    assert b"data: [DONE]\n\n" in tail


def test_the_end_that_comes_while_the_client_is_slow(
    start_gateway: Callable[..., GatewayProcess], sim_worker: SimWorker
) -> None:
    """A stream whose last bytes reach the gateway while its client's socket is full is complete all the same."""
    gateway = start_gateway(gateway_config(sim_worker.url))
    wait_until_up(gateway)
    for pieces in range(20, 90, 5):
        sim_worker.script(Script(chunks=(PIECE,), repeat=pieces))
        with RawClient(gateway.port, receive_buffer_bytes=8_192) as client:
            client.send(request(chat_body(stream=True, stream_options={"include_usage": True})))
            client.socket.recv(1)
            time.sleep(0.03)
            _, tail = read_slowly(client, 0, 0)
        assert tail.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), pieces
        usage = re.search(rb'"completion_tokens":(\d+)', tail)
        assert usage is None or int(usage[1]) == pieces
    assert json.loads(ask(gateway.port, request(chat_body())).body)["object"] == "chat.completion"
