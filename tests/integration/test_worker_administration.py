"""Workers added, drained and taken out by the admin API while requests are served, for every replica."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.auth.redis_client import open_redis
from gateway.config.model import RedisSettings, Secret
from gateway.errors import Conflict
from gateway.routing.discovery.overrides import AddedWorker, Overrides, OverridesUnavailableError, change_overrides
from gateway.routing.discovery.redis_overrides import RedisOverrideStore
from gateway.values import ModelName, WorkerId
from tests.support.admin_client import ADMIN_KEY, admin, admin_json
from tests.support.client_load import ClientLoad
from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import metric, wait_for, wait_until_idle, wait_until_up
from tests.support.raw_http import MODEL, RawClient, ask, chat_body, request
from tests.support.redis_server import RedisServer
from tests.support.sim_worker import Script, SimWorker

StartGateway = Callable[..., GatewayProcess]
StartWorker = Callable[..., SimWorker]
EFFECTIVE_S = 1.0
"""Within which every replica must know of a change."""


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """One for this module."""
    with RedisServer() as server:
        yield server


def config(*workers: SimWorker, **sections: Any) -> dict[str, Any]:
    made = gateway_config(workers[0].url, admin={"key": ADMIN_KEY}, **sections)
    made["models"][0]["workers"] = [{"url": worker.url} for worker in workers]
    return made


def name_of(worker: SimWorker) -> str:
    return f"127.0.0.1:{worker.port}"


def listed(gateway: GatewayProcess) -> dict[str, dict[str, Any]]:
    """The workers by id, as a replica tells."""
    return {worker["id"]: worker for worker in admin_json(gateway, "GET", "/workers")["data"]}


def is_up(gateway: GatewayProcess, worker: SimWorker) -> bool:
    return listed(gateway).get(name_of(worker), {}).get("state") == "up"


def test_replicas_share_what_the_admin_api_changes(
    start_gateway: StartGateway, start_sim_worker: StartWorker, redis_server: RedisServer
) -> None:
    """A worker that one replica is told of is used by all, drained by all, known after a start, and leaves all."""
    first, second = start_sim_worker(), start_sim_worker()
    shared = config(first, redis={"url": redis_server.url, "prefix": "workers"})
    here, there = start_gateway(shared), start_gateway(shared)
    for gateway in (here, there):
        wait_until_up(gateway)
    assert admin(here, "POST", "/workers", {"model": MODEL, "url": second.url}).status == 201
    wait_for(lambda: name_of(second) in listed(there), "the other replica knows the worker", EFFECTIVE_S)
    wait_for(lambda: is_up(here, second) and is_up(there, second), "the worker is up")

    admin_json(there, "POST", f"/workers/{name_of(first)}/drain")
    wait_for(lambda: listed(here)[name_of(first)]["draining"], "the first replica drains it, too", EFFECTIVE_S)
    assert metric(here, "gateway_worker_draining", worker=name_of(first)) == 1
    late = start_gateway(shared)
    wait_until_up(late, 2)
    assert listed(late)[name_of(first)]["draining"]
    for gateway in (here, there, late):
        answers = [ask(gateway.port, request(chat_body())) for _ in range(5)]
        assert {answer.headers["x-gateway-worker"] for answer in answers} == {name_of(second)}

    admin_json(here, "POST", f"/workers/{name_of(first)}/undrain")
    admin_json(here, "DELETE", f"/workers/{name_of(second)}")
    wait_for(lambda: list(listed(there)) == [name_of(first)], "the other replica knows that it is gone", EFFECTIVE_S)
    assert ask(there.port, request(chat_body())).headers["x-gateway-worker"] == name_of(first)
    audit = [entry["action"] for entry in admin_json(there, "GET", "/audit")["data"]]
    assert audit == ["worker.delete", "worker.undrain", "worker.drain", "worker.add"]


def test_without_the_store_workers_stay_as_they_are(start_gateway: StartGateway, start_sim_worker: StartWorker) -> None:
    """Changes are refused with 503, the list goes on, and nobody forgets a worker that was added or drained."""
    first, second = start_sim_worker(), start_sim_worker()
    with RedisServer() as redis_server:
        gateway = start_gateway(config(first, redis={"url": redis_server.url, "prefix": "away"}))
        admin_json(gateway, "POST", "/workers", {"model": MODEL, "url": second.url})
        admin_json(gateway, "POST", f"/workers/{name_of(first)}/drain")
        wait_until_up(gateway, 2)
        redis_server.stop()
        refused = admin(gateway, "POST", f"/workers/{name_of(first)}/undrain")
        assert (refused.status, refused.error["code"]) == (503, "store_unavailable")
        wait_for(lambda: "can't be seen" in gateway.stderr, "the loss is logged")
        assert listed(gateway)[name_of(first)]["draining"]
        assert ask(gateway.port, request(chat_body())).headers["x-gateway-worker"] == name_of(second)


@pytest.mark.parametrize("end", ["drain", "delete"])
def test_open_streams_of_a_worker_that_goes_finish(
    start_gateway: StartGateway, start_sim_worker: StartWorker, end: str
) -> None:
    """Drained or deleted while it streams, a worker gets nothing new, and its stream goes on to its end."""
    first, second = start_sim_worker(), start_sim_worker()
    gateway = start_gateway(config(first))
    wait_until_up(gateway)
    admin_json(gateway, "POST", f"/workers/{name_of(first)}/drain")
    admin_json(gateway, "POST", "/workers", {"model": MODEL, "url": second.url})
    wait_until_up(gateway, 2)
    second.script(Script(chunks=("word ",), repeat=20, delay_s=0.05, contains="long"))
    with RawClient(gateway.port) as client:
        client.send(request(chat_body("long", stream=True)))
        client.read_until(b"word")
        assert listed(gateway)[name_of(second)]["in_flight"] == 1
        admin_json(gateway, "POST", f"/workers/{name_of(first)}/undrain")
        if end == "drain":
            admin_json(gateway, "POST", f"/workers/{name_of(second)}/drain")
        else:
            admin_json(gateway, "DELETE", f"/workers/{name_of(second)}")
        assert ask(gateway.port, request(chat_body())).headers["x-gateway-worker"] == name_of(first)
        assert b"[DONE]" in client.read_until(b"[DONE]")
    wait_until_idle(gateway)
    assert len(second.generation_requests) == 1
    assert second.aborted == 0


def test_an_added_worker_of_another_model_is_reported_and_not_used(
    start_gateway: StartGateway, start_sim_worker: StartWorker
) -> None:
    """The list, the metric, the log and `/readyz` say what it serves instead; it never gets a request."""
    right, wrong = start_sim_worker(), start_sim_worker(model="google/gemma-3-1b-it")
    gateway = start_gateway(config(right))
    wait_until_up(gateway)
    admin_json(gateway, "POST", "/workers", {"model": MODEL, "url": wrong.url})
    for _ in range(20):
        assert ask(gateway.port, request(chat_body())).status == 200
    wait_for(lambda: listed(gateway)[name_of(wrong)]["state"] == "misconfigured", "it is found out")
    problem = f"it serves google/gemma-3-1b-it, not {MODEL}"
    assert listed(gateway)[name_of(wrong)]["problem"] == problem
    assert metric(gateway, "gateway_worker_misconfigured", worker=name_of(wrong)) == 1
    assert metric(gateway, "gateway_worker_misconfigured") == 1
    ready = ask(gateway.port, request(method="GET", path="/readyz"))
    assert ready.status == 200
    assert json.loads(ready.body)["misconfigured"] == {MODEL: {name_of(wrong): problem}}
    wait_for(lambda: problem in gateway.stderr, "it is logged")
    for _ in range(20):
        assert ask(gateway.port, request(chat_body())).status == 200
    assert wrong.generation_requests == []


def restart(worker: SimWorker, gateways: list[GatewayProcess], start_sim_worker: StartWorker) -> SimWorker:
    """As an operator's script does: drain, wait until no replica has anything there, restart, wait, use it again."""
    worker_id = name_of(worker)
    admin_json(gateways[0], "POST", f"/workers/{worker_id}/drain")

    def is_free() -> bool:
        views = [listed(gateway)[worker_id] for gateway in gateways]
        return all(view["draining"] and not view["in_flight"] for view in views)

    wait_for(is_free, "no replica has anything there any more", 20.0)
    assert worker.running == 0
    worker.stop()
    again = start_sim_worker(port=worker.port)
    wait_for(lambda: all(is_up(gateway, again) for gateway in gateways), "it is up again", 20.0)
    admin_json(gateways[1], "POST", f"/workers/{worker_id}/undrain")
    return again


def test_a_rolling_restart_of_all_workers_loses_nothing(
    start_gateway: StartGateway, start_sim_worker: StartWorker, redis_server: RedisServer
) -> None:
    """Two replicas under load, three workers restarted one by one, each drained first: every client gets its answer."""
    workers = [start_sim_worker() for _ in range(3)]
    shared = config(*workers, redis={"url": redis_server.url, "prefix": "rolling"})
    gateways = [start_gateway(shared) for _ in range(2)]
    for gateway in gateways:
        wait_until_up(gateway, 3)
    prompt = '/sim {"chunks": ["word "], "repeat": 10, "delay_s": 0.02}'
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}
    loads = [ClientLoad(gateway.url, TEST_KEY, body, unary=3, streams=3) for gateway in gateways]
    with loads[0], loads[1]:
        for worker in workers:
            again = restart(worker, gateways, start_sim_worker)
            again.wait_until(lambda w: len(w.generation_requests) >= 4)
            for load in loads:
                load.wait_for(3)
    for load in loads:
        assert load.outcome.lost == []
        assert min(load.outcome.done["unary"], load.outcome.done["stream"]) >= 9
    for gateway in gateways:
        wait_until_idle(gateway)


def test_the_store_in_redis_keeps_what_two_change_at_once(redis_server: RedisServer) -> None:
    """Of twenty changes from two replicas at the same time none is lost; the version counts them."""

    async def run() -> None:
        clients = [open_redis(RedisSettings(Secret(redis_server.url))) for _ in range(2)]
        stores = [RedisOverrideStore(client, "raced") for client in clients]
        assert await stores[0].read() == Overrides()

        async def change(number: int) -> None:
            added = AddedWorker(ModelName(MODEL), f"http://10.0.0.{number}:8000", 0.5)
            for _ in range(20):
                try:
                    await change_overrides(stores[number % 2], lambda held: held.add(added).drain(WorkerId("a:1")))
                except Conflict:  # somebody was faster eight times
                    continue
                return

        try:
            await asyncio.gather(*(change(number) for number in range(20)))
            held = await stores[1].read()
        finally:
            for client in clients:
                await client.aclose()
        assert sorted(worker.url for worker in held.added) == sorted(f"http://10.0.0.{n}:8000" for n in range(20))
        assert (held.drained, held.version) == (("a:1",), 20)

    asyncio.run(run())


def test_nonsense_in_redis_is_an_error_and_changes_nothing(redis_server: RedisServer) -> None:
    """A value that isn't ours is reported without its text, and left as it is."""
    with redis_server.client() as client:
        client.set("{nonsense:fleet}:workers", '{"added": "secret"}')

    async def run() -> None:
        redis = open_redis(RedisSettings(Secret(redis_server.url)))
        try:
            with pytest.raises(OverridesUnavailableError) as caught:
                await RedisOverrideStore(redis, "nonsense").read()
        finally:
            await redis.aclose()
        assert "secret" not in str(caught.value)

    asyncio.run(run())
