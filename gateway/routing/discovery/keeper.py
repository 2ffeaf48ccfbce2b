"""Keeps a fleet as the admin API wants it, while requests are served: the one place where workers join and leave.

What the admin API changes is in a store, which is read again and again where other replicas may change it too. A store
that doesn't answer changes nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, Self

from gateway.config.model import ModelSettings
from gateway.routing.discovery.overrides import (
    Overrides,
    OverrideStore,
    OverridesUnavailableError,
    change_overrides,
)
from gateway.routing.discovery.roster import Roster, difference
from gateway.routing.fleet import Fleet, ServedModel
from gateway.values import ModelName

POLL_S: Final = 0.5
"""Between two looks at the store: a change is effective on every replica within a second."""

logger = logging.getLogger("gateway.discovery")


class FleetKeeper:
    """A context manager that owns its task."""

    def __init__(
        self, fleet: Fleet, models: Sequence[ModelSettings], store: OverrideStore, *, poll_s: float = POLL_S
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._poll_s = poll_s
        self._overrides = Overrides()
        self._rosters: dict[ModelName, tuple[ServedModel, Roster]] = {}
        self._following: asyncio.Task[None] | None = None
        for settings in models:
            model = fleet.find(settings.name)
            if model is not None:
                self._rosters[model.name] = (model, Roster(settings))

    async def __aenter__(self) -> Self:
        """Look what is in force, and follow it; go on without a store that is away."""
        seen = await self._look(seen=True)
        if self._store.shared:
            self._following = asyncio.create_task(self._follow(seen), name="changes of workers")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following

    async def change(self, edit: Callable[[Overrides], Overrides]) -> None:
        """Change what the admin API has to say about workers; effective here at once.

        Raises Conflict and OverridesUnavailableError.
        """
        self._use(await change_overrides(self._store, edit))

    async def _follow(self, seen: bool) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                seen = await self._look(seen=seen)
            except Exception:  # the supervisor: whatever it is, what is known stays in use and following goes on
                logger.exception("following the changes of workers failed")

    async def _look(self, *, seen: bool) -> bool:
        """Read the store; return whether it answered. Losing it is logged once: `seen` tells of the time before."""
        try:
            held = await self._store.read()
        except OverridesUnavailableError as error:
            if seen:
                logger.warning("what the admin API changes about workers can't be seen: %s", error)
            return False
        if not seen:
            logger.info("what the admin API changes about workers can be seen again")
        self._use(held)
        return True

    def _use(self, overrides: Overrides) -> None:
        """Go on with these, unless they are in use already."""
        if overrides == self._overrides:
            return
        self._overrides = overrides
        for name, (_, roster) in self._rosters.items():
            roster.add(each for each in overrides.added if each.model == name)
            self._apply(name)

    def _apply(self, name: ModelName) -> None:
        model, roster = self._rosters[name]
        leaving, joining = difference(model, roster.wanted())
        drained = set(self._overrides.drained)
        for worker in leaving:
            self._fleet.remove(model, worker)
            logger.info("worker %s of %s has left (%s)", worker.id, name, worker.source)
        for wanted in joining:
            worker = wanted.build()
            worker.draining = worker.id in drained
            self._fleet.add(model, worker)
            logger.info("worker %s of %s has joined (%s)", worker.id, name, worker.source)
        for worker in model.workers:
            if worker.draining != (worker.id in drained):
                worker.drain(worker.id in drained)
                logger.info("worker %s of %s is %s", worker.id, name, "draining" if worker.draining else "in use again")
