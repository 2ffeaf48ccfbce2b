"""Every metric and every label of the gateway; the only user of prometheus_client.

A request is counted in plain integers; Prometheus' families are made from them at the scrape. The library's own
counters take a lock for each of the eight numbers of a request, which costs more than the rest of its bookkeeping.
Labels come from the configuration or from closed sets, never from what a client sends: their number is bounded by
endpoints x models x statuses.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.observability.record import RequestRecord

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
OVERHEAD_BUCKETS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
NO_MODEL = "none"
"""Label of requests that end before their model is known."""
LIMITS_MODES = ("embedded", "shared", "local", "open", "closed")
NO_ENDPOINT = "none"
"""Label of requests that reach no endpoint: not HTTP, or of an unknown path or method."""


class WorkerView(Protocol):
    """What the gauges tell of a worker."""

    @property
    def id(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def in_flight(self) -> int: ...


class Distribution:
    """A histogram's counts."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value in the first bucket whose bound is not below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the cumulative buckets to a family."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
        family.add_metric(labels, buckets, self._sum)


class _RouteCounts:
    """The counts of one endpoint and model."""

    __slots__ = ("completion_tokens", "first_byte", "overhead", "prompt_tokens", "seconds", "statuses")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.seconds = Distribution(LATENCY_BUCKETS_S)
        self.first_byte = Distribution(LATENCY_BUCKETS_S)
        self.overhead = Distribution(OVERHEAD_BUCKETS_S)
        self.prompt_tokens = 0
        self.completion_tokens = 0


class Metrics(Collector):
    """Counts the requests of one gateway process."""

    def __init__(
        self,
        workers: Callable[[], Iterable[tuple[str, WorkerView]]],
        version: str,
        *,
        limits_mode: Callable[[], str],
        keys_in_touch: Callable[[], bool],
        further: Iterable[Collector] = (),
    ) -> None:
        """`workers` returns those there are, each with its model's name: one that has left has no series any more.
        `limits_mode` tells who counts limits, one of LIMITS_MODES; `keys_in_touch` whether the key store answers.
        `further`: those that count what isn't a request.
        """
        self._workers = workers
        self._version = version
        self._limits_mode = limits_mode
        self._keys_in_touch = keys_in_touch
        self._in_flight = 0
        self._filters: dict[tuple[str, str, str, str], int] = {}
        self._routes: dict[tuple[str, str], _RouteCounts] = {}
        self._fallbacks: dict[tuple[str, str], int] = {}
        """By the model that was asked for and the one that stood in."""
        self._registry = CollectorRegistry()
        for collector in (self, *further):
            self._registry.register(collector)

    def begin(self) -> None:
        """Count a request that begins."""
        self._in_flight += 1

    def end(self, record: RequestRecord, ended: float) -> None:
        """Count a request that ended at `ended` (monotonic seconds)."""
        self._in_flight -= 1
        identity = (record.endpoint, record.model or NO_MODEL)
        counts = self._routes.get(identity)
        if counts is None:
            counts = self._routes[identity] = _RouteCounts()
        counts.statuses[record.status] = counts.statuses.get(record.status, 0) + 1
        if record.filter is not None:
            for side, findings in record.filter.sides():
                for found in findings:
                    rule = (record.filter.name, side, found.rule, found.action)
                    self._filters[rule] = self._filters.get(rule, 0) + found.count
        started = record.started
        counts.seconds.observe(ended - started)
        if record.first_byte_at is not None:
            counts.first_byte.observe(record.first_byte_at - started)
        if record.sent_at is not None:
            counts.overhead.observe(record.sent_at - started)
        if record.fallback_from is not None:
            pair = (record.fallback_from, record.model or NO_MODEL)
            self._fallbacks[pair] = self._fallbacks.get(pair, 0) + 1
        if record.usage is not None:
            counts.prompt_tokens += record.usage.prompt_tokens
            counts.completion_tokens += record.usage.completion_tokens

    def families(self) -> Iterable[Metric]:
        """Return all metrics of this process, the further ones' too."""
        return self._registry.collect()

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Make Prometheus' families from the counts; called at a scrape."""
        info = GaugeMetricFamily("gateway_info", "Version of this gateway.", labels=("version",))
        info.add_metric((self._version,), 1)
        in_flight = GaugeMetricFamily("gateway_requests_in_flight", "Requests being served.", value=self._in_flight)
        filters = CounterMetricFamily(
            "gateway_filter_findings", "What filters found, by rule.", labels=("filter", "side", "rule", "action")
        )
        for rule, found in self._filters.items():
            filters.add_metric(rule, found)
        families = (*self._store_families(), *self._request_families(), *self._worker_families())
        return (info, in_flight, filters, *families)

    def _store_families(self) -> Iterable[Metric]:
        modes = GaugeMetricFamily(
            "gateway_limits_mode", "1 for who counts limits: shared is Redis, others see the README.", labels=("mode",)
        )
        mode = self._limits_mode()
        for name in LIMITS_MODES:
            modes.add_metric((name,), 1.0 if name == mode else 0.0)
        in_touch = GaugeMetricFamily(
            "gateway_key_store_in_touch",
            "1 when every change of keys is known here.",
            value=float(self._keys_in_touch()),
        )
        return (modes, in_touch)

    def _request_families(self) -> Iterable[Metric]:
        route = ("endpoint", "model")
        requests = CounterMetricFamily(
            "gateway_requests", "Requests ended, by status (499: the client went away).", labels=(*route, "status")
        )
        tokens = CounterMetricFamily("gateway_tokens", "Tokens as workers counted them.", labels=(*route, "kind"))
        seconds = HistogramMetricFamily("gateway_request_seconds", "Whole requests, streams included.", labels=route)
        first_byte = HistogramMetricFamily("gateway_first_byte_seconds", "Until the worker's first byte.", labels=route)
        overhead = HistogramMetricFamily(
            "gateway_overhead_seconds", "Time in the gateway before the worker is asked.", labels=route
        )
        for labels, counts in self._routes.items():
            for status, count in counts.statuses.items():
                requests.add_metric((*labels, str(status)), count)
            tokens.add_metric((*labels, "prompt"), counts.prompt_tokens)
            tokens.add_metric((*labels, "completion"), counts.completion_tokens)
            counts.seconds.add_to(seconds, labels)
            counts.first_byte.add_to(first_byte, labels)
            counts.overhead.add_to(overhead, labels)
        fallbacks = CounterMetricFamily(
            "gateway_fallbacks",
            "Requests for a model that another one answered, which the other metrics count as its own.",
            labels=("model", "answered_by"),
        )
        for pair, count in self._fallbacks.items():
            fallbacks.add_metric(pair, count)
        return (requests, tokens, seconds, first_byte, overhead, fallbacks)

    def _worker_families(self) -> Iterable[Metric]:
        labels = ("model", "worker")
        up = GaugeMetricFamily("gateway_worker_up", "1 when the worker answers and serves its model.", labels=labels)
        load = GaugeMetricFamily("gateway_worker_in_flight", "Requests of this gateway at the worker.", labels=labels)
        for model, worker in self._workers():
            up.add_metric((model, worker.id), 1.0 if worker.state == "up" else 0.0)
            load.add_metric((model, worker.id), worker.in_flight)
        return (up, load)
