"""Watching the workers of a fleet, each by a task of its own, from the moment it joins until it leaves.

A worker is up when `/health` answers and `/v1/models` lists the model, with its context length: both are asked each
time, since it may have been restarted with other flags between two probes. The ids of the family's end-of-turn markers
are asked when it comes up. Probes never touch the path of requests: routing reads the state they leave behind.

A worker that says nothing twice in a row hangs: what waits there for a first byte is told to go elsewhere. With
`models[].canary_s` an engine that answers probes but makes no token is found as well, by a task beside the probes'.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Final, Self

from gateway.background import end_task
from gateway.routing.canary import Canary
from gateway.routing.fleet import Fleet, ServedModel
from gateway.routing.probe import EngineProbe
from gateway.routing.worker import Worker

UP_INTERVAL_S: Final = 2.0
DOWN_INTERVAL_S: Final = 1.0
STALE_AFTER: Final = 3
"""Metrics that could not be read so many times in a row are too old."""

logger = logging.getLogger("gateway.health")

OnSilent = Callable[[Worker], None]
"""Is told of a worker that hangs."""


class HealthMonitor:
    """Keeps the state of every worker of a fleet; a context manager that owns its tasks."""

    def __init__(
        self,
        fleet: Fleet,
        probe: EngineProbe,
        *,
        rng: random.Random,
        on_silent: OnSilent,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._probe = probe
        self._rng = rng
        self._on_silent = on_silent
        self._clock = clock
        self._tasks: dict[Worker, tuple[asyncio.Task[None], ...]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._fleet.subscribe(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._fleet.unsubscribe(self)
        for worker in tuple(self._tasks):
            self._end(worker)
        for task in tuple(self._ending):
            await end_task(task)
        await self._probe.close()

    def joined(self, model: ServedModel, worker: Worker) -> None:
        """Watch a worker."""
        watch = _Watch(model, worker, self._probe, self._on_silent, self._clock, self._rng)
        tasks = [asyncio.create_task(watch.run(), name=f"health {worker.id}")]
        if model.canary_s is not None:
            ask = self._probe.makes_a_token
            canary = Canary(model, worker, model.canary_s, ask, on_hang=self._on_silent, rng=self._rng)
            tasks.append(asyncio.create_task(canary.run(), name=f"canary {worker.id}"))
        self._tasks[worker] = tuple(tasks)

    def left(self, model: ServedModel, worker: Worker) -> None:
        """Watch a worker no more."""
        del model
        self._end(worker)

    def _end(self, worker: Worker) -> None:
        for task in self._tasks.pop(worker):
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()


class _Watch:
    """One worker, probed again and again."""

    def __init__(
        self,
        model: ServedModel,
        worker: Worker,
        probe: EngineProbe,
        on_silent: OnSilent,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._model = model
        self._worker = worker
        self._probe = probe
        self._on_silent = on_silent
        self._clock = clock
        self._rng = rng
        self._silences = 0
        self._unread = 0

    async def run(self) -> None:
        """Probe until cancelled."""
        worker = self._worker
        while True:
            before = (worker.state, worker.breaker.state)
            await self._look()
            worker.tick(self._clock())
            if (worker.state, worker.breaker.state) != before:
                self._log()
            if self._silences == 1:
                continue  # look again at once: requests may be waiting there
            interval_s = UP_INTERVAL_S if worker.state == "up" else DOWN_INTERVAL_S
            if worker.resting or worker.breaker.state != "closed":
                interval_s = DOWN_INTERVAL_S
            await asyncio.sleep(interval_s * (0.9 + 0.2 * self._rng.random()))

    async def _look(self) -> None:
        worker, model = self._worker, self._model
        if not await self._probe.probe(model, worker):
            self._silences += 1
            if self._silences > 1:
                self._on_silent(worker)
            return
        self._silences = 0
        if worker.state != "up":
            return
        if len(model.workers) > 1:
            await self._read_load()

    async def _read_load(self) -> None:
        load = await self._probe.engine_load(self._worker)
        self._unread = 0 if load is not None else self._unread + 1
        if load is not None or self._unread == STALE_AFTER:
            self._worker.see_engine(load)

    def _log(self) -> None:
        worker = self._worker
        level = logging.INFO if worker.state == "up" and worker.breaker.state == "closed" else logging.WARNING
        breaker = "" if worker.breaker.state == "closed" else f", its breaker {worker.breaker.state}"
        problem = f": {worker.problem}" if worker.problem else ""
        logger.log(level, "worker %s of %s is %s%s%s", worker.id, self._model.name, worker.state, breaker, problem)
