"""Every example renders into objects that Kubernetes and the gateway accept."""

from pathlib import Path

import pytest

from gateway.config.load import parse_settings
from gateway.routing.catalog import VARIANTS
from tests.support.helm_chart import CHART, EXAMPLES, kubernetes_versions, object_problems, render, run_helm

OLDEST, NEWEST = "1.30", max(kubernetes_versions(), key=lambda version: tuple(map(int, version.split("."))))
SECRETS = {
    "GATEWAY_API_KEY": "gk-example-0123456789",
    "GATEWAY_ADMIN_KEY": "admin-0123456789",
    "REDIS_PASSWORD": "redis-0123456789",
}

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


@each_example
def test_helm_lints_it(example: Path) -> None:
    """Warnings count."""
    run_helm("lint", "--strict", str(CHART), "--values", str(example))


@each_example
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_accepts_it(example: Path, version: str) -> None:
    """By the schemas of the oldest and the newest Kubernetes, unknown fields refused."""
    problems = [problem for item in render(example).objects for problem in object_problems(item, version)]
    assert problems == []


@each_example
def test_the_gateway_accepts_its_file(example: Path) -> None:
    """Every variable that the file names is set, as the Secret would."""
    rendering = render(example)
    settings = parse_settings(rendering.gateway_file, SECRETS, VARIANTS)
    assert settings.server.host == "0.0.0.0"


def test_everything_that_can_be_turned_on_is_valid() -> None:
    """Several nodes, scaling from zero, pools of llm-d, a vault, a route and an Ingress at once."""
    everything = {
        "secrets": {"existingSecret": "keys"},
        "redis": {"enabled": True},
        "prometheus": {"address": "http://prometheus:9090"},
        "gateway": {"autoscaling": {"keda": {"enabled": True}}},
        "ingress": {"enabled": True, "className": "nginx", "hosts": ["llm.example"]},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "outside"}]},
        "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}}],
        "models": [
            {
                "name": "google/gemma-4-31B-it",
                "engine": {"tensorParallel": 4, "multiNode": {"enabled": True}, "autoscaling": {"enabled": True}},
            },
            {
                "name": "google/gemma-3-4b-it",
                "engine": {
                    "autoscaling": {"enabled": True, "minReplicas": 0},
                    "lora": {"modules": [{"name": "sql", "path": "/adapters/sql"}]},
                    "inferencePool": {
                        "enabled": True,
                        "endpointPicker": {"name": "epp"},
                        "objectives": [{"name": "batch", "priority": -1}],
                    },
                },
            },
        ],
    }
    rendering = render(everything)
    assert [problem for item in rendering.objects for problem in object_problems(item, NEWEST)] == []
    assert {item["kind"] for item in rendering.objects} >= {"LeaderWorkerSet", "ScaledObject", "InferencePool"}
    assert rendering.get("ConfigMap", "-config")
    assert "demo-more" in [item["metadata"]["name"] for item in rendering.of_kind("ConfigMap")]
