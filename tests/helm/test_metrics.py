"""Alerts, dashboard and scalers ask only for metrics and labels that exist."""

import json
import re
from collections.abc import Iterator

from gateway.observability.metrics import Metrics
from gateway.observability.record import RequestRecord
from gateway.observability.routing_metrics import LeftOutView, RoutingMetrics
from gateway.values import ModelName, RequestId, Usage
from tests.support.helm_chart import CHART, render

PROMETHEUS_LABELS = {"namespace", "service", "pod", "le"}
"""Put there by whoever scrapes, or by a histogram."""
ENGINE = {
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:num_preemptions_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
}
"""Seen on a real vLLM 0.32."""
ENGINE_LABELS = {"model_name", "engine"}


class _Worker:
    id, state, in_flight = "127.0.0.1:8000", "up", 0


class _Budget:
    taken, refused = 0, 0


class _Model:
    name, queue_length, budget = "gemma", 0, _Budget()
    canary_s: float | None = None

    workers: tuple[LeftOutView, ...] = ()


def _exported() -> dict[str, set[str]]:
    """Every series of the gateway after one request, with its labels."""
    metrics = Metrics(
        lambda: [("gemma", _Worker())],
        "1",
        limits_mode=lambda: "shared",
        keys_in_touch=lambda: True,
        further=(RoutingMetrics(lambda: [_Model()]),),
    )
    record = RequestRecord(RequestId("r"), "chat", 0.0)
    record.status, record.usage, record.first_byte_at, record.sent_at = 200, Usage(1, 1), 0.0, 0.0
    metrics.begin()
    metrics.end(record, 1.0)
    record.fallback_from = ModelName("gemma")
    metrics.begin()
    metrics.end(record, 1.0)
    series: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*?)\})? ", metrics.render().decode(), re.MULTILINE):
        series.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return series


def _expressions() -> Iterator[str]:
    rendering = render(CHART / "examples" / "gemma4-fleet.yaml")
    for rule in rendering.of_kind("PrometheusRule"):
        for group in rule["spec"]["groups"]:
            yield from (item["expr"] for item in group["rules"])
    for scaler in rendering.of_kind("ScaledObject"):
        yield from (item["metadata"]["query"] for item in scaler["spec"]["triggers"])
    for panel in json.loads(rendering.get("ConfigMap", "-dashboard")["data"]["gemma-gateway.json"])["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_every_series_exists_with_its_labels() -> None:
    """So that a renamed metric can't silence an alert."""
    exported = _exported()
    seen = set()
    for expression in _expressions():
        for name, _, matchers in re.findall(r"\b(gateway_\w+|vllm:\w+)(\{(.*?)\})?", expression):
            labels = set(re.findall(r"(\w+)\s*=?[=~!]", matchers)) - PROMETHEUS_LABELS
            if name.startswith("vllm:"):
                assert name in ENGINE
                assert labels <= ENGINE_LABELS, expression
            else:
                assert name in exported, expression
                assert labels <= exported[name], expression
            seen.add(name)
    assert len(seen) > 10
    assert "gateway_queue_length" in seen, "scaling must know what waits in the gateway"


def test_brackets_close() -> None:
    """Of every expression."""
    for expression in _expressions():
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression
