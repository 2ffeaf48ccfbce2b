"""Sees to it that workers have the LoRA adapters that the admin API asked for, and not those it unloaded.

A wish is fulfilled at every worker of its model at once, and again and again where it isn't: at workers that join, that
were down, or that lost their adapters in a restart. Every gateway process does so for itself; engines take a second
one's call as done.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Final, NamedTuple, Self

from gateway.background import end_task
from gateway.routing.adapter_engine import AdapterEngine, AdapterOutcome, is_fulfilled
from gateway.routing.discovery.overrides import AdapterWish
from gateway.routing.fleet import Fleet, ServedModel
from gateway.routing.worker import Worker
from gateway.values import WorkerId

LOOK_S: Final = 0.5
RETRY_S: Final = 30.0
"""After an engine has refused, or didn't answer."""

logger = logging.getLogger("gateway.adapters")


class AdapterState(NamedTuple):
    """How an adapter stands at a worker."""

    worker: WorkerId
    loaded: bool
    path: str | None
    """Where the engine says it is from."""
    problem: str | None
    """Why it isn't as wished."""


class _Attempt(NamedTuple):
    wish: AdapterWish
    at_s: float
    problem: str | None


class AdapterKeeper:
    """A context manager that owns its tasks; it has none where no model has adapters."""

    def __init__(
        self,
        fleet: Fleet,
        wishes: Callable[[], Collection[AdapterWish]],
        engine: AdapterEngine,
        *,
        refresh: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
        look_s: float = LOOK_S,
    ) -> None:
        """`refresh` brings `wishes` up to date: another gateway may have changed them since."""
        self._fleet = fleet
        self._refresh = refresh
        self._wishes = wishes
        self._engine = engine
        self._clock = clock
        self._look_s = look_s
        self._attempts: dict[Worker, dict[str, _Attempt]] = {}
        """The last one for each adapter that a worker, up since, doesn't have as wished."""
        self._tasks: dict[tuple[Worker, str], asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if any(model.base is not None for model in self._fleet.models):
            self._watch = asyncio.create_task(self._run(), name="adapters")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch is not None:
            await end_task(self._watch)
        for task in tuple(self._tasks.values()):
            await end_task(task)
        await self._engine.close()

    async def fulfil(self, wish: AdapterWish) -> list[AdapterOutcome]:
        """Ask every worker of the wish's model now; return how it went, in the order of the workers."""
        model = self._fleet.find(wish.model)
        workers = () if model is None else model.workers
        return list(await asyncio.gather(*(self._ask(worker, wish) for worker in workers)))

    def states(self, adapter: ServedModel) -> list[AdapterState]:
        """Return how an adapter stands at each worker of its base."""
        return [self._state(adapter, worker) for worker in adapter.workers]

    def _state(self, adapter: ServedModel, worker: Worker) -> AdapterState:
        name = adapter.served_name
        held = worker.adapters
        attempt = self._attempts.get(worker, {}).get(name)
        problem = attempt.problem if attempt is not None else None
        if worker.state != "up":
            problem = worker.problem or worker.state
        return AdapterState(worker.id, name in held, held.get(name), problem)

    async def _run(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(self._look_s)

    def _look(self) -> None:
        if self._attempts:
            present = {worker for _, worker in self._fleet.workers() if worker.state == "up"}
            # One that comes up again is another engine: it is asked at once.
            self._attempts = {worker: held for worker, held in self._attempts.items() if worker in present}
        for wish in self._wishes():
            model = self._fleet.find(wish.model)
            for worker in () if model is None else model.workers:
                if worker.state == "up" and (worker, wish.adapter) not in self._tasks and self._is_due(worker, wish):
                    self._begin(worker, wish)

    def _is_due(self, worker: Worker, wish: AdapterWish) -> bool:
        if is_fulfilled(worker, wish):
            if worker in self._attempts:
                self._attempts[worker].pop(wish.adapter, None)
            return False
        attempt = self._attempts.get(worker, {}).get(wish.adapter)
        return attempt is None or attempt.wish != wish or self._clock() - attempt.at_s >= RETRY_S

    def _begin(self, worker: Worker, wish: AdapterWish) -> None:
        key = (worker, wish.adapter)
        task = asyncio.create_task(self._ask_and_log(worker, wish), name=f"adapter {wish.adapter} of {worker.id}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _ask_and_log(self, worker: Worker, wish: AdapterWish) -> None:
        await self._refresh()
        if wish not in self._wishes():
            return
        outcome = await self._ask(worker, wish)
        what = "loaded" if wish.path is not None else "unloaded"
        if outcome.fulfilled:
            logger.info("adapter %s is %s at worker %s of %s", wish.adapter, what, worker.id, wish.model)
        else:
            message = "adapter %s can't be %s at worker %s of %s: %s"
            logger.warning(message, wish.adapter, what, worker.id, wish.model, outcome.problem)

    async def _ask(self, worker: Worker, wish: AdapterWish) -> AdapterOutcome:
        if worker.state != "up":
            return AdapterOutcome(False, worker.problem or f"its state is {worker.state}")
        outcome = await self._engine.fulfil(worker, wish)
        attempts = self._attempts.setdefault(worker, {})
        if outcome.fulfilled:
            attempts.pop(wish.adapter, None)
        else:
            attempts[wish.adapter] = _Attempt(wish, self._clock(), outcome.problem)
        return outcome
