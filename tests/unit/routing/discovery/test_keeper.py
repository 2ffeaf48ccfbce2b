"""The fleet follows what the admin API has changed, here and on other replicas."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.config.load import parse_settings
from gateway.errors import Conflict
from gateway.routing.catalog import VARIANTS
from gateway.routing.discovery.keeper import FleetKeeper
from gateway.routing.discovery.overrides import (
    MAX_ADDED,
    MAX_DRAINED,
    AddedWorker,
    MemoryOverrideStore,
    Overrides,
    OverridesUnavailableError,
    change_overrides,
)
from gateway.routing.fleet import Fleet, build_fleet
from gateway.values import ModelName, WorkerId

MODEL = ModelName("gemma-3-4b-it")
SETTINGS = parse_settings(f"models: [{{name: {MODEL}, workers: [{{url: 'http://a:1'}}]}}]", {}, VARIANTS).models
NEW = AddedWorker(MODEL, "http://b:2")


class SharedStore(MemoryOverrideStore):
    """As in Redis: others may change it, and it may be away. `read_again` is set by each look at it."""

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.broken = False
        self.read_again = asyncio.Event()

    async def read(self) -> Overrides:
        self.read_again.set()
        if self.away:
            raise OverridesUnavailableError("Redis: TimeoutError")
        if self.broken:
            raise RuntimeError("a bug")
        return await super().read()

    async def looked(self) -> None:
        """Returns after the next look was answered and followed."""
        for _ in range(2):
            self.read_again.clear()
            await self.read_again.wait()


@asynccontextmanager
async def kept(store: MemoryOverrideStore) -> AsyncGenerator[tuple[Fleet, FleetKeeper]]:
    fleet = build_fleet(SETTINGS, created=0)
    async with FleetKeeper(fleet, SETTINGS, store, poll_s=0.0) as keeper:
        yield fleet, keeper


def names(fleet: Fleet) -> list[str]:
    return [worker.id for _, worker in fleet.workers()]


def test_a_change_is_effective_here_at_once_and_elsewhere_at_the_next_look() -> None:
    """Added, drained, used again and taken out; the worker that stays is the same object all the time."""

    async def run() -> None:
        store = SharedStore()
        async with kept(store) as (here, keeper), kept(store) as (there, _):
            listed = next(iter(here.workers()))[1]
            await keeper.change(lambda held: held.add(NEW).drain(WorkerId("a:1")))
            assert names(here) == ["a:1", "b:2"]
            assert listed.draining
            await store.looked()
            await store.looked()
            assert names(there) == ["a:1", "b:2"]
            assert [worker.draining for _, worker in there.workers()] == [True, False]
            await keeper.change(lambda held: held.without(lambda each: each == NEW).undrain(WorkerId("a:1")))
            assert [worker for _, worker in here.workers()] == [listed]
            assert [worker.draining for _, worker in here.workers()] == [False]
            await store.looked()
            await store.looked()
            assert names(there) == ["a:1"]

    asyncio.run(run())


def test_what_was_changed_before_the_start_is_in_force() -> None:
    """A replica that starts later has the same workers, drained ones from the first moment."""

    async def run() -> None:
        store = SharedStore()
        await change_overrides(store, lambda held: held.add(NEW).drain(WorkerId("b:2")))
        async with kept(store) as (fleet, _):
            assert [(worker.id, worker.draining) for _, worker in fleet.workers()] == [("a:1", False), ("b:2", True)]

    asyncio.run(run())


def test_a_store_that_is_away_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Not at the start, not later: workers stay as they were; it is logged once, and once when it is back."""

    async def run() -> None:
        caplog.set_level(logging.INFO, "gateway.discovery")
        store = SharedStore()
        await change_overrides(store, lambda held: held.add(NEW))
        store.away = True
        async with kept(store) as (fleet, keeper):
            assert names(fleet) == ["a:1"]
            with pytest.raises(OverridesUnavailableError):
                await keeper.change(lambda held: held.drain(WorkerId("a:1")))
            await store.looked()
            store.away = False
            await store.looked()
            await store.looked()
            assert names(fleet) == ["a:1", "b:2"]
            store.broken = True
            await store.looked()
            store.broken = False
            await store.looked()
            assert names(fleet) == ["a:1", "b:2"]

    asyncio.run(run())
    said = [record.message for record in caplog.records]
    assert len([line for line in said if "can't be seen" in line]) == 1
    assert len([line for line in said if "can be seen again" in line]) == 1
    assert any("failed" in line for line in said)


def test_workers_of_models_that_this_file_does_not_have_are_left_alone() -> None:
    """Replicas may have different files for a moment: one ignores what only the other knows."""

    async def run() -> None:
        store = MemoryOverrideStore()
        async with kept(store) as (fleet, keeper):
            await keeper.change(lambda held: held.add(AddedWorker(ModelName("other"), "http://b:2")))
            assert names(fleet) == ["a:1"]

    asyncio.run(run())


class RacedStore(MemoryOverrideStore):
    """Somebody else is faster so many times."""

    def __init__(self, races: int) -> None:
        super().__init__()
        self.races = races

    async def replace(self, new: Overrides) -> bool:
        if self.races:
            self.races -= 1
            held = await self.read()
            other = AddedWorker(MODEL, f"http://other:{self.races + 1}")
            assert await super().replace(Overrides(held.version + 1, (*held.added, other), held.drained))
            return False
        return await super().replace(new)


def test_changes_made_at_the_same_time_are_both_kept() -> None:
    """Who was slower decides again on what is there now; after many times it says so."""

    async def run() -> None:
        made = await change_overrides(RacedStore(3), lambda held: held.add(NEW))
        assert len(made.added) == 4
        assert made.version == 4
        with pytest.raises(Conflict, match="try again"):
            await change_overrides(RacedStore(100), lambda held: held.add(NEW))

    asyncio.run(run())


def test_a_change_that_changes_nothing_is_not_written() -> None:
    """Its version stays."""

    async def run() -> None:
        store = MemoryOverrideStore()
        first = await change_overrides(store, lambda held: held.drain(WorkerId("a:1")))
        assert await change_overrides(store, lambda held: held.drain(WorkerId("a:1"))) is first
        assert not await store.replace(Overrides(version=9))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("full", "edit"),
    [
        (Overrides(added=(NEW,) * MAX_ADDED), lambda held: held.add(NEW)),
        (
            Overrides(drained=tuple(WorkerId(f"w:{n}") for n in range(MAX_DRAINED))),
            lambda held: held.drain(WorkerId("a")),
        ),
    ],
    ids=["added", "drained"],
)
def test_there_is_an_end_to_changes(full: Overrides, edit: Callable[[Overrides], Overrides]) -> None:
    """What is kept is bounded; the error says what to do."""
    with pytest.raises(Conflict, match="already"):
        edit(full)
