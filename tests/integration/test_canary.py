"""Engines that hang while their server answers `/health`, and workers that hang as a whole, with `canary_s` on."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support.admin_client import ADMIN_KEY, admin_json
from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import metric, wait_for, wait_until_idle, wait_until_up
from tests.support.raw_http import MODEL, ask, chat_body, request
from tests.support.worker_processes import WorkerProcess, start_workers

CANARY_S = 1
NEVER_S = 3_600
BACK_WITHIN_S = 5.0
Fleet = tuple[GatewayProcess, WorkerProcess, WorkerProcess]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A gateway with canaries and two workers that are up; at the end nothing is in flight."""
    with ExitStack() as stack:
        first, second = start_workers(stack, 2)
        config = gateway_config(first.url, model=MODEL, admin={"key": ADMIN_KEY})
        config["models"][0].update(
            workers=[{"url": first.url}, {"url": second.url}], canary_s=CANARY_S, balance="round-robin"
        )
        gateway = stack.enter_context(GatewayProcess(config))
        wait_until_up(gateway, 2)
        yield gateway, first, second
        wait_until_idle(gateway)


def canaries(gateway: GatewayProcess, worker: WorkerProcess, outcome: str) -> float:
    return metric(gateway, "gateway_worker_canaries_total", worker=worker.id, outcome=outcome)


def is_cut_off(gateway: GatewayProcess, worker: WorkerProcess) -> bool:
    return metric(gateway, "gateway_worker_breaker_open", worker=worker.id) == 1


def worker_of_an_answer(gateway: GatewayProcess, *, stream: bool = False) -> str:
    """Who answered a request, which must be answered."""
    answer = ask(gateway.port, request(chat_body("hello", stream=stream)), timeout_s=30)
    assert answer.status == 200, answer
    return answer.headers["x-gateway-worker"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_engine_that_makes_no_token_is_cut_off(fleet: Fleet, stream: bool) -> None:
    """Who waits there is served by the other one; it's used again soon after it makes tokens again."""
    gateway, hung, healthy = fleet
    hung.script(first_delay_s=NEVER_S)
    with ThreadPoolExecutor(8) as clients:
        served = list(clients.map(lambda _: worker_of_an_answer(gateway, stream=stream), range(8)))
    assert set(served) == {healthy.id}
    assert is_cut_off(gateway, hung)
    assert metric(gateway, "gateway_worker_up", worker=hung.id) == 1
    assert canaries(gateway, hung, "failed") >= 1
    listed = {each["id"]: each for each in admin_json(gateway, "GET", "/workers")["data"]}
    assert listed[hung.id]["problem"] == "its engine hangs"
    assert {worker_of_an_answer(gateway) for _ in range(4)} == {healthy.id}
    hung.script()
    mended_at = time.monotonic()
    wait_for(lambda: worker_of_an_answer(gateway) == hung.id, "the worker is used again", BACK_WITHIN_S)
    print(f"\nused again after {time.monotonic() - mended_at:.2f} s")
    assert canaries(gateway, healthy, "failed") == 0


def test_a_worker_that_is_stopped_is_found_as_ever(fleet: Fleet) -> None:
    """By its probes; the canary under way changes nothing, and it's back soon after it was woken."""
    gateway, hung, healthy = fleet
    hung.hang()
    with ThreadPoolExecutor(4) as clients:
        served = list(clients.map(lambda _: worker_of_an_answer(gateway), range(4)))
    assert set(served) == {healthy.id}
    wait_for(lambda: metric(gateway, "gateway_worker_up", worker=hung.id) == 0, "its probes are silent", 10)
    hung.wake()
    wait_for(lambda: worker_of_an_answer(gateway) == hung.id, "the worker is used again", BACK_WITHIN_S)


def test_the_only_engine_that_hangs_is_told_of(fleet: Fleet) -> None:
    """With the other one drained `/readyz` says why, and a client hears it at once instead of in ten minutes."""
    gateway, hung, drained = fleet
    hung.script(first_delay_s=NEVER_S)
    admin_json(gateway, "POST", f"/workers/{drained.id}/drain")
    answer = ask(gateway.port, request(chat_body("hello")), timeout_s=30)
    assert (answer.status, answer.error["code"]) == (503, "no_worker_available")
    ready = ask(gateway.port, request(method="GET", path="/readyz"))
    assert ready.status == 503
    assert "its engine hangs" in json.dumps(json.loads(ready.body))


def test_a_drain_aborts_the_canary_at_the_engine(fleet: Fleet) -> None:
    """Nothing of the gateway's is left on a worker that is to be restarted."""
    gateway, silent, _ = fleet
    silent.script(first_delay_s=NEVER_S, path="/v1/completions")
    wait_for(lambda: silent.stats()["running"] == 1, "a canary is under way", 10)
    aborted = silent.stats()["aborted"]
    admin_json(gateway, "POST", f"/workers/{silent.id}/drain")
    wait_for(lambda: silent.stats()["running"] == 0, "the worker has nothing more")
    assert silent.stats()["aborted"] == aborted + 1
    assert canaries(gateway, silent, "failed") == 0


def test_canaries_cost_no_tenant_anything(fleet: Fleet) -> None:
    """They are in no tenant's usage and in no count of requests; a worker that answers others gets none."""
    gateway, first, second = fleet
    wait_for(lambda: min(canaries(gateway, each, "answered") for each in (first, second)) >= 1, "both are asked", 10)
    assert metric(gateway, "gateway_requests_total") == 0
    assert not any(line["message"] == "request" for line in gateway.logs if line.get("path") == "/v1/completions")
