"""What the chart renders, started: the gateway's replicas, Redis and simulated engines find each other and answer."""

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import yaml

from tests.support.client_load import ClientLoad
from tests.support.cluster import Cluster, Objects
from tests.support.fake_cluster import FakeCluster
from tests.support.gateway_view import wait_for
from tests.support.helm_chart import render

KEY = "gk-test-0123456789abcdef"
SECRETS = {
    "gateway-keys": {
        "GATEWAY_API_KEY": KEY,
        "REDIS_PASSWORD": "redis-password-0123",
        "VLLM_KEY": "engine-key-0123456789",
    }
}
GATEWAY = "demo-gemma-gateway"
VALUES: dict[str, Any] = {
    "secrets": {"existingSecret": "gateway-keys"},
    "config": {"server": {"drain_s": 8}},
    "gateway": {"replicas": 2, "preStopSeconds": 1, "engineDiscovery": "service"},
    "redis": {"enabled": True, "passwordVariable": "REDIS_PASSWORD"},
    "models": [
        {
            "name": "google/gemma-3-4b-it",
            "aliases": ["gemma"],
            "engine": {"replicas": 2, "apiKeyVariable": "VLLM_KEY"},
        }
    ],
}
ENDPOINT_LAG_S = 0.4
"""Of the chart's preStopSeconds in VALUES, which is there to outlast it."""
SLOW = '/sim {"chunks": ["word "], "repeat": 20, "delay_s": 0.05}'
BODY = {"model": "gemma", "messages": [{"role": "user", "content": SLOW}]}


def objects(**values: Any) -> Objects:
    rendered = render({**VALUES, **values})
    return Objects(list(rendered.objects), SECRETS)


def chat(cluster: Cluster, body: dict[str, Any], key: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(cluster.url(GATEWAY, 80)).netloc, timeout=15)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "connection": "close"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    parsed = json.loads(answer.read())
    connection.close()
    return answer.status, parsed["choices"][0]["message"]["content"] if answer.status == 200 else ""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(objects(), endpoint_lag_s=ENDPOINT_LAG_S) as running:
        yield running


def test_everything_is_there(cluster: Cluster) -> None:
    """Two gateways, two engines and Redis, and each Service has the pods that its selector and port name."""
    assert {kind: len(cluster.pods(kind)) for kind in ("gateway", "engine", "redis")} == {
        "gateway": 2,
        "engine": 2,
        "redis": 1,
    }
    assert len(cluster.endpoints(GATEWAY)) == 2


def test_a_chat_call_passes_through(cluster: Cluster) -> None:
    """Through the Service, with the key of the Secret, to an engine that asks for its own; a wrong key is refused."""
    body = {"model": "gemma", "messages": [{"role": "user", "content": "Hello"}]}
    assert chat(cluster, body, KEY) == (200, "Hello")
    assert chat(cluster, body, "wrong-key-0123456789")[0] == 401


def helm_test_pod() -> dict[str, Any]:
    (pod,) = render(VALUES).of_kind("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    return pod


def test_helm_test_passes(cluster: Cluster) -> None:
    """The pod of `helm test` lists the models and has one answer, through the Service, with the key of the Secret."""
    status, log = cluster.run(helm_test_pod())
    assert status == 0, log
    assert "google/gemma-3-4b-it" in log


def test_helm_test_can_fail(cluster: Cluster) -> None:
    """With a key that the gateway doesn't know it fails, and says why."""
    pod: dict[str, Any] = json.loads(json.dumps(helm_test_pod()))
    container = pod["spec"]["containers"][0]
    variables = [each for each in container["env"] if each["name"] != "API_KEY"]
    container["env"] = [*variables, {"name": "API_KEY", "value": "wrong-key-0123456789"}]
    status, log = cluster.run(pod)
    assert status != 0
    assert "401" in log


def test_replicas_share_limits(cluster: Cluster) -> None:
    """Both gateways count in the one Redis, which asks for its password."""
    (pod,) = cluster.pods("redis")
    password = SECRETS["gateway-keys"]["REDIS_PASSWORD"]
    assert password not in " ".join(pod.plan.command)
    client = redis.Redis(port=pod.port, password=password, decode_responses=True)
    try:
        replicas = {each["addr"] for each in client.client_list()}
        assert len(replicas) >= 2
        assert client.config_get("save") == {"save": ""}
    finally:
        client.close()
    stranger = redis.Redis(port=pod.port)
    with pytest.raises(redis.AuthenticationError):
        stranger.ping()
    stranger.close()


def test_a_rolling_restart_loses_nothing(cluster: Cluster) -> None:
    """Both gateways are replaced under load, streams and whole answers: every request has its good answer."""
    before = {pod.name for pod in cluster.pods("gateway")}
    with ClientLoad(cluster.url(GATEWAY, 80), KEY, BODY, unary=8, streams=8) as load:
        load.wait_for(8)
        ended = cluster.restart("gateway")
        load.wait_for(8)
    assert load.outcome.lost == []
    assert [(each.status, each.killed) for each in ended] == [(0, False)] * 2
    assert before.isdisjoint({pod.name for pod in cluster.pods("gateway")})
    assert cluster.refused[GATEWAY] == 0


def test_without_pre_stop_requests_are_lost() -> None:
    """What preStop is for, and proof that a loss would be seen: the Services still send to a closed port."""
    hasty = {**VALUES["gateway"], "preStopSeconds": 0}
    with (
        Cluster(objects(gateway=hasty), endpoint_lag_s=1.0) as running,
        ClientLoad(running.url(GATEWAY, 80), KEY, BODY, unary=8, streams=8) as load,
    ):
        load.wait_for(4)
        running.end(running.pods("gateway")[0]).result()
        load.wait_for(4)
    assert load.outcome.lost


def watching(api: FakeCluster) -> Objects:
    """The objects with engines found by EndpointSlices, which this API server has: no Pod has a token here."""
    gateway = {**VALUES["gateway"], "engineDiscovery": "kubernetes"}
    found = objects(gateway=gateway, engineDefaults={"preStopSeconds": 1})
    (file,) = [each["data"] for each in found.of_kind("ConfigMap") if "gateway.yaml" in each["data"]]
    tree = yaml.safe_load(file["gateway.yaml"])
    (worker,) = tree["models"][0]["workers"]
    worker["kubernetes"]["api"] = api.url
    file["gateway.yaml"] = yaml.safe_dump(tree)
    return found


def test_engines_found_by_their_slices_are_replaced_without_a_loss() -> None:
    """Each engine pod is a worker of its own; while all are replaced under load, every request is answered well."""
    with (
        FakeCluster() as api,
        Cluster(watching(api), endpoint_lag_s=ENDPOINT_LAG_S, api=api) as running,
        ClientLoad(running.url(GATEWAY, 80), KEY, BODY, unary=4, streams=4) as load,
    ):

        def workers() -> set[str]:
            up = re.compile(r'^gateway_worker_up\{.*worker="127.0.0.1:(\d+)".*\} 1.0$', re.MULTILINE)
            return set(up.findall(scrape(running)))

        def known() -> bool:
            return workers() == {str(pod.port) for pod in running.pods("engine")}

        for old in running.pods("engine"):
            new = running.replace(old)
            wait_for(known, "the gateway knows the engines there are")
            assert str(new.port) in workers()
            load.wait_for(4)
    assert load.outcome.lost == []


def scrape(cluster: Cluster) -> str:
    """The metrics of one of the gateways."""
    connection = http.client.HTTPConnection(urlsplit(cluster.url(GATEWAY, 80)).netloc, timeout=15)
    connection.request("GET", "/metrics", headers={"connection": "close"})
    text = connection.getresponse().read().decode()
    connection.close()
    return text
