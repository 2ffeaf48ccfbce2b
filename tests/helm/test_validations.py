"""Values that can't work are refused, each with what to do about it."""

import copy
from typing import Any

import pytest

from tests.support.helm_chart import HelmError, render

GOOD: dict[str, Any] = {
    "secrets": {"existingSecret": "gateway-keys"},
    "models": [{"name": "google/gemma-3-4b-it", "engine": {}}],
}
PROMETHEUS = {"address": "http://prometheus:9090"}


def with_engine(name: str = "google/gemma-3-4b-it", **engine: Any) -> dict[str, Any]:
    """Values whose one model has this engine."""
    return {"models": [{"name": name, "engine": engine}]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "replicas without Redis": ({"gateway": {"replicas": 2}}, "needs Redis"),
    "HPA without Redis": ({"gateway": {"autoscaling": {"hpa": {"enabled": True}}}}, "needs Redis"),
    "HPA and KEDA": (
        {
            "redis": {"enabled": True},
            "prometheus": PROMETHEUS,
            "gateway": {"autoscaling": {"hpa": {"enabled": True}, "keda": {"enabled": True}}},
        },
        "would fight",
    ),
    "two Redis": ({"redis": {"enabled": True}, "config": {"redis": {"url": "redis://other:6379"}}}, "choose"),
    "no source of the key": ({"secrets": {"existingSecret": ""}}, "nothing supplies GATEWAY_API_KEY"),
    "two sources of keys": ({"secrets": {"create": {"GATEWAY_API_KEY": "gk-0123456789"}}}, "exclude each other"),
    "no tenant": ({"config": {"tenants": []}}, "without a tenant"),
    "gateway killed while it drains": ({"gateway": {"terminationGracePeriodSeconds": 44}}, "must be 45 or more"),
    "engine killed while it drains": (with_engine(terminationGracePeriodSeconds=139), "must be 140 or more"),
    "no model": ({"models": []}, "name at least one"),
    "no Gemma": ({"models": [{"name": "mistral-7b", "engine": {}}]}, "which Gemma is it?"),
    "nobody serves it": ({"models": [{"name": "google/gemma-3-4b-it"}]}, "nobody serves it"),
    "context beyond the variant": (
        {"models": [{"name": "google/gemma-2-9b-it", "context_length": 8193, "engine": {}}]},
        "beyond the 8192 tokens",
    ),
    "one name for two": (
        {"models": [{"name": f"{owner}/gemma-3-4b-it", "engine": {}} for owner in ("google", "acme")]},
        "would be named as",
    ),
    "LoRA on a variant without": (
        with_engine("google/gemma-3n-E4B-it", lora={"modules": [{"name": "a", "path": "/a"}]}),
        "can't serve LoRA",
    ),
    "images for a text model": (with_engine("google/gemma-3-1b-it", multimodal={"images": 2}), "takes no image"),
    "8 bits on a CPU": (with_engine(accelerator="cpu", level="balanced"), "is for GPUs"),
    "4 bits without a checkpoint": (with_engine(level="efficiency"), "needs a checkpoint with 4-bit weights"),
    "weights beyond the GPU": (with_engine("google/gemma-3-27b-it", gpu={"memoryGb": 48}), "don't fit"),
    "download without a volume": (with_engine(cache={"download": {"enabled": True}}), "needs a volume"),
    "one volume for several nodes": (
        with_engine(replicas=2, cache={"persistentVolume": {"enabled": True, "accessModes": ["ReadWriteOnce"]}}),
        "need ReadWriteMany",
    ),
    "scaling without Prometheus": (with_engine(autoscaling={"enabled": True}), "set prometheus.address"),
    "Ingress without a host": ({"ingress": {"enabled": True}}, "for which names?"),
    "admin without a key": ({"exposeAdmin": True}, "no /admin without"),
    "unknown key": ({"gateway": {"replica": 2}}, "additional properties 'replica' not allowed"),
    "unknown engine key": (with_engine(gpus=1), "additional properties 'gpus' not allowed"),
    "a secret in the file": (
        {"config": {"tenants": [{"id": "a", "keys": [{"id": "a", "secret": "hunter2hunter2"}]}]}},
        "does not match pattern",
    ),
    "a password in the URL": ({"config": {"redis": {"url": "redis://:hunter2@redis:6379"}}}, "does not match pattern"),
}


def test_the_values_that_the_cases_change_work() -> None:
    """So that each refusal is the case's own."""
    assert render(GOOD).has("Deployment")


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused(case: str) -> None:
    """helm ends in an error that says why."""
    change, message = REFUSED[case]
    values = copy.deepcopy(GOOD)
    for key, value in change.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    with pytest.raises(HelmError) as refusal:
        render(values)
    assert message in str(refusal.value)
