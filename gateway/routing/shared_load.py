"""What gateways have at the same workers: each tells the others through a board, twice a second, beside requests.

Without that each sees only its own requests between two looks at an engine's metrics, and all of them choose the same
worker at the same time. Nothing depends on it: without the board the own counts and the engines' metrics remain.

No clock is compared. What another gateway says counts while its number goes on; one that is silent for `SILENT_S` has
ended, and what it had is nobody's any more.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Protocol, Self

from msgspec import Struct

from gateway.background import end_task
from gateway.routing.fleet import Fleet

EVERY_S: Final = 0.5
SILENT_S: Final = 3.0

logger = logging.getLogger("gateway.fleet")


class Told(Struct, frozen=True):
    """What one gateway has in flight."""

    number: int
    """Of the telling; goes on with each."""
    in_flight: dict[str, dict[str, int]]
    """By model and worker; those that have none are left out."""


class BoardUnavailableError(Exception):
    """The board can't be reached."""


class LoadBoard(Protocol):
    """Where gateways tell each other."""

    async def exchange(self, replica: str, told: Told) -> Mapping[str, Told]:
        """Tell what this replica has; return what all have told. Raises BoardUnavailableError."""
        ...

    async def leave(self, replica: str) -> None:
        """Take back what this replica, or one that has ended, told. Raises BoardUnavailableError."""
        ...


class LoadExchange:
    """Keeps `Worker.shared` of a fleet; a context manager that owns its task."""

    def __init__(
        self,
        fleet: Fleet,
        board: LoadBoard,
        replica: str,
        *,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._board = board
        self._replica = replica
        self._rng = rng
        self._clock = clock
        self._number = 0
        self._heard: dict[str, tuple[int, float]] = {}
        self._reachable = True
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="shared load")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await end_task(self._task)
        if self._reachable:
            await self._leave(self._replica)

    async def exchange(self) -> None:
        """Tell and hear once. Never raises: without the board nothing of others counts."""
        self._number += 1
        try:
            all_told = await self._board.exchange(self._replica, Told(self._number, self._own()))
        except BoardUnavailableError as error:
            self._note(reachable=False, why=str(error))
            self._apply({})
            return
        self._note(reachable=True)
        now = self._clock()
        totals: dict[str, Counter[str]] = {}
        for replica, told in all_told.items():
            if replica == self._replica:
                continue
            if self._heard.get(replica, (0, 0.0))[0] != told.number:
                self._heard[replica] = (told.number, now)
            if now - self._heard[replica][1] > SILENT_S:
                await self._leave(replica)
                continue
            for model, workers in told.in_flight.items():
                totals.setdefault(model, Counter()).update(workers)
        self._heard = {replica: seen for replica, seen in self._heard.items() if replica in all_told}
        self._apply(totals)

    async def _run(self) -> None:
        while True:
            await self.exchange()
            await asyncio.sleep(EVERY_S * (0.9 + 0.2 * self._rng.random()))

    def _own(self) -> dict[str, dict[str, int]]:
        told: dict[str, dict[str, int]] = {}
        for model in self._fleet.bases:
            workers: dict[str, int] = {worker.id: worker.in_flight for worker in model.workers if worker.in_flight}
            if workers:
                told[model.name] = workers
        return told

    def _apply(self, totals: Mapping[str, Mapping[str, int]]) -> None:
        for model in self._fleet.bases:
            workers = totals.get(model.name, {})
            news = [worker.hear_shared(workers.get(worker.id, 0)) for worker in model.workers]
            if any(news):
                model.choice.changed()

    async def _leave(self, replica: str) -> None:
        try:
            await self._board.leave(replica)
        except BoardUnavailableError as error:
            self._note(reachable=False, why=str(error))

    def _note(self, *, reachable: bool, why: str = "") -> None:
        if reachable != self._reachable:
            self._reachable = reachable
            state = "again" if reachable else f"no more: {why}"
            logger.log(
                logging.INFO if reachable else logging.WARNING, "loads of other gateways at the workers known %s", state
            )
