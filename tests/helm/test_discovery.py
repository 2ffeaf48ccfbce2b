"""How the gateway finds the engines of its release."""

from typing import Any

import pytest

from gateway.config.load import parse_settings
from gateway.config.model import DnsWorkers, KubernetesService, KubernetesWorkers, ModelSettings, WorkerSettings
from gateway.routing.catalog import VARIANTS
from tests.support.helm_chart import Rendering, render

NAME = "demo-gemma-gateway-gemma-3-4b-it"


def rendering(mode: str | None, **values: Any) -> Rendering:
    """One model with engines, and one elsewhere."""
    models = [
        {"name": "google/gemma-3-4b-it", "engine": {"replicas": 2, "port": 8100}},
        {"name": "google/gemma-3-1b-it", "workers": [{"url": "http://elsewhere:8000"}]},
    ]
    gateway = {} if mode is None else {"engineDiscovery": mode}
    return render({"secrets": {"existingSecret": "keys"}, "models": models, "gateway": gateway, **values})


def model_of(found: Rendering) -> ModelSettings:
    secrets = {"GATEWAY_API_KEY": "gk-example-0123456789"}
    return parse_settings(found.gateway_file, secrets, VARIANTS).models[0]


def has_token(found: Rendering) -> bool:
    token: bool = found.get("Deployment", "")["spec"]["template"]["spec"]["automountServiceAccountToken"]
    return token


def test_by_names_of_pods_unless_told_otherwise() -> None:
    """A headless Service of the same pods, the port they listen on, and nobody asks the API server."""
    found = rendering(None)
    assert (model_of(found).workers, model_of(found).discovery) == ((), (DnsWorkers(f"{NAME}-pods", 8100),))
    headless, plain = (found.get("Service", suffix)["spec"] for suffix in ("-gemma-3-4b-it-pods", "-gemma-3-4b-it"))
    assert headless == {**plain, "clusterIP": "None"}
    assert not has_token(found)
    assert not found.has("Role")


def test_by_endpoint_slices() -> None:
    """With a Role that can list and watch them here, for the gateway's account, and nothing more."""
    found = rendering("kubernetes", networkPolicy={"gateway": {"restrictEgress": True}})
    service = KubernetesService(NAME, port="http")
    assert (model_of(found).workers, model_of(found).discovery) == ((), (KubernetesWorkers(service),))
    (role,) = found.of_kind("Role")
    assert role["rules"] == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    ]
    (binding,) = found.of_kind("RoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = found.get("Deployment", "")["spec"]["template"]["spec"]["serviceAccountName"]
    assert [subject["name"] for subject in binding["subjects"]] == [account]
    assert has_token(found)
    assert not [pod for pod in found.engines() if pod["spec"]["automountServiceAccountToken"]]
    assert not found.has("ClusterRole")
    egress = found.get("NetworkPolicy", "")["spec"]["egress"]
    assert [rule for rule in egress if "to" not in rule] == [
        {"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]}
    ]
    assert len([service for service in found.of_kind("Service") if service["spec"].get("clusterIP") == "None"]) == 0


def test_by_the_service_alone() -> None:
    """One address for all engines, as other proxies have it."""
    found = rendering("service")
    assert model_of(found).workers == (WorkerSettings(f"http://{NAME}:8100"),)
    assert not has_token(found)


def test_without_engines_nothing_is_watched() -> None:
    """No Role for a release that only names workers elsewhere."""
    models = [{"name": "google/gemma-3-1b-it", "workers": [{"dns": "vllm.example", "port": 8000}]}]
    found = rendering("kubernetes", models=models)
    assert model_of(found).discovery == (DnsWorkers("vllm.example", 8000),)
    assert not found.has("Role")
    assert not has_token(found)


def test_engines_are_scraped_once() -> None:
    """The monitor takes the Service with an address, not the headless one of the same pods."""
    found = rendering("dns", monitoring={"serviceMonitor": {"enabled": True}})
    for monitor in found.of_kind("ServiceMonitor"):
        expressions = monitor["spec"]["selector"]["matchExpressions"]
        assert expressions == [{"key": "gemma-gateway/part", "operator": "DoesNotExist"}]
    parts = {
        service["metadata"]["name"]: service["metadata"]["labels"].get("gemma-gateway/part")
        for service in found.of_kind("Service")
    }
    assert [name for name, part in parts.items() if part] == [f"{NAME}-pods"]


@pytest.mark.parametrize("length", [10, 40])
def test_names_stay_within_what_kubernetes_takes(length: int) -> None:
    """63 characters, and two models never share a name."""
    names = ["google/gemma-3-27b-it-very-long-one", "google/gemma-3-27b-it-very-long-two"]
    models = [{"name": name, "variant": "gemma-3-27b-it", "engine": {}} for name in names]
    found = rendering("dns", models=models, fullnameOverride="x" * length)
    services = [service["metadata"]["name"] for service in found.of_kind("Service")]
    assert len(services) == len(set(services))
    assert max(map(len, services)) <= 63
