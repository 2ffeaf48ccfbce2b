"""LoRA adapters that engines have loaded, served as models of their own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin_client import ADMIN_KEY, admin, admin_json
from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import metric, wait_for, wait_until_up
from tests.support.raw_http import ask, chat_body, request
from tests.support.redis_server import RedisServer
from tests.support.sim_worker import Fault, Script, SimWorker

BASE = "google/gemma-3-1b-it"
ADAPTED = f"{BASE}@support"


def start(
    start_gateway: Callable[..., GatewayProcess], workers: list[SimWorker], adapters: list[str], **sections: Any
) -> GatewayProcess:
    """A gateway with one model on these workers."""
    config: dict[str, Any] = gateway_config(workers[0].url, model=BASE, admin={"key": ADMIN_KEY}, **sections)
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


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    """The path of an adapter."""
    (tmp_path / "adapter_config.json").write_text("{}")
    return str(tmp_path)


def status_of(gateway: GatewayProcess, name: str = ADAPTED) -> int:
    return ask(gateway.port, request(chat_body("Hello", model=name))).status


def at_workers(gateway: GatewayProcess) -> list[bool]:
    """Whether each worker has the adapter, as a replica tells."""
    (shown,) = admin_json(gateway, "GET", "/adapters")["data"]
    return [worker["loaded"] for worker in shown["workers"]]


def test_an_adapter_is_loaded_and_unloaded_for_all_replicas(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker], adapter: str
) -> None:
    """One replica is told, both serve it, on both workers; a worker that restarts gets it back; unloaded, it is 503."""
    workers = [start_sim_worker(model=BASE, runtime_lora=True) for _ in range(2)]
    with RedisServer() as redis_server:
        redis = {"url": redis_server.url, "prefix": "adapters"}
        here, there = (start(start_gateway, workers, ["support"], redis=redis) for _ in range(2))
        assert (status_of(here), status_of(there)) == (503, 503)
        ready = ask(here.port, request(method="GET", path="/readyz"))
        assert ready.status == 200, "a gateway whose adapters aren't loaded yet serves its models"
        assert "has not loaded support" in json.loads(ready.body)["adapters"][ADAPTED]
        loaded = admin(here, "POST", "/adapters", {"model": ADAPTED, "path": adapter})
        assert loaded.status == 200, loaded
        assert [worker["path"] for worker in json.loads(loaded.body)["workers"]] == [adapter] * 2
        assert status_of(here) == 200
        wait_for(lambda: at_workers(there) == [True, True], "the other replica knows of it", 3.0)
        assert status_of(there) == 200

        port = workers[0].port
        workers[0].stop()
        wait_for(lambda: at_workers(here) == [False, True], "its end is noticed")
        again = start_sim_worker(port=port, model=BASE, runtime_lora=True)
        again.wait_until(lambda worker: worker.app.adapters.paths == {"support": adapter}, 10.0)
        wait_for(lambda: at_workers(here) == at_workers(there) == [True, True], "it is loaded again", 10.0)

        late = start(start_gateway, [again, workers[1]], ["support"], redis=redis)
        assert admin_json(late, "GET", "/adapters")["data"][0]["wanted"] == "loaded"
        assert admin(late, "DELETE", f"/adapters/{ADAPTED}").status == 200
        assert [worker.app.adapters.paths for worker in (again, workers[1])] == [{}, {}]
        for gateway in (here, there, late):
            wait_for(lambda g=gateway: at_workers(g) == [False, False], "every replica knows", 3.0)  # type: ignore[misc]  # bound early
            assert status_of(gateway) == 503
            assert status_of(gateway, BASE) == 200


def test_an_engine_that_does_not_load_at_run_time_says_so(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker], adapter: str
) -> None:
    """409 with what to start the engine with; of a path without an adapter the engine's own word; 207 where one can."""
    fixed, free = start_sim_worker(model=BASE), start_sim_worker(model=BASE, runtime_lora=True)
    gateway = start(start_gateway, [fixed], ["support"])
    refused = admin(gateway, "POST", "/adapters", {"model": ADAPTED, "path": adapter})
    assert refused.status == 409
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1" in refused.error["message"]
    both = start(start_gateway, [fixed, free], ["support"])
    partly = admin(both, "POST", "/adapters", {"model": ADAPTED, "path": adapter})
    assert partly.status == 207
    assert [worker["loaded"] for worker in json.loads(partly.body)["workers"]] == [False, True]
    assert status_of(both) == 200
    free_only = start(start_gateway, [free], ["support"])
    nowhere = admin(free_only, "POST", "/adapters", {"model": ADAPTED, "path": "/nowhere"})
    assert nowhere.status == 409
    assert "No adapter found for /nowhere" in nowhere.error["message"]
    assert free.app.adapters.paths == {"support": adapter}
