"""What there is to know of workers beside requests: why they get none, and whether they can be found."""

from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class WorkerStateView(Protocol):
    """A worker."""

    @property
    def id(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def draining(self) -> bool: ...


class SourceView(Protocol):
    """Where workers of a model are found."""

    @property
    def model(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def problem(self) -> str: ...


class FleetMetrics(Collector):
    """Labels are models and sources of the configuration, and workers as long as they are there."""

    def __init__(
        self,
        workers: Callable[[], Iterable[tuple[str, WorkerStateView]]],
        sources: Callable[[], Iterable[SourceView]],
    ) -> None:
        """`workers` returns each with its model's name."""
        self._workers = workers
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        """Make Prometheus' families; called at a scrape."""
        labels = ("model", "worker")
        wrong = GaugeMetricFamily(
            "gateway_worker_misconfigured", "1 when the worker answers, but serves another model.", labels=labels
        )
        draining = GaugeMetricFamily("gateway_worker_draining", "1 when it gets no new requests.", labels=labels)
        for model, worker in self._workers():
            wrong.add_metric((model, worker.id), 1.0 if worker.state == "misconfigured" else 0.0)
            draining.add_metric((model, worker.id), 1.0 if worker.draining else 0.0)
        found = GaugeMetricFamily(
            "gateway_discovery_up",
            "1 when the source of workers answers; without it those known before stay in use.",
            labels=("model", "kind", "source"),
        )
        for source in self._sources():
            found.add_metric((source.model, source.kind, source.name), 0.0 if source.problem else 1.0)
        return (wrong, draining, found)
