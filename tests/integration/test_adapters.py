"""LoRA adapters that engines have loaded, served as models of their own."""

import json
from collections.abc import Callable
from typing import Any

from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import metric, wait_until_up
from tests.support.raw_http import ask, chat_body, request
from tests.support.sim_worker import Fault, Script, SimWorker

BASE = "google/gemma-3-1b-it"
ADAPTED = f"{BASE}@support"


def start(
    start_gateway: Callable[..., GatewayProcess], workers: list[SimWorker], adapters: list[str]
) -> GatewayProcess:
    """A gateway with one model on these workers."""
    config: dict[str, Any] = gateway_config(workers[0].url, model=BASE)
    config["models"][0] |= {"workers": [{"url": worker.url} for worker in workers], "adapters": adapters}
    gateway = start_gateway(config)
    wait_until_up(gateway, len(workers))
    return gateway


def test_an_adapter_is_a_model_of_its_own(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> None:
    """The engine is asked by its name for it, the client is answered by ours, and the base stays what it was."""
    worker = start_sim_worker(model=BASE, lora_modules=("support",))
    gateway = start(start_gateway, [worker], ["support"])
    for name, at_engine in ((ADAPTED, "support"), (BASE, BASE)):
        answer = ask(gateway.port, request(chat_body("Hello", model=name)))
        assert answer.status == 200, answer
        assert json.loads(answer.body)["model"] == name
        assert worker.generation_requests[-1].body["model"] == at_engine
    listed = ask(gateway.port, request(method="GET", path="/v1/models"))
    assert {entry["id"] for entry in json.loads(listed.body)["data"]} == {BASE, ADAPTED}


def test_only_workers_that_have_it_are_asked(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> None:
    """Of two workers one has the adapter: it gets all requests for it. One that nobody has is a 503, never the base."""
    without = start_sim_worker(model=BASE)
    having = start_sim_worker(model=BASE, lora_modules=("support",))
    gateway = start(start_gateway, [without, having], ["support", "absent"])
    for number in range(12):
        answer = ask(gateway.port, request(chat_body(f"n{number}", model=ADAPTED)))
        assert answer.status == 200, answer
        assert answer.headers["x-gateway-worker"] == f"127.0.0.1:{having.port}"
    assert without.generation_requests == []
    missing = ask(gateway.port, request(chat_body(model=f"{BASE}@absent")))
    assert missing.status == 503
    assert missing.error["code"] == "no_worker_available"


def test_a_worker_that_has_unloaded_it_sends_nobody_away(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> None:
    """A 404 between two probes, or a 401, is for an operator to mend: another worker answers, and it is told of."""
    workers = [start_sim_worker(model=BASE, lora_modules=("support",)) for _ in range(2)]
    gateway = start(start_gateway, workers, ["support"])
    workers[0].script(Script(fault=Fault(kind="status", status=404), times=None, path="/v1/chat/completions"))
    answers = [ask(gateway.port, request(chat_body("Hello", model=ADAPTED))) for _ in range(8)]
    assert {answer.headers["x-gateway-worker"] for answer in answers} == {f"127.0.0.1:{workers[1].port}"}
    assert {answer.status for answer in answers} == {200}
    assert metric(gateway, "gateway_worker_refusals_total", status="404", worker=f"127.0.0.1:{workers[0].port}") >= 1
    assert any("with status 404" in line["message"] for line in gateway.logs)
