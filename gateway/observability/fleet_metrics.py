"""What there is to know of workers beside requests: why they get none."""

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


class FleetMetrics(Collector):
    """Labels are models of the configuration, and workers as long as they are there."""

    def __init__(self, workers: Callable[[], Iterable[tuple[str, WorkerStateView]]]) -> None:
        """`workers` returns each with its model's name."""
        self._workers = workers

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
        return (wrong, draining)
