"""Limits of tenants and keys, counted by the embedded store, as clients see them."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_idle, wait_until_up
from tests.support.raw_http import RawAnswer, RawClient, ask, chat_body, request
from tests.support.sim_worker import SimWorker

StartGateway = Callable[..., GatewayProcess]


def limited(start_gateway: StartGateway, worker: SimWorker, **limits: int) -> GatewayProcess:
    tenant = {"id": "acme", "limits": limits, "keys": [{"id": "acme-test", "secret": TEST_KEY}]}
    gateway = start_gateway(gateway_config(worker.url, tenants=[tenant]))
    wait_until_up(gateway)
    return gateway


def say(gateway: GatewayProcess, text: str = "Hello", **fields: Any) -> RawAnswer:
    return ask(gateway.port, request(chat_body(text, **fields)))


def test_requests_per_minute(start_gateway: StartGateway, sim_worker: SimWorker) -> None:
    """The limit's last request passes, the next is a 429 that tells when to come again; all carry true numbers."""
    gateway = limited(start_gateway, sim_worker, requests_per_minute=3)
    answers = [say(gateway) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers.get("x-ratelimit-remaining-requests") for answer in answers] == ["2", "1", "0", "0"]
    refused = answers[-1]
    assert refused.headers.get("x-ratelimit-limit-requests") == "3"
    assert 0 < int(refused.headers.get("retry-after-ms") or 0) <= 61_000
    assert int(refused.headers.get("retry-after") or 0) >= 1
    error = json.loads(refused.body)["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert "requests per minute" in error["message"]
    assert len(sim_worker.generation_requests) == 3


def test_a_burst_admits_exactly_the_limit(start_gateway: StartGateway, sim_worker: SimWorker) -> None:
    """Sixty requests at once under a limit of twenty: twenty reach the worker."""
    gateway = limited(start_gateway, sim_worker, requests_per_minute=20)
    with ThreadPoolExecutor(60) as pool:
        statuses = sorted(answer.status for answer in pool.map(lambda _: say(gateway), range(60)))
    assert statuses == [200] * 20 + [429] * 40
    assert len(sim_worker.generation_requests) == 20


def test_what_is_refused_costs_nothing(start_gateway: StartGateway, sim_worker: SimWorker) -> None:
    """Invalid requests, and those that the worker refuses, leave the limit as it was."""
    gateway = limited(start_gateway, sim_worker, requests_per_minute=2)
    for _ in range(3):
        assert say(gateway, temperature=9).status == 400
        assert say(gateway, '/sim {"fault": {"kind": "status", "status": 500}}').status == 502
    assert [say(gateway).status for _ in range(3)] == [200, 200, 429]


def test_tokens_are_reserved_before_and_settled_after(start_gateway: StartGateway, sim_worker: SimWorker) -> None:
    """A request that asks for more than is left is refused; what it did not use comes back."""
    gateway = limited(start_gateway, sim_worker, tokens_per_minute=2000)
    assert say(gateway, max_tokens=3000).status == 429
    assert say(gateway, max_tokens=1500).status == 200
    wait_until_idle(gateway)
    again = say(gateway, max_tokens=1500)
    assert again.status == 200
    assert int(again.headers.get("x-ratelimit-limit-tokens") or 0) == 2000


def test_concurrency_is_given_back_on_every_path(start_gateway: StartGateway, sim_worker: SimWorker) -> None:
    """Two streams fill the limit; when one client leaves, the next request passes."""
    gateway = limited(start_gateway, sim_worker, concurrent_requests=2)
    slow = request(chat_body('/sim {"chunks": ["word "], "repeat": 500, "delay_s": 0.05}', stream=True))
    with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        for client in (first, second):
            client.send(slow)
            client.read_until(b"word")
        assert say(gateway).status == 429
    wait_until_idle(gateway)
    assert [say(gateway).status for _ in range(3)] == [200, 200, 200]


def test_streams_carry_the_headers(start_gateway: StartGateway, sim_worker: SimWorker) -> None:
    """The head of a stream tells where the limits stand."""
    answer = say(limited(start_gateway, sim_worker, requests_per_hour=10), stream=True)
    assert answer.headers.get("x-ratelimit-remaining-requests") == "9"
    assert (answer.headers.get("x-ratelimit-reset-requests") or "").endswith("s")
