"""One set of metrics for all processes of a gateway: each writes down what it has counted, whoever is scraped adds up.

Every process writes its metrics to a file of its own in a folder that only they use, once a second and at its end. A
scrape reads the files of the others, so it is at most a second behind. When a process has ended, the supervisor moves
its counters to `retired`: a total that goes down would be taken for a restart of everything.

The two steps of that move can't be one. The file of the retired therefore names the processes whose counters it holds,
and whoever reads it looks at it last and leaves those processes out: nothing is counted twice or missed in between.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from gateway.background import end_task

WRITE_EVERY_S: Final = 1.0
_SUFFIX: Final = ".metrics"
_RETIRED: Final = "retired"
_REMEMBERED: Final = 256
"""Retired processes that are still named: many more than can end while one reader is at work."""
_SUMMED_GAUGES: Final = frozenset({"gateway_queue_length", "gateway_requests_in_flight", "gateway_worker_in_flight"})
"""What each process has its own part of. Other gauges tell of something that all share: the total is the highest."""
_LOWEST: Final = frozenset({"gateway_key_store_in_touch", "gateway_discovery_up"})
_SUMMED_KINDS: Final = frozenset({"counter", "histogram"})

Labels = tuple[tuple[str, str], ...]


class Family(Struct, array_like=True):
    """One metric: its samples by name and sorted labels."""

    kind: str
    help: str
    samples: list[tuple[str, Labels, float]]


class Retired(Struct):
    """What processes that have ended had counted."""

    processes: list[str]
    """Names of their files."""
    families: dict[str, Family]


_SNAPSHOT = msgspec.msgpack.Decoder(dict[str, Family])
_RETIRED_FILE = msgspec.msgpack.Decoder(Retired)


class ProcessMetrics:
    """The metrics of this process, to be written down and to be rendered together with the others'."""

    def __init__(self, folder: Path, process: str, collect: Callable[[], Iterable[Metric]]) -> None:
        """`process` names this process among all that ever use the folder."""
        self._folder = folder
        self._file = folder / f"{process}{_SUFFIX}"
        self._collect = collect
        self._written = b""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to write."""
        self._task = asyncio.create_task(self._write_on(), name="process metrics")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write a last time."""
        if self._task is not None:
            await end_task(self._task)
        self.write()

    async def _write_on(self) -> None:
        while True:
            self.write()
            await asyncio.sleep(WRITE_EVERY_S)

    def write(self) -> None:
        """Write down what has been counted, if that has changed."""
        data = msgspec.msgpack.encode(snapshot(self._collect()))
        if data != self._written:
            _replace(self._file, data)
            self._written = data

    def render(self) -> bytes:
        """Return the metrics of all processes in Prometheus' text format."""
        others: dict[str, dict[str, Family]] = {}
        for file in self._folder.glob(f"*{_SUFFIX}"):
            if file != self._file and (data := _read(file)) is not None:
                others[file.name] = _SNAPSHOT.decode(data)
        retired = read_retired(self._folder)
        living = [families for name, families in others.items() if name not in retired.processes]
        return _render([snapshot(self._collect()), *living, retired.families])


def snapshot(metrics: Iterable[Metric]) -> dict[str, Family]:
    """Return plain values of metrics, by name."""
    return {
        metric.name: Family(
            metric.type,
            metric.documentation,
            [(sample.name, tuple(sorted(sample.labels.items())), sample.value) for sample in metric.samples],
        )
        for metric in metrics
    }


def merge(snapshots: Sequence[dict[str, Family]]) -> dict[str, Family]:
    """Add up counters and histograms, and the gauges of which each process has a part."""
    merged: dict[str, dict[tuple[str, Labels], float]] = {}
    described: dict[str, Family] = {}
    for families in snapshots:
        for name, family in families.items():
            described.setdefault(name, family)
            values = merged.setdefault(name, {})
            summed = family.kind in _SUMMED_KINDS or name in _SUMMED_GAUGES
            choose = _sum if summed else min if name in _LOWEST else max
            for sample, labels, value in family.samples:
                before = values.get((sample, labels))
                values[sample, labels] = value if before is None else choose(before, value)
    return {
        name: Family(
            described[name].kind,
            described[name].help,
            [(sample, labels, value) for (sample, labels), value in values.items()],
        )
        for name, values in merged.items()
    }


def retire(folder: Path, process: str) -> None:
    """Keep the counters of a process that has ended; its gauges end with it."""
    file = folder / f"{process}{_SUFFIX}"
    data = _read(file)
    if data is None:
        return
    counted = {name: family for name, family in _SNAPSHOT.decode(data).items() if family.kind in _SUMMED_KINDS}
    retired = read_retired(folder)
    names = [*retired.processes, file.name][-_REMEMBERED:]
    _replace(folder / _RETIRED, msgspec.msgpack.encode(Retired(names, merge([retired.families, counted]))))
    file.unlink()


def read_retired(folder: Path) -> Retired:
    """Return what ended processes had counted."""
    data = _read(folder / _RETIRED)
    return Retired([], {}) if data is None else _RETIRED_FILE.decode(data)


class _Merged(Collector):
    def __init__(self, families: dict[str, Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for name, family in self._families.items():
            metric = Metric(name, family.help, family.kind)
            for sample, labels, value in family.samples:
                metric.add_sample(sample, dict(labels), value)
            yield metric


def _render(snapshots: Sequence[dict[str, Family]]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(merge(snapshots)))
    return generate_latest(registry)


def _sum(one: float, other: float) -> float:
    return one + other


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _replace(file: Path, data: bytes) -> None:
    """Write a file that readers see whole or not at all."""
    made = file.with_suffix(f".{os.getpid()}.new")
    made.write_bytes(data)
    made.replace(file)
