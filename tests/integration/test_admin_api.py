"""Keys made while the gateway runs, the file read again, and what the probes tell of the stores."""

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.admin_client import ADMIN_KEY, admin, admin_json, authorization, get_json
from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import metric, wait_for, wait_until_up
from tests.support.raw_http import RawAnswer, RawClient, ask, chat_body, request
from tests.support.redis_server import RedisServer
from tests.support.sim_worker import SimWorker

StartGateway = Callable[..., GatewayProcess]
ADMIN_SECTION = {"key": ADMIN_KEY}
SECOND = "google/gemma-3-1b-it"


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """One for this module."""
    with RedisServer() as server:
        yield server


def config(worker: SimWorker, **sections: Any) -> dict[str, Any]:
    models = [
        {"name": "google/gemma-3-270m", "workers": [{"url": worker.url}]},
        {"name": SECOND, "served_name": "google/gemma-3-270m", "workers": [{"url": worker.url}]},
    ]
    return gateway_config(worker.url, models=models, admin=ADMIN_SECTION, **sections)


def start(start_gateway: StartGateway, worker: SimWorker, **sections: Any) -> GatewayProcess:
    gateway = start_gateway(config(worker, **sections))
    wait_until_up(gateway, 2)
    return gateway


def say(gateway: GatewayProcess, secret: str, **fields: Any) -> RawAnswer:
    return ask(gateway.port, request(chat_body("Hello", **fields), key=authorization(secret)))


def readyz(gateway: GatewayProcess) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{gateway.url}/readyz", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.load(refused)


def test_a_made_key_opens_until_it_is_revoked(start_gateway: StartGateway, sim_worker: SimWorker) -> None:
    """Without Redis the process keeps it; the key's models hold for requests and for the list."""
    gateway = start(start_gateway, sim_worker)
    made = admin_json(gateway, "POST", "/keys", {"tenant": "acme", "id": "ci", "models": [SECOND]})
    secret = made["secret"]
    assert say(gateway, secret, model=SECOND).status == 200
    refused = say(gateway, secret)
    assert (refused.status, refused.error["code"]) == (403, "model_not_allowed")
    assert [card["id"] for card in get_json(gateway, "/v1/models", secret)["data"]] == [SECOND]
    assert len(get_json(gateway, "/v1/models", TEST_KEY)["data"]) == 2

    assert admin_json(gateway, "DELETE", "/keys/ci")["status"] == "revoked"
    assert (say(gateway, secret, model=SECOND).status, say(gateway, TEST_KEY).status) == (401, 200)
    assert admin(gateway, "GET", "/keys", key=TEST_KEY).status == 401
    assert [entry["action"] for entry in admin_json(gateway, "GET", "/audit")["data"]] == ["key.revoke", "key.create"]
    assert secret[-32:] not in gateway.stderr


def test_usage_is_counted(start_gateway: StartGateway, sim_worker: SimWorker) -> None:
    """Per tenant, key and model; a second behind at most."""
    gateway = start(start_gateway, sim_worker)
    assert say(gateway, TEST_KEY, max_tokens=5).status == 200
    assert say(gateway, TEST_KEY, model="nothing").status == 404
    seen: list[dict[str, Any]] = []

    def counted() -> bool:
        seen[:] = admin_json(gateway, "GET", "/usage?tenant=acme")["data"]
        return [row["requests"] for row in seen] == [1, 1]

    wait_for(counted, "both requests are in the usage")
    rows = {row["model"]: row for row in seen}
    assert (rows["none"]["errors"], rows["google/gemma-3-270m"]["errors"]) == (1, 0)
    assert rows["google/gemma-3-270m"]["completion_tokens"] > 0


def test_the_file_is_read_again(start_gateway: StartGateway, sim_worker: SimWorker) -> None:
    """By SIGHUP and by the admin API: keys change at once, an open stream goes on, a bad file changes nothing."""
    gateway = start(start_gateway, sim_worker)
    other = {"id": "acme", "keys": [{"id": "acme-new", "secret": "another-secret-0123"}]}
    with RawClient(gateway.port) as client:
        client.send(request(chat_body('/sim {"chunks": ["word "], "repeat": 20, "delay_s": 0.05}', stream=True)))
        client.read_until(b"word")
        gateway.rewrite(config(sim_worker, tenants=[other]))
        gateway.signal(signal.SIGHUP)
        wait_for(lambda: say(gateway, "another-secret-0123").status == 200, "the new key opens")
        assert say(gateway, TEST_KEY).status == 401
        assert b"[DONE]" in client.read_until(b"[DONE]")

    gateway.rewrite(config(sim_worker, tenants=[{"id": "acme", "quota": 5}]))
    refused = admin(gateway, "POST", "/config/reload")
    assert (refused.status, refused.error["code"]) == (400, "invalid_configuration")
    assert "tenants[0].quota" in refused.error["message"]
    assert say(gateway, "another-secret-0123").status == 200

    gateway.rewrite(config(sim_worker, server={"drain_s": 7}))
    reloaded = admin_json(gateway, "POST", "/config/reload")
    assert (reloaded["version"], reloaded["restart_needed"]) == (3, ["server"])
    assert (say(gateway, TEST_KEY).status, say(gateway, "another-secret-0123").status) == (200, 401)


def test_replicas_share_keys_and_reloads(
    start_gateway: StartGateway, sim_worker: SimWorker, redis_server: RedisServer
) -> None:
    """What one replica is told holds at the others."""
    redis = {"url": redis_server.url, "prefix": "shared"}
    gateways = [start(start_gateway, sim_worker, redis=redis) for _ in range(2)]
    one, other = gateways
    assert [readyz(gateway) for gateway in gateways] == [
        (200, {"status": "ready", "limits": {"mode": "shared"}, "keys": {"in_touch": True}})
    ] * 2
    assert metric(one, "gateway_limits_mode", mode="shared") == 1
    assert metric(one, "gateway_limits_mode") == 1
    assert metric(one, "gateway_key_store_in_touch") == 1
    secret = admin_json(one, "POST", "/keys", {"tenant": "acme", "id": "ci"})["secret"]
    assert say(other, secret).status == 200
    admin_json(other, "DELETE", "/keys/ci")
    wait_for(lambda: say(one, secret).status == 401, "the first replica knows", 1.0)

    for gateway in gateways:
        gateway.rewrite(config(sim_worker, redis=redis, tenants=[{"id": "team"}]))
    assert admin_json(one, "POST", "/config/reload")["replicas_told"]
    wait_for(lambda: admin_json(other, "GET", "/config")["version"] == 2, "the other replica has read it, too")
    assert [say(gateway, TEST_KEY).status for gateway in gateways] == [401, 401]
    assert admin_json(one, "GET", "/config")["version"] == 2


@pytest.mark.parametrize(("on_failure", "status"), [("local", 200), ("open", 200), ("closed", 503)])
def test_readiness_without_redis(
    start_gateway: StartGateway, sim_worker: SimWorker, unused_port: int, on_failure: str, status: int
) -> None:
    """It starts without Redis; only `closed` takes it out of service, and all say why."""
    redis = {"url": f"redis://127.0.0.1:{unused_port}", "on_failure": on_failure}
    gateway = start(start_gateway, sim_worker, redis=redis)
    code, body = readyz(gateway)
    assert (code, body["limits"]["mode"], body["keys"]) == (status, on_failure, {"in_touch": False})
    assert "redis" in body["limits"]["problem"]
    assert metric(gateway, "gateway_limits_mode", mode=on_failure) == 1
    assert metric(gateway, "gateway_key_store_in_touch") == 0
    assert any("redis is gone" in line["message"] for line in gateway.logs)
    assert say(gateway, TEST_KEY).status == 200


def test_limits_of_made_tenants_and_keys_hold(start_gateway: StartGateway, sim_worker: SimWorker) -> None:
    """Of the tenant, of its key and on one model; `/v1/usage` tells where they stand, and changes hold at once."""
    gateway = start(start_gateway, sim_worker)
    limits = {
        "limits": {"requests_per_minute": 4, "concurrent_requests": 7},
        "model_limits": {SECOND: {"requests_per_hour": 1}},
    }
    admin_json(gateway, "PUT", "/tenants/team", limits)
    ci = admin_json(gateway, "POST", "/keys", {"tenant": "team", "limits": {"requests_per_minute": 2}})["secret"]
    prod = admin_json(gateway, "POST", "/keys", {"tenant": "team", "id": "team-prod"})["secret"]
    assert [say(gateway, ci).status for _ in range(3)] == [200, 200, 429]
    assert [say(gateway, prod, model=SECOND).status for _ in range(2)] == [200, 429]
    shown = get_json(gateway, "/v1/usage", prod)
    assert (shown["tenant"], shown["key"]) == ("team", "team-prod")
    assert [(one["scope"], one["model"], one["limit"], one["used"], one["remaining"]) for one in shown["limits"]] == [
        ("tenant", None, "requests_per_minute", 3, 1),
        ("model", SECOND, "requests_per_hour", 1, 0),
        ("tenant", None, "concurrent_requests", 0, 7),
    ]
    assert 0 < shown["limits"][0]["reset_s"] <= 61
    assert {one["scope"] for one in get_json(gateway, "/v1/usage", ci)["limits"]} == {"tenant", "key", "model"}
    admin_json(gateway, "PUT", "/tenants/team", {"limits": {"requests_per_minute": 5}})
    assert [say(gateway, prod).status for _ in range(3)] == [200, 200, 429]
    assert get_json(gateway, "/v1/usage", TEST_KEY)["limits"] == []
