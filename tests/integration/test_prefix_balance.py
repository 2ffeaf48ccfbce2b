"""`balance: prefix` through real gateways, and what keeps tenants apart in engines' caches."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_up
from tests.support.raw_http import AUTHORIZATION, MODEL, ask, chat_body, request
from tests.support.sim_worker import SimWorker

OTHER_KEY = b"authorization: Bearer other-key-0123456789\r\n"
HEADS = [f"Manual number {number}. " * 60 for number in range(12)]
Gateways = tuple[list[GatewayProcess], list[SimWorker]]


@pytest.fixture(scope="module")
def gateways() -> Iterator[Gateways]:
    """Two gateways, which know nothing of each other, with the same three workers."""
    with ExitStack() as stack:
        workers = [stack.enter_context(SimWorker()) for _ in range(3)]
        config: dict[str, Any] = gateway_config(workers[0].url)
        config["models"][0] |= {"balance": "prefix", "workers": [{"url": worker.url} for worker in workers]}
        config["tenants"].append(
            {"id": "other", "priority": -5, "keys": [{"id": "other-test", "secret": "other-key-0123456789"}]}
        )
        started = [stack.enter_context(GatewayProcess(config)) for _ in range(2)]
        for gateway in started:
            wait_until_up(gateway, 3)
        yield started, workers


def test_questions_behind_one_head_go_to_one_worker(gateways: Gateways) -> None:
    """On either gateway, streaming or not, in the first turn or a later one; twelve heads use all three workers."""
    started, _ = gateways
    used: set[str] = set()
    for head in HEADS:
        holders: set[str] = set()
        for turn in range(4):
            messages = [{"role": "system", "content": head}, {"role": "user", "content": f"Question {turn}"}]
            messages += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"}] * (turn % 2)
            answer = ask(started[turn % 2].port, request(chat_body(messages=messages, stream=turn > 1)))
            assert answer.status == 200, answer
            holders.add(answer.headers["x-gateway-worker"])
        assert len(holders) == 1
        used |= holders
    assert len(used) == 3


def test_tenants_share_nothing_of_a_cache(gateways: Gateways) -> None:
    """Each tenant has a salt of its own, on every gateway and path the same; none can choose it."""
    started, workers = gateways
    for worker in workers:
        worker.reset()
    forged: dict[str, Any] = {"cache_salt": "x", "priority": -99}
    for gateway in started:
        for key in (AUTHORIZATION, OTHER_KEY):
            assert ask(gateway.port, request(chat_body(**forged), key=key)).status == 200
            body = chat_body().replace(b'"messages": [{"role": "user", "content": "Hello"}]', b'"prompt": "Hello"')
            assert ask(gateway.port, request(body, path="/v1/completions", key=key)).status == 200
    seen = [(each.body["cache_salt"], each.body.get("priority")) for w in workers for each in w.generation_requests]
    assert len(seen) == 8
    ours, others = {each for each in seen if each[1] is None}, {each for each in seen if each[1] is not None}
    assert len(ours) == len(others) == 1
    assert {priority for _, priority in others} == {-5}
    assert ours.isdisjoint(others)
    assert {salt for salt, _ in ours} != {salt for salt, _ in others}


def test_a_full_holder_passes_requests_on(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> None:
    """A head whose worker dies is served by the next one, and nobody notices."""
    workers = [start_sim_worker() for _ in range(3)]
    config: dict[str, Any] = gateway_config(workers[0].url, model=MODEL)
    config["models"][0] |= {"balance": "prefix", "workers": [{"url": worker.url} for worker in workers]}
    gateway = start_gateway(config)
    wait_until_up(gateway, 3)
    asked = request(chat_body(HEADS[0]))
    holder = ask(gateway.port, asked).headers["x-gateway-worker"]
    next(worker for worker in workers if holder.endswith(f":{worker.port}")).stop()
    answers = [ask(gateway.port, asked) for _ in range(6)]
    assert {answer.status for answer in answers} == {200}
    (second,) = {answer.headers["x-gateway-worker"] for answer in answers}
    assert second != holder
