"""Several workers behind one model: what one can't do another does, and clients don't notice."""

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import metric, wait_for, wait_until_idle, wait_until_up
from tests.support.raw_http import MODEL, RawAnswer, ask, chat_body, request
from tests.support.sim_worker import Fault, FaultKind, Script, SimWorker

StartWorker = Callable[..., SimWorker]
StartGateway = Callable[..., GatewayProcess]


def two_worker_config(first: SimWorker, second: SimWorker, **sections: Any) -> dict[str, Any]:
    """A configuration in which both serve the one model, in turn."""
    config = gateway_config(first.url, **sections)
    config["models"][0]["workers"].append({"url": second.url})
    config["models"][0]["balance"] = "round-robin"
    return config


Pair = tuple[GatewayProcess, SimWorker, SimWorker]


@pytest.fixture(scope="module")
def lasting_pair() -> Iterator[Pair]:
    """A gateway with two workers; it gives up on silent streams soon."""
    with SimWorker() as first, SimWorker() as second:
        config = two_worker_config(first, second, server={"stream_idle_timeout_s": 0.2})
        with GatewayProcess(config) as gateway:
            yield gateway, first, second


@pytest.fixture
def pair(lasting_pair: Pair) -> Iterator[Pair]:
    """The pair with both workers up and nothing scripted; afterwards nothing is in flight."""
    gateway, first, second = lasting_pair
    wait_until_up(gateway, 2)
    wait_for(lambda: len(used(ask_many(gateway, 4))) == 2, "no breaker is open", 10.0)
    for worker in (first, second):
        worker.reset()
    yield lasting_pair
    for worker in (first, second):
        worker.reset()
    wait_until_idle(gateway)


def ask_many(gateway: GatewayProcess, count: int = 40) -> list[RawAnswer]:
    """Asks so many times, eight at once, streaming and not."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda n: ask(gateway.port, request(chat_body(f"n{n}", stream=n % 2 == 0))), range(count)))


def used(answers: list[RawAnswer]) -> Counter[str]:
    """How many answers each worker gave."""
    return Counter(answer.headers["x-gateway-worker"] for answer in answers)


def readiness(gateway: GatewayProcess) -> tuple[int, dict[str, Any]]:
    """What `/readyz` says."""
    try:
        with urllib.request.urlopen(f"{gateway.url}/readyz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_dead_worker_is_not_noticed(start_gateway: StartGateway, start_sim_worker: StartWorker) -> None:
    """With one of two workers dead no client sees an error, from the first request on; back again, it is used again."""
    first, second = start_sim_worker(), start_sim_worker()
    gateway = start_gateway(two_worker_config(first, second))
    wait_until_up(gateway, 2)
    both = used(ask_many(gateway))
    assert set(both) == {f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"}
    port = first.port
    first.stop()
    answers = ask_many(gateway)
    assert {answer.status for answer in answers} == {200}
    assert all(answer.whole for answer in answers)
    assert set(used(answers)) == {f"127.0.0.1:{second.port}"}
    assert readiness(gateway)[0] == 200
    wait_until_idle(gateway)
    with SimWorker(port=port) as back:
        wait_until_up(gateway, 2)
        assert f"127.0.0.1:{port}" in used(ask_many(gateway))
        back.wait_until(lambda w: w.running == 0)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="cut_before_headers"),
        Fault(kind="cut_before_headers", reset=True),
        *(Fault(kind="status", status=status) for status in (429, 500, 502, 503)),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status} {fault.reset}",
)
def test_what_one_worker_refuses_another_takes(pair: Pair, fault: Fault) -> None:
    """A worker that fails before its first byte, or is busy, costs its clients nothing while there is another."""
    gateway, first, second = pair
    first.script(Script(fault=fault, times=None))
    answers = ask_many(gateway, 20)
    assert {answer.status for answer in answers} == {200}
    assert set(used(answers)) == {f"127.0.0.1:{second.port}"}
    assert len(second.generation_requests) == 20
    assert len(first.generation_requests) >= 1
    wait_until_idle(gateway)


@pytest.mark.parametrize(("status", "expected"), [(429, 503), (503, 503), (500, 502)])
def test_when_all_refuse_the_client_hears_it(pair: Pair, status: int, expected: int) -> None:
    """Each worker is asked once; then the error comes, with a time to retry if all are busy."""
    gateway, first, second = pair
    for worker in (first, second):
        worker.script(Script(fault=Fault(kind="status", status=status), times=None))
    answer = ask(gateway.port, request(chat_body()))
    assert answer.status == expected
    assert ("retry-after" in answer.headers) == (expected == 503)
    assert (len(first.generation_requests), len(second.generation_requests)) == (1, 1)
    wait_until_idle(gateway)


@pytest.mark.parametrize(
    "kind", ["cut_in_headers", "cut_in_body", "garbage", "cut_mid_stream", "error_mid_stream", "stall_mid_stream"]
)
def test_what_has_begun_is_not_done_twice(pair: Pair, kind: FaultKind) -> None:
    """After the first byte of an answer no other worker is asked."""
    gateway, first, second = pair
    for worker in (first, second):
        worker.script(Script(text="a b c", fault=Fault(kind=kind), times=None))
    ask(gateway.port, request(chat_body(stream="stream" in kind)))
    assert len(first.generation_requests) + len(second.generation_requests) == 1


def test_a_worker_of_another_model_is_never_used(start_gateway: StartGateway, start_sim_worker: StartWorker) -> None:
    """A worker that serves something else is named by `/readyz` and gets no request; its neighbour serves alone."""
    wrong, right = start_sim_worker(model="google/gemma-3-1b-it"), start_sim_worker()
    gateway = start_gateway(two_worker_config(wrong, right))
    wait_until_up(gateway)
    answers = ask_many(gateway)
    assert {answer.status for answer in answers} == {200}
    assert wrong.generation_requests == []
    assert readiness(gateway)[0] == 200
    port = right.port
    right.stop()
    wait_for(lambda: readiness(gateway)[0] == 503, "the gateway is not ready", 10.0)
    problem = readiness(gateway)[1]["models"][MODEL]
    assert f"127.0.0.1:{wrong.port}: it serves google/gemma-3-1b-it, not {MODEL}" in problem
    assert f"127.0.0.1:{port}: " in problem
    refused = ask(gateway.port, request(chat_body()))
    assert refused.status == 503
    assert refused.error["code"] == "no_worker_available"
    assert int(refused.headers["retry-after"]) >= 1
    assert wrong.generation_requests == []


def test_a_worker_that_comes_back_as_another_is_found_out(
    start_gateway: StartGateway, start_sim_worker: StartWorker
) -> None:
    """A worker restarted with another model between two probes is noticed although it is healthy."""
    first = start_sim_worker()
    gateway = start_gateway(gateway_config(first.url))
    wait_until_up(gateway)
    first.stop()
    with SimWorker(start_sim_worker(model="google/gemma-3-1b-it").settings, port=first.port):
        wait_for(lambda: readiness(gateway)[0] == 503, "the gateway is not ready", 12.0)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_no_worker_at_all_is_said_at_once(start_gateway: StartGateway, unused_port: int, stream: bool) -> None:
    """A model whose only worker refuses connections: 503 with a time to retry, every time; and it is counted."""
    gateway = start_gateway(gateway_config(f"http://127.0.0.1:{unused_port}"))
    for _ in range(3):
        answer = ask(gateway.port, request(chat_body(stream=stream)))
        assert answer.status == 503
        assert answer.error["code"] == "no_worker_available"
        assert int(answer.headers["retry-after"]) >= 1
    assert metric(gateway, "gateway_requests_total", status="503") == 3
    wait_until_idle(gateway)
