"""The fleet follows what the admin API has changed, here and on other replicas."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.config.load import parse_settings
from gateway.config.model import Discovered
from gateway.errors import Conflict
from gateway.routing.catalog import VARIANTS
from gateway.routing.discovery.endpoint import Endpoint, Publish
from gateway.routing.discovery.keeper import FORGET_S, FleetKeeper
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

    def forget(self) -> None:
        """Lose everything."""
        self._held = Overrides()

    async def looked(self) -> None:
        """Returns after the next look was answered and followed."""
        for _ in range(2):
            self.read_again.clear()
            await self.read_again.wait()


@asynccontextmanager
async def kept(store: MemoryOverrideStore) -> AsyncGenerator[tuple[Fleet, FleetKeeper]]:
    fleet = build_fleet(SETTINGS, created=0)
    async with FleetKeeper(fleet, SETTINGS, store, rng=random.Random(1), poll_s=0.0) as keeper:
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


def test_a_store_that_is_away_changes_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the start, not later: workers stay as they were; it is logged once, and once when it is back."""
    monkeypatch.setattr("gateway.routing.discovery.keeper.RESTART_S", 0.0)

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


def test_a_store_that_has_forgotten_is_told_again() -> None:
    """A Redis that comes back empty must not put drained workers into use, nor take added ones away."""

    async def run() -> None:
        store = SharedStore()
        async with kept(store) as (here, keeper), kept(store) as (there, _):
            await keeper.change(lambda held: held.add(NEW).drain(WorkerId("a:1")))
            for _ in range(2):
                await store.looked()
            before = await store.read()
            store.forget()
            for _ in range(4):
                await store.looked()
            assert await store.read() == before
            for fleet in (here, there):
                assert [(worker.id, worker.draining) for _, worker in fleet.workers()] == [
                    ("a:1", True),
                    ("b:2", False),
                ]

    asyncio.run(run())


class FakeSource:
    """Publishes what a test tells it to."""

    def __init__(self, settings: Discovered, publish: Publish) -> None:
        self.settings = settings
        self.publish = publish
        self.problem = ""
        self.failures = 0
        self.runs = 0
        self.running = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if self.runs <= self.failures:
            raise RuntimeError("a bug")
        self.running.set()
        await asyncio.Event().wait()

    def tell(self, *hosts: str) -> None:
        self.publish(frozenset(Endpoint(host, 8000) for host in hosts))


class Found:
    """A fleet whose model has a listed worker, a name and a Service; the time is told by the test."""

    def __init__(self) -> None:
        text = """
models:
- name: gemma-3-4b-it
  workers:
  - {url: "http://a:8000"}
  - {dns: vllm, port: 8000, weight: 2}
  - {kubernetes: {service: vllm, namespace: models}}
"""
        self.settings = parse_settings(text, {}, VARIANTS).models
        self.fleet = build_fleet(self.settings, created=0)
        self.made: list[FakeSource] = []
        self.store = SharedStore()
        self.now_s = 0.0
        self.keeper = FleetKeeper(
            self.fleet,
            self.settings,
            self.store,
            rng=random.Random(1),
            make_source=self._make,
            clock=lambda: self.now_s,
            poll_s=0.0,
        )
        self.name, self.service = self.made

    def _make(self, settings: Discovered, publish: Publish) -> FakeSource:
        self.made.append(FakeSource(settings, publish))
        return self.made[-1]

    @property
    def workers(self) -> dict[str, str]:
        return {worker.id.removesuffix(":8000"): worker.source for _, worker in self.fleet.workers()}


def test_every_source_brings_its_workers() -> None:
    """Each worker once, whoever tells of it; it leaves when nobody does, and the file's stays."""

    async def run() -> None:
        found = Found()
        found.name.tell("b", "c")
        found.service.tell("c", "d", "a")
        assert found.workers == {"a": "file", "b": "dns", "c": "dns", "d": "kubernetes"}
        weights = {worker.id: worker.weight for _, worker in found.fleet.workers()}
        assert (weights[WorkerId("b:8000")], weights[WorkerId("d:8000")]) == (2.0, 1.0)
        found.name.tell("b")
        assert found.workers == {"a": "file", "b": "dns", "c": "kubernetes", "d": "kubernetes"}
        found.service.tell()
        found.name.tell()
        assert found.workers == {"a": "file"}
        assert [(each.kind, each.name, each.problem) for each in found.keeper.sources] == [
            ("dns", "vllm", ""),
            ("kubernetes", "models/vllm", ""),
        ]

    asyncio.run(run())


def test_the_start_waits_for_what_sources_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until each has told, for a moment; a source that fails is begun again, and nothing it told is lost."""
    monkeypatch.setattr("gateway.routing.discovery.keeper.RESTART_S", 0.0)

    async def run() -> None:
        found = Found()
        found.service.failures = 2
        opening = asyncio.create_task(found.keeper.__aenter__())
        await found.name.running.wait()
        await found.service.running.wait()
        assert found.service.runs == 3
        found.name.tell("b")
        await asyncio.sleep(0)
        assert not opening.done()
        found.service.tell("c")
        await opening
        assert found.workers == {"a": "file", "b": "dns", "c": "kubernetes"}
        await found.keeper.__aexit__(None, None, None)

    asyncio.run(run())


def test_the_start_goes_on_without_a_source_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway serves with the workers it knows."""
    monkeypatch.setattr("gateway.routing.discovery.keeper.START_WAIT_S", 0.0)

    async def run() -> None:
        async with Found().keeper:
            pass

    asyncio.run(run())


def test_a_drained_worker_that_is_long_gone_is_forgotten() -> None:
    """Its address may be another's one day; one that is back in time is still drained, as is one that never left."""

    async def run() -> None:
        found = Found()
        async with found.keeper:
            found.service.tell("b", "c")
            found.name.tell()
            await found.keeper.change(
                lambda held: held.drain(WorkerId("a:8000")).drain(WorkerId("b:8000")).drain(WorkerId("c:8000"))
            )
            found.service.tell("c")
            found.now_s += FORGET_S - 1
            for _ in range(3):
                await found.store.looked()
            found.service.tell("b", "c")
            assert all(worker.draining for _, worker in found.fleet.workers())
            found.service.tell("c")
            found.now_s += FORGET_S
            for _ in range(3):
                await found.store.looked()
            assert (await found.store.read()).drained == ("a:8000", "c:8000")
            found.service.tell("b", "c")
            assert {w.id: w.draining for _, w in found.fleet.workers()} == {
                "a:8000": True,
                "b:8000": False,
                "c:8000": True,
            }

    asyncio.run(run())


def test_an_adapter_has_what_its_base_finds() -> None:
    """One source for both: its workers are the base's and the adapter's."""

    async def run() -> None:
        text = f"models: [{{name: {MODEL}, adapters: [sql], workers: [{{dns: vllm, port: 8000}}]}}]"
        settings = parse_settings(text, {}, VARIANTS).models
        fleet, made = build_fleet(settings, created=0), list[FakeSource]()

        def make(settings: Discovered, publish: Publish) -> FakeSource:
            made.append(FakeSource(settings, publish))
            return made[-1]

        FleetKeeper(fleet, settings, MemoryOverrideStore(), rng=random.Random(1), make_source=make)
        (source,) = made
        source.tell("b")
        assert [[worker.id for worker in model.workers] for model in fleet.models] == [["b:8000"]] * 2

    asyncio.run(run())


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

    async def replace(self, new: Overrides, *, of_version: int) -> bool:
        if self.races:
            self.races -= 1
            held = await self.read()
            other = AddedWorker(MODEL, f"http://other:{self.races + 1}")
            faster = Overrides(held.version + 1, (*held.added, other), held.drained)
            assert await super().replace(faster, of_version=held.version)
            return False
        return await super().replace(new, of_version=of_version)


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
        assert not await store.replace(Overrides(version=9), of_version=8)

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
