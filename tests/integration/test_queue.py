"""A model with a queue: what exceeds the places of its workers waits its turn, or is refused honestly."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import log_line, metric, wait_for, wait_until_idle, wait_until_up
from tests.support.raw_http import AUTHORIZATION, RawAnswer, RawClient, ask, chat_body, request
from tests.support.sim_worker import Script, SimWorker

OTHER_KEY = "other-key-0123456789"
PLACES = 2
SIZE = 3


@pytest.fixture(scope="module")
def gateway_and_worker() -> Iterator[tuple[GatewayProcess, SimWorker]]:
    """A model with two places and three to wait at; waiting ends after a minute."""
    with SimWorker() as worker:
        config = gateway_config(worker.url)
        config["models"][0]["queue"] = {"max_in_flight": PLACES, "size": SIZE, "timeout_s": 60}
        config["tenants"].append({"id": "other", "keys": [{"id": "other-test", "secret": OTHER_KEY}]})
        with GatewayProcess(config) as gateway:
            wait_until_up(gateway)
            yield gateway, worker


class Line:
    """Requests that are sent one after the other, each when the one before has its place or waits."""

    def __init__(self, gateway: GatewayProcess, pool: ThreadPoolExecutor) -> None:
        self.gateway = gateway
        self.sent: list[Future[RawAnswer]] = []
        self._pool = pool

    def waiting(self) -> float:
        return metric(self.gateway, "gateway_queue_length")

    def send(self, prompt: str, key: bytes = AUTHORIZATION, **fields: Any) -> None:
        """Returns when the request is seen at the worker or in the queue."""
        there = metric(self.gateway, "gateway_worker_in_flight") + self.waiting()
        self.sent.append(
            self._pool.submit(ask, self.gateway.port, request(chat_body(prompt, **fields), key=key), timeout_s=60)
        )
        wait_for(
            lambda: metric(self.gateway, "gateway_worker_in_flight") + self.waiting() > there, f"{prompt} is there"
        )


@pytest.fixture
def line(gateway_and_worker: tuple[GatewayProcess, SimWorker]) -> Iterator[Line]:
    """Nobody waits, before and after."""
    gateway, worker = gateway_and_worker
    worker.reset()
    with ThreadPoolExecutor(16) as pool:
        yield Line(gateway, pool)
    wait_until_idle(gateway)
    assert metric(gateway, "gateway_queue_length") == 0


def served(worker: SimWorker) -> list[str]:
    """The prompts in the order in which the worker got them."""
    return [re.findall(r"prompt-\w+", str(seen.body))[0] for seen in worker.generation_requests]


def test_a_worker_never_has_more_than_its_places(
    gateway_and_worker: tuple[GatewayProcess, SimWorker], line: Line
) -> None:
    """Five at once on two places: all are answered, two at a time, and the waits are counted."""
    gateway, worker = gateway_and_worker
    worker.script(Script(first_delay_s=1.0, times=None))
    before = metric(gateway, "gateway_queue_wait_seconds_count", outcome="served")
    for number in range(PLACES + SIZE):
        line.send(f"prompt-{number}", stream=number % 2 == 0)
        assert worker.running <= PLACES
    assert line.waiting() == SIZE
    assert {sent.result().status for sent in line.sent} == {200}
    assert served(worker) == [f"prompt-{number}" for number in range(PLACES + SIZE)]
    assert metric(gateway, "gateway_queue_wait_seconds_count", outcome="served") - before == SIZE


def test_over_its_size_it_says_when_to_come_back(
    gateway_and_worker: tuple[GatewayProcess, SimWorker], line: Line
) -> None:
    """The sixth is refused at once with 503 and a time of whole seconds; those that wait are served."""
    gateway, worker = gateway_and_worker
    worker.script(Script(first_delay_s=1.0, times=None))
    for number in range(PLACES + SIZE):
        line.send(f"prompt-{number}")
    refused = ask(gateway.port, request(chat_body("prompt-late"), headers=b"x-request-id: too-late\r\n"))
    assert refused.status == 503
    assert refused.error["code"] == "no_worker_available"
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert log_line(gateway, "too-late")["queued_ms"] is not None
    assert {sent.result().status for sent in line.sent} == {200}
    assert "prompt-late" not in served(worker)


def test_tenants_take_turns(gateway_and_worker: tuple[GatewayProcess, SimWorker], line: Line) -> None:
    """One tenant's second waiting request comes after another tenant's first, although it was there before."""
    _, worker = gateway_and_worker
    worker.script(Script(first_delay_s=1.0, times=None))
    for number in range(PLACES):
        line.send(f"prompt-first{number}")
    line.send("prompt-a1")
    line.send("prompt-a2")
    line.send("prompt-b1", key=f"authorization: Bearer {OTHER_KEY}\r\n".encode())
    assert {sent.result().status for sent in line.sent} == {200}
    order = served(worker)
    assert order.index("prompt-b1") < order.index("prompt-a2")


def test_who_leaves_the_queue_frees_the_place(gateway_and_worker: tuple[GatewayProcess, SimWorker], line: Line) -> None:
    """A client that goes away while it waits never reaches the worker, and another may wait instead."""
    gateway, worker = gateway_and_worker
    worker.script(Script(first_delay_s=1.0, times=None))
    for number in range(PLACES):
        line.send(f"prompt-{number}")
    before = metric(gateway, "gateway_queue_wait_seconds_count", outcome="given_up")
    with RawClient(gateway.port) as client:
        client.send(request(chat_body("prompt-gone")))
        wait_for(lambda: line.waiting() == 1, "it waits")
    wait_for(lambda: line.waiting() == 0, "it is gone")
    line.send("prompt-next")
    assert {sent.result().status for sent in line.sent} == {200}
    assert "prompt-gone" not in served(worker)
    assert metric(gateway, "gateway_queue_wait_seconds_count", outcome="given_up") - before == 1
