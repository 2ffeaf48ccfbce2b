"""Usage is counted per tenant, key and model, once, in the bucket of its minute."""

import asyncio

import pytest

from gateway.observability.record import RequestRecord
from gateway.observability.usage import (
    KEPT,
    LENGTH_S,
    Counts,
    MemoryUsageStore,
    Subject,
    UsageBatch,
    UsageRecorder,
    UsageUnavailableError,
    bucket_starts,
    total,
)
from gateway.values import KeyId, ModelName, RequestId, TenantId, Usage

START_S = 1_800_000_000 - 1_800_000_000 % 86_400
ACME, CI, SMALL = TenantId("acme"), KeyId("ci"), ModelName("small")


def record(status: int = 200, usage: Usage | None = None, **fields: object) -> RequestRecord:
    """A request of acme's key that has ended."""
    known = {"tenant": ACME, "key": CI, "model": SMALL, **fields}
    return RequestRecord(RequestId("r"), "chat", 0.0, status=status, usage=usage, **known)  # type: ignore[arg-type]


class WeakStore(MemoryUsageStore):
    """Can be away, and can take a batch without its answer getting through."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.answers_lost = 0

    async def add(self, batch: UsageBatch) -> None:
        if self.away:
            raise UsageUnavailableError("away")
        await super().add(batch)
        if self.answers_lost:
            self.answers_lost -= 1
            raise UsageUnavailableError("lost")


class World:
    """A recorder with a driven clock."""

    def __init__(self) -> None:
        self.now_s = float(START_S)
        self.store = WeakStore()
        self.recorder = UsageRecorder(self.store, now_s=lambda: self.now_s)

    async def minutes(self) -> dict[int, Counts]:
        """What each minute has, by number since the start."""
        starts = [START_S + 60 * minute for minute in range(120)]
        rows = await self.store.read("minute", starts, None)
        return {(row.start_s - START_S) // 60: row.counts for row in rows}


def test_requests_are_counted_by_who_and_what() -> None:
    """Refused and aborted ones are errors; those of nobody aren't counted."""

    async def run() -> None:
        world = World()
        world.recorder.record(record(usage=Usage(10, 5, 4)))
        world.recorder.record(record(usage=Usage(1, 2)))
        world.recorder.record(record(429, model=None))
        world.recorder.record(record(200, error="worker_error", key=KeyId("other")))
        world.recorder.record(record(401, tenant=None, key=None))
        await world.recorder.flush()
        for granularity in LENGTH_S:
            rows = {row.subject: row.counts for row in await world.store.read(granularity, [START_S], ACME)}
            assert rows == {
                Subject(ACME, CI, SMALL): Counts(2, 11, 7, 4, 0),
                Subject(ACME, CI, ModelName("none")): Counts(1, 0, 0, 0, 1),
                Subject(ACME, KeyId("other"), SMALL): Counts(1, 0, 0, 0, 1),
            }
        assert await world.store.read("day", [START_S], TenantId("nobody")) == []

    asyncio.run(run())


def test_each_minute_has_its_own() -> None:
    """However late it is given to the store."""

    async def run() -> None:
        world = World()
        for minute in (0, 0, 1, 3):
            world.now_s = START_S + 60 * minute + 59
            world.recorder.record(record())
        await world.recorder.flush()
        assert {m: c.requests for m, c in (await world.minutes()).items()} == {0: 2, 1: 1, 3: 1}

    asyncio.run(run())


def test_nothing_is_lost_and_nothing_counted_twice() -> None:
    """A store that is away, and one whose answers get lost."""

    async def run() -> None:
        world = World()
        world.store.away = True
        for second in range(200):
            world.now_s = START_S + second
            world.recorder.record(record())
            with pytest.raises(UsageUnavailableError):
                await world.recorder.flush()
        world.store.away = False
        world.store.answers_lost = 3
        for _ in range(3):
            world.recorder.record(record())
            with pytest.raises(UsageUnavailableError):
                await world.recorder.flush()
        await world.recorder.flush()
        counts = await world.minutes()
        assert {m: c.requests for m, c in counts.items()} == {0: 60, 1: 60, 2: 60, 3: 23}

    asyncio.run(run())


def test_the_last_moments_are_stored_too() -> None:
    """A recorder that is closed gives what it has."""

    async def run() -> None:
        world = World()
        async with world.recorder:
            world.recorder.record(record())
        assert (await world.minutes())[0].requests == 1

    asyncio.run(run())


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """New names are dropped; those that are counted already go on."""
    monkeypatch.setattr("gateway.observability.usage.MAX_PENDING", 2)

    async def run() -> None:
        world = World()
        for key in ("a", "b", "c", "a"):
            world.recorder.record(record(key=KeyId(key)))
        await world.recorder.flush()
        rows = await world.store.read("day", [START_S], None)
        assert {row.subject.key: row.counts.requests for row in rows} == {"a": 2, "b": 1}
        assert total(rows).requests == 3

    asyncio.run(run())


def test_old_buckets_are_forgotten() -> None:
    """As many as are kept stay."""

    async def run() -> None:
        store = MemoryUsageStore()
        subject = Subject(ACME, CI, SMALL)
        for number in range(KEPT["minute"] + 5):
            await store.add(UsageBatch("a", number, START_S + 60 * number, ((subject, Counts(1)),)))
        starts = [START_S + 60 * number for number in range(KEPT["minute"] + 5)]
        assert len(await store.read("minute", starts, None)) == KEPT["minute"]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("from_s", "to_s", "buckets"),
    [
        (0, 1e12, list(range(-71, 1))),
        (-1, 1, [-1, 0]),
        (0, 0, []),
        (0, 1, [0]),
        (-7200, 0, [-2, -1]),
        (-7199, -1, [-2, -1]),
        (100 * 3600, 200 * 3600, []),
    ],
)
def test_which_buckets_a_time_has(from_s: float, to_s: float, buckets: list[int]) -> None:
    """Those that overlap it, as far as they are kept; the end doesn't count."""
    offset = 0 if from_s == 0 and to_s == 1e12 else START_S
    starts = bucket_starts("hour", from_s + offset, to_s + START_S, START_S + 10)
    assert [(start - START_S) // 3600 for start in starts] == buckets
