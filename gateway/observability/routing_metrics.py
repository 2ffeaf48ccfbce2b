"""What the choice of a worker met: queues, retries, and workers that are left out."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.observability.metrics import LATENCY_BUCKETS_S, Distribution
from gateway.observability.record import RequestRecord

LEFT_OUT: tuple[str, ...] = ("open", "half-open")
"""States of a breaker in which a worker gets no request, or one at a time."""


class BreakerView(Protocol):
    """A worker's circuit breaker."""

    @property
    def state(self) -> str: ...


class PulseView(Protocol):
    """What its engine was asked while it was silent."""

    @property
    def canaries(self) -> Mapping[Any, int]:
        """Counts by outcome."""
        ...


class LeftOutView(Protocol):
    """What is told of a worker."""

    @property
    def id(self) -> str: ...

    @property
    def breaker(self) -> BreakerView: ...

    @property
    def resting(self) -> bool: ...

    @property
    def pulse(self) -> PulseView: ...

    @property
    def refusals(self) -> Mapping[int, int]:
        """Counts by status."""
        ...


class RetriesView(Protocol):
    """A model's retry budget."""

    @property
    def taken(self) -> int: ...

    @property
    def refused(self) -> int: ...


class RoutedModel(Protocol):
    """What is told of a model that has workers of its own."""

    @property
    def name(self) -> str: ...

    @property
    def queue_length(self) -> int | None:
        """Requests that wait for a place; None without `queue`."""
        ...

    @property
    def canary_s(self) -> float | None: ...

    @property
    def budget(self) -> RetriesView: ...

    @property
    def workers(self) -> Iterable[LeftOutView]: ...


class RoutingMetrics(Collector):
    """Of one gateway process; labels are models of the configuration and workers of the fleet."""

    def __init__(self, models: Callable[[], Iterable[RoutedModel]]) -> None:
        """`models` returns those there are."""
        self._models = models
        self._waits: dict[tuple[str, str], Distribution] = {}

    def waited(self, record: RequestRecord) -> None:
        """Count a request that had to wait for a place; its `queued_s` is set."""
        outcome = "served" if record.attempts else "given_up"
        identity = (record.model or "", outcome)
        self._waits.setdefault(identity, Distribution(LATENCY_BUCKETS_S)).observe(record.queued_s or 0.0)

    def collect(self) -> Iterable[Metric]:
        """Make Prometheus' families from the counts; called at a scrape."""
        length = GaugeMetricFamily(
            "gateway_queue_length", "Requests that wait for a place at a worker.", labels=("model",)
        )
        waits = HistogramMetricFamily(
            "gateway_queue_wait_seconds",
            "How long requests waited for a place; given_up: refused, or the client went away.",
            labels=("model", "outcome"),
        )
        retries = CounterMetricFamily(
            "gateway_retries",
            "Requests asked of another worker; over_budget: those that were not, for the model's budget.",
            labels=("model", "outcome"),
        )
        breaker = GaugeMetricFamily(
            "gateway_worker_breaker_open", "1 while the worker is cut off for its failures.", labels=("model", "worker")
        )
        resting = GaugeMetricFamily(
            "gateway_worker_resting", "1 while the worker is let alone because it is full.", labels=("model", "worker")
        )
        canaries = CounterMetricFamily(
            "gateway_worker_canaries",
            "Single tokens asked of silent workers; needless: an answer came first; failed: the engine hangs.",
            labels=("model", "worker", "outcome"),
        )
        refusals = CounterMetricFamily(
            "gateway_worker_refusals",
            "Requests that the worker refused for an operator to mend: 401, 403, 404.",
            labels=("model", "worker", "status"),
        )
        for labels, distribution in self._waits.items():
            distribution.add_to(waits, labels)
        for model in self._models():
            if model.queue_length is not None:
                length.add_metric((model.name,), model.queue_length)
            retries.add_metric((model.name, "retried"), model.budget.taken)
            retries.add_metric((model.name, "over_budget"), model.budget.refused)
            for worker in model.workers:
                labels = (model.name, worker.id)
                breaker.add_metric(labels, float(worker.breaker.state in LEFT_OUT))
                resting.add_metric(labels, float(worker.resting))
                for status, count in worker.refusals.items():
                    refusals.add_metric((*labels, str(status)), count)
                if model.canary_s is not None:
                    for outcome, count in worker.pulse.canaries.items():
                        canaries.add_metric((*labels, outcome), count)
        return (length, waits, retries, breaker, resting, canaries, refusals)
