"""Keeps a fleet as its sources tell, while requests are served: the one place where workers join and leave.

Each source runs as a task and publishes what it knows; what the admin API changes is in a store, which is read again
and again where other replicas may change it too. A source or store that doesn't answer changes nothing; a store that
has lost what it was told is told again.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple, Protocol, Self

from gateway.background import end_task
from gateway.config.model import Discovered, KubernetesWorkers, ModelSettings
from gateway.errors import Conflict
from gateway.routing.discovery.endpoint import Endpoint, Publish
from gateway.routing.discovery.overrides import (
    AdapterWish,
    Overrides,
    OverrideStore,
    OverridesUnavailableError,
    change_overrides,
)
from gateway.routing.discovery.roster import Roster, difference
from gateway.routing.fleet import Fleet, ServedModel
from gateway.values import ModelName, WorkerId

POLL_S: Final = 0.5
"""Between two looks at the store: a change is effective on every replica within a second."""
RESTART_S: Final = 5.0
START_WAIT_S: Final = 2.0
"""How long the start waits for every source to tell what it knows."""
FORGET_S: Final = 600.0
"""How long a drained worker that discovery no longer knows may come back as drained: its address may be another's then.
"""

logger = logging.getLogger("gateway.discovery")


class Source(Protocol):
    """Finds workers."""

    problem: str
    """What keeps it from knowing; empty when all is well."""

    async def run(self) -> None:
        """Publish until cancelled."""
        ...


class SourceState(NamedTuple):
    """A source as operators see it."""

    model: ModelName
    name: str
    """What is looked up: a name of DNS, or `namespace/service`."""
    kind: Literal["dns", "kubernetes"]
    problem: str


MakeSource = Callable[[Discovered, Publish], Source]


class FleetKeeper:
    """A context manager that owns its tasks."""

    def __init__(
        self,
        fleet: Fleet,
        models: Sequence[ModelSettings],
        store: OverrideStore,
        *,
        rng: random.Random,
        make_source: MakeSource | None = None,
        clock: Callable[[], float] = time.monotonic,
        poll_s: float = POLL_S,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._clock = clock
        self._poll_s = poll_s
        self._overrides = Overrides()
        self._seen = True
        """Whether the store answered when it was last asked."""
        self._departed: dict[WorkerId, float] = {}
        """When drained workers were last known to discovery, which knows them no more."""
        self._tasks: list[asyncio.Task[None]] = []
        self._silent: set[tuple[ModelName, int]] = set()
        """Sources that have told nothing yet."""
        self._all_told = asyncio.Event()
        self._rosters: dict[ModelName, tuple[ServedModel, Roster]] = {}
        self._sources: list[tuple[ModelName, Discovered, Source]] = []
        make = make_source or partial(_make_source, rng)
        for settings in models:
            model = fleet.find(settings.name)
            if model is None or model.base is not None:  # an adapter has its base's workers
                continue
            self._rosters[model.name] = (model, Roster(settings))
            for index, each in enumerate(settings.discovery):
                self._silent.add((model.name, index))
                self._sources.append((model.name, each, make(each, partial(self._found, model.name, index))))

    async def __aenter__(self) -> Self:
        """Start the sources and wait a moment for what they know; go on without those that know nothing yet."""
        await self.look()
        for model, settings, source in self._sources:
            self._begin(source.run, f"discovery {_name(settings)} of {model}")
        if self._store.shared or self._sources:
            self._begin(self._follow, "changes of workers")
        if self._silent:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(START_WAIT_S):
                    await self._all_told.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            await end_task(task)

    @property
    def sources(self) -> list[SourceState]:
        """Return how each source does."""
        return [
            SourceState(model, _name(each), "kubernetes" if isinstance(each, KubernetesWorkers) else "dns", s.problem)
            for model, each, s in self._sources
        ]

    @property
    def drained(self) -> tuple[WorkerId, ...]:
        """Return the workers that get nothing new, also those that aren't there now."""
        return self._overrides.drained

    @property
    def wishes(self) -> tuple[AdapterWish, ...]:
        """Return which adapters workers are to have, and which not."""
        return self._overrides.wishes

    async def change(self, edit: Callable[[Overrides], Overrides]) -> None:
        """Change what the admin API has to say about workers; effective here at once.

        Raises Conflict and OverridesUnavailableError.
        """
        self._use(await change_overrides(self._store, edit))

    def _begin(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._tasks.append(asyncio.create_task(_supervised(work, name), name=name))

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self.look()
            await self._forget_departed()

    async def look(self) -> None:
        """Read the store, and follow what others have changed; losing it is logged once."""
        before = self._overrides
        try:
            held = await self._store.read()
            if held.version == 0 and before.version > 0 and self._overrides is before:
                logger.warning("the store has forgotten the changes of workers: it is told again")
                await self._store.replace(before, of_version=0)
                return
        except OverridesUnavailableError as error:
            if self._seen:
                logger.warning("what the admin API changes about workers can't be seen: %s", error)
            self._seen = False
            return
        if not self._seen:
            logger.info("what the admin API changes about workers can be seen again")
        self._seen = True
        if self._overrides is before:  # else a change was made here meanwhile, and `held` may be older
            self._use(held)

    async def _forget_departed(self) -> None:
        """End the drain of workers that discovery has not known for long."""
        long_ago = self._clock() - FORGET_S
        for worker_id in [each for each, at in self._departed.items() if at <= long_ago]:
            try:
                await self.change(lambda held, gone=worker_id: held.undrain(gone))  # type: ignore[misc]  # bound early
            except (Conflict, OverridesUnavailableError):
                return
            self._departed.pop(worker_id, None)

    def _use(self, overrides: Overrides) -> None:
        """Go on with these, unless they are in use already."""
        if overrides == self._overrides:
            return
        self._overrides = overrides
        for name, (_, roster) in self._rosters.items():
            roster.add(each for each in overrides.added if each.model == name)
            self._apply(name)

    def _found(self, name: ModelName, index: int, endpoints: frozenset[Endpoint]) -> None:
        self._rosters[name][1].find(index, endpoints)
        self._apply(name)
        self._silent.discard((name, index))
        if not self._silent:
            self._all_told.set()

    def _apply(self, name: ModelName) -> None:
        model, roster = self._rosters[name]
        leaving, joining = difference(model, roster.wanted())
        drained = set(self._overrides.drained)
        for worker in leaving:
            self._fleet.remove(model, worker)
            if worker.draining and worker.source in ("dns", "kubernetes"):
                self._departed[worker.id] = self._clock()
            logger.info("worker %s of %s has left (%s)", worker.id, name, worker.source)
        for wanted in joining:
            worker = wanted.build()
            worker.draining = worker.id in drained
            self._departed.pop(worker.id, None)
            self._fleet.add(model, worker)
            logger.info("worker %s of %s has joined (%s)", worker.id, name, worker.source)
        for worker in model.workers:
            if worker.draining != (worker.id in drained):
                worker.drain(worker.id in drained)
                logger.info("worker %s of %s is %s", worker.id, name, "draining" if worker.draining else "in use again")


async def _supervised(work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Run what never ends, and again when it failed all the same: what is known stays in use meanwhile."""
    while True:
        try:
            await work()
        except Exception:  # the supervisor
            logger.exception("%s failed", name)
        await asyncio.sleep(RESTART_S)


def _make_source(rng: random.Random, settings: Discovered, publish: Publish) -> Source:
    """Return the source; what it needs is imported here, as most fleets have none."""
    if isinstance(settings, KubernetesWorkers):
        from gateway.routing.discovery.kubernetes import ClusterAccess, KubernetesSource  # noqa: PLC0415

        service = settings.kubernetes
        return KubernetesSource(service, ClusterAccess.of(service), publish, rng=rng)
    from gateway.routing.discovery.resolver import DnsSource  # noqa: PLC0415

    return DnsSource(settings, publish, rng=rng)


def _name(settings: Discovered) -> str:
    if isinstance(settings, KubernetesWorkers):
        service = settings.kubernetes
        return f"{service.namespace}/{service.service}" if service.namespace else service.service
    return settings.dns
