"""Every metric and every label of the gateway; the only user of prometheus_client.

Labels come from the configuration or from closed sets, never from what a client sends. The children that a request
needs are looked up once per combination and kept: their number is bounded by models x endpoints x statuses.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.observability.record import RequestRecord

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD_BUCKETS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1)
NO_MODEL = "none"
"""Label of requests that end before their model is known."""


class WorkerView(Protocol):
    """What the gauges tell of a worker."""

    @property
    def id(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def in_flight(self) -> int: ...


@dataclass(slots=True)
class _Children:
    requests: Counter
    seconds: Histogram
    first_byte: Histogram
    overhead: Histogram
    prompt_tokens: Counter
    completion_tokens: Counter


class _WorkerCollector(Collector):
    """Reads the workers' state at the moment of the scrape."""

    def __init__(self, workers: Iterable[tuple[str, WorkerView]]) -> None:
        self._workers = tuple(workers)

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily(
            "gateway_worker_up", "1 when the worker answers and serves its model.", labels=("model", "worker")
        )
        load = GaugeMetricFamily(
            "gateway_worker_in_flight", "Requests of this gateway at the worker.", labels=("model", "worker")
        )
        for model, worker in self._workers:
            up.add_metric((model, worker.id), 1.0 if worker.state == "up" else 0.0)
            load.add_metric((model, worker.id), worker.in_flight)
        return (up, load)


class Metrics:
    """The registry of one gateway process."""

    def __init__(self, workers: Iterable[tuple[str, WorkerView]], version: str) -> None:
        registry = CollectorRegistry()
        by_model = ("endpoint", "model")
        self._registry = registry
        self._children: dict[tuple[str, str, int], _Children] = {}
        self._requests = Counter(
            "gateway_requests",
            "Requests ended, by status (499: the client went away).",
            (*by_model, "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "gateway_request_seconds",
            "Whole requests, streams included.",
            by_model,
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._first_byte = Histogram(
            "gateway_first_byte_seconds",
            "Until the worker's first byte.",
            by_model,
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._overhead = Histogram(
            "gateway_overhead_seconds",
            "Time in the gateway before the worker is asked.",
            by_model,
            buckets=OVERHEAD_BUCKETS_S,
            registry=registry,
        )
        self._tokens = Counter(
            "gateway_tokens", "Tokens as workers counted them.", (*by_model, "kind"), registry=registry
        )
        self._in_flight = Gauge("gateway_requests_in_flight", "Requests being served.", registry=registry)
        Gauge("gateway_info", "Version of this gateway.", ("version",), registry=registry).labels(version).set(1)
        registry.register(_WorkerCollector(workers))

    def begin(self) -> None:
        """Count a request that begins."""
        self._in_flight.inc()

    def end(self, record: RequestRecord, ended: float) -> None:
        """Count a request that ended at `ended` (event loop's clock, seconds)."""
        self._in_flight.dec()
        model = record.model or NO_MODEL
        identity = (record.endpoint, model, record.status)
        children = self._children.get(identity)
        if children is None:
            children = self._children[identity] = self._look_up(*identity)
        children.requests.inc()
        children.seconds.observe(ended - record.started)
        if record.first_byte_at is not None:
            children.first_byte.observe(record.first_byte_at - record.started)
        if record.sent_at is not None:
            children.overhead.observe(record.sent_at - record.started)
        if record.usage is not None:
            children.prompt_tokens.inc(record.usage.prompt_tokens)
            children.completion_tokens.inc(record.usage.completion_tokens)

    def _look_up(self, endpoint: str, model: str, status: int) -> _Children:
        return _Children(
            requests=self._requests.labels(endpoint, model, str(status)),
            seconds=self._seconds.labels(endpoint, model),
            first_byte=self._first_byte.labels(endpoint, model),
            overhead=self._overhead.labels(endpoint, model),
            prompt_tokens=self._tokens.labels(endpoint, model, "prompt"),
            completion_tokens=self._tokens.labels(endpoint, model, "completion"),
        )

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
