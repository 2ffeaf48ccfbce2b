"""Which workers a model is to have, of those that the file, discovery and the admin API tell of. No I/O.

A worker that several tell of is one: the file's word counts first, then discovery's, then the admin API's. One that
only discovery or the admin API told of leaves when nobody tells of it any more.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gateway.config.model import Discovered, DnsWorkers, ModelSettings, Secret
from gateway.routing.discovery.endpoint import Endpoint
from gateway.routing.discovery.overrides import AddedWorker
from gateway.routing.fleet import ServedModel, worker_id
from gateway.routing.worker import Worker, WorkerSource
from gateway.values import WorkerId


class Wanted(NamedTuple):
    """A worker that a model is to have."""

    url: str
    api_key: Secret | None
    weight: float
    source: WorkerSource

    def build(self) -> Worker:
        """Return a worker of which nothing is known yet."""
        return Worker(worker_id(self.url), self.url, self.api_key, self.weight, self.source)


class Roster:
    """What is told about the workers of one model."""

    def __init__(self, settings: ModelSettings) -> None:
        self._found: list[tuple[Discovered, frozenset[Endpoint]]] = [(each, frozenset()) for each in settings.discovery]
        self._added: tuple[AddedWorker, ...] = ()
        keys = {each.api_key for each in (*settings.workers, *settings.discovery)}
        self._common_key = keys.pop() if len(keys) == 1 else None
        """What added workers are asked with: no secret is kept with them."""

    def find(self, index: int, endpoints: frozenset[Endpoint]) -> None:
        """Note all that the discovery of this index knows of."""
        self._found[index] = (self._found[index][0], endpoints)

    def add(self, added: Iterable[AddedWorker]) -> None:
        """Note all that the admin API has added."""
        self._added = tuple(added)

    def wanted(self) -> Mapping[WorkerId, Wanted]:
        """Return the workers that aren't the file's."""
        wanted: dict[WorkerId, Wanted] = {}
        for each in self._told():
            wanted.setdefault(worker_id(each.url), each)
        return wanted

    def _told(self) -> Iterator[Wanted]:
        for settings, endpoints in self._found:
            source: WorkerSource = "dns" if isinstance(settings, DnsWorkers) else "kubernetes"
            for endpoint in sorted(endpoints):
                yield Wanted(endpoint.url, settings.api_key, float(settings.weight), source)
        for worker in self._added:
            yield Wanted(worker.url, self._common_key, worker.weight, "admin")


class Difference(NamedTuple):
    """What makes a model's workers those that are wanted."""

    leaving: tuple[Worker, ...]
    joining: tuple[Wanted, ...]


def difference(model: ServedModel, wanted: Mapping[WorkerId, Wanted]) -> Difference:
    """Return what has to change. The file's workers stay; one that is told of otherwise now leaves and joins again."""
    present: dict[WorkerId, Worker] = {worker.id: worker for worker in model.workers}
    leaving = tuple(
        worker for worker in model.workers if worker.source != "file" and not _is_same(worker, wanted.get(worker.id))
    )
    gone = {worker.id for worker in leaving}
    joining = tuple(each for key, each in wanted.items() if key not in present or key in gone)
    return Difference(leaving, joining)


def _is_same(worker: Worker, wanted: Wanted | None) -> bool:
    return wanted is not None and (worker.url, worker.weight, worker.api_key) == (
        wanted.url,
        wanted.weight,
        wanted.api_key,
    )
