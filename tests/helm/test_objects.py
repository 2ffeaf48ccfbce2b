"""What operators check first in the rendered objects."""

from pathlib import Path

import pytest

from tests.support.helm_chart import EXAMPLES, Object, arguments_of, container, render

GOOD = {"secrets": {"existingSecret": "gateway-keys"}, "redis": {"enabled": True}}
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


@each_example
def test_pods_are_restricted(example: Path) -> None:
    """Kubernetes' PodSecurity profile `restricted`, a read-only root, and no token of the API server."""
    for pod in render(example).pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for item in [*spec["containers"], *spec.get("initContainers", [])]:
            context = item["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}


@each_example
def test_selectors_find_their_pods(example: Path) -> None:
    """Every Service, budget and policy of the release selects pods that exist."""
    rendering = render(example)
    pods = [pod["metadata"]["labels"] for pod in rendering.pods()]
    selectors = [item["spec"]["selector"] for item in rendering.of_kind("Service")]
    selectors += [item["spec"]["selector"]["matchLabels"] for item in rendering.of_kind("PodDisruptionBudget")]
    selectors += [item["spec"]["podSelector"]["matchLabels"] for item in rendering.of_kind("NetworkPolicy")]
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in pods), selector


@each_example
def test_nobody_else_reaches_engines_and_redis(example: Path) -> None:
    """Each of their pods has a policy that names the gateway first, and never everybody."""
    rendering = render(example)
    policies = {item["metadata"]["name"]: item["spec"] for item in rendering.of_kind("NetworkPolicy")}
    for item in rendering.of_kind("Deployment"):
        if item["metadata"]["labels"]["app.kubernetes.io/component"] not in {"engine", "redis"}:
            continue
        rules = policies[item["metadata"]["name"]]["ingress"]
        assert all(rule["from"] for rule in rules)
        first = rules[0]["from"][0]["podSelector"]["matchLabels"]
        assert first["app.kubernetes.io/component"] == "gateway"


@each_example
def test_pods_have_time_to_drain(example: Path) -> None:
    """preStop and drain end before Kubernetes kills."""
    rendering = render(example)
    for pod in rendering.engines():
        wait = container(pod)["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain = int(arguments_of(pod)["--shutdown-timeout"])
        assert wait + drain < pod["spec"]["terminationGracePeriodSeconds"]
    gateway = rendering.get("Deployment", "")["spec"]["template"]
    wait = container(gateway)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert wait + 30 < gateway["spec"]["terminationGracePeriodSeconds"]


@each_example
def test_engines_have_no_parser(example: Path) -> None:
    """The gateway translates; vLLM's parsers would lose calls."""
    for pod in render(example).engines():
        assert not [flag for flag in arguments_of(pod) if "parser" in flag or "auto-tool" in flag]


def _gateway_of(replicas: int, **config: object) -> Object:
    values = {**GOOD, "config": config, "gateway": {"replicas": replicas}}
    values["models"] = [{"name": "google/gemma-3-4b-it", "engine": {}}]
    return render(values).get("Deployment", "")


def test_a_changed_file_rolls_the_gateway() -> None:
    """And the same file doesn't."""
    first, same = _gateway_of(1), _gateway_of(2)
    changed = _gateway_of(1, server={"drain_s": 20})
    key = "checksum/config"
    annotations = [item["spec"]["template"]["metadata"]["annotations"][key] for item in (first, same, changed)]
    assert annotations[0] == annotations[1] != annotations[2]


def test_one_dead_model_does_not_take_the_fleet_away() -> None:
    """/readyz decides for one model; with several the gateway stays in its Service."""
    models = [{"name": f"google/gemma-3-{size}-it", "engine": {}} for size in ("1b", "4b")]
    paths = []
    for some in (models[:1], models):
        pod = render({**GOOD, "models": some}).get("Deployment", "")["spec"]["template"]
        paths.append(container(pod)["readinessProbe"]["httpGet"]["path"])
    assert paths == ["/readyz", "/healthz"]


def test_levels_become_flags() -> None:
    """As published, 8 bits made while loading, and a published checkpoint of 4 bits."""
    flags = []
    for level in ("performance", "balanced", "efficiency"):
        values = {**GOOD, "models": [{"name": "google/gemma-4-12B-it", "engine": {"level": level}}]}
        flags.append(arguments_of(render(values).engines()[0]))
    assert [item.get("--quantization") for item in flags] == [None, "fp8", None]
    assert flags[2][""] == "google/gemma-4-12B-it-qat-w4a16-ct"
