"""Usage of several replicas in one Redis: added up, counted once, gone when it is old."""

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from gateway.auth.redis_client import open_redis
from gateway.config.model import RedisSettings, Secret
from gateway.observability.record import RequestRecord
from gateway.observability.redis_usage import RedisUsageStore
from gateway.observability.usage import (
    KEPT,
    LENGTH_S,
    Counts,
    Granularity,
    Subject,
    UsageBatch,
    UsageRecorder,
    UsageUnavailableError,
    total,
)
from gateway.values import KeyId, ModelName, RequestId, TenantId, Usage
from tests.support.redis_server import RedisServer

DAY_S = 1_800_000_000 - 1_800_000_000 % 86_400
ACME, TEAM = TenantId("acme"), TenantId("team")
CI, SMALL = KeyId("ci"), ModelName("google/gemma-3-4b-it")


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """One for this module."""
    with RedisServer() as server:
        yield server


async def empty_client(server: RedisServer) -> Redis:
    client = open_redis(RedisSettings(Secret(server.url)))
    await client.flushall()
    return client


def test_replicas_add_up(redis_server: RedisServer) -> None:
    """In every bucket; a tenant's own and everybody's."""

    async def run() -> None:
        client = await empty_client(redis_server)
        store = RedisUsageStore(client, "test")
        for source in ("one", "two"):
            batch = UsageBatch(
                source,
                1,
                DAY_S + 3660,
                (
                    (Subject(ACME, CI, SMALL), Counts(2, 30, 20, 10, 1)),
                    (Subject(TEAM, CI, SMALL), Counts(1, 0, 0, 0, 0)),
                ),
            )
            await store.add(batch)
            await store.add(batch)  # its answer was lost
        starts: dict[Granularity, int] = {"minute": DAY_S + 3660, "hour": DAY_S + 3600, "day": DAY_S}
        for granularity, start_s in starts.items():
            (row,) = await store.read(granularity, [start_s - 86_400, start_s, start_s + 86_400], ACME)
            assert row == (start_s, Subject(ACME, CI, SMALL), Counts(4, 60, 40, 20, 2))
            assert total(await store.read(granularity, [start_s], None)).requests == 6
        await client.aclose()

    asyncio.run(run())


def test_many_subjects_are_added_in_parts(redis_server: RedisServer) -> None:
    """None is missing, none counted twice."""

    async def run() -> None:
        client = await empty_client(redis_server)
        store = RedisUsageStore(client, "test")
        counts = tuple((Subject(ACME, KeyId(f"k{number}"), SMALL), Counts(1, number)) for number in range(500))
        for _ in range(2):
            await store.add(UsageBatch("one", 1, DAY_S, counts))
        await store.add(UsageBatch("one", 2, DAY_S, counts[:60]))
        rows = await store.read("hour", [DAY_S], ACME)
        assert len(rows) == 500
        assert total(rows) == Counts(560, sum(range(500)) + sum(range(60)))
        await client.aclose()

    asyncio.run(run())


def test_every_key_expires(redis_server: RedisServer) -> None:
    """Buckets a while after they are no longer shown, the rest with them."""

    async def run() -> None:
        client = await empty_client(redis_server)
        await RedisUsageStore(client, "test").add(UsageBatch("one", 1, DAY_S, ((Subject(ACME, CI, SMALL), Counts(1)),)))
        lives = {key.decode(): await client.ttl(key) async for key in client.scan_iter()}
        assert all(0 < life_s <= 102 * 86_400 for life_s in lives.values()), lives
        for granularity, length_s in LENGTH_S.items():
            (life_s,) = [life_s for key, life_s in lives.items() if f":{granularity}:" in key]
            assert KEPT[granularity] * length_s < life_s < (KEPT[granularity] + 2) * length_s + 300
        await client.aclose()

    asyncio.run(run())


def test_a_redis_that_goes_and_returns_loses_nothing(redis_server: RedisServer) -> None:
    """Of what it wasn't given yet; a recorder that closes has given everything."""

    async def run() -> None:
        client = await empty_client(redis_server)
        store = RedisUsageStore(client, "test")
        now_s = float(DAY_S)
        recorder = UsageRecorder(store, now_s=lambda: now_s)

        def record() -> None:
            usage = Usage(5, 7, 1)
            recorder.record(
                RequestRecord(RequestId("r"), "chat", 0, key=CI, tenant=ACME, model=SMALL, status=200, usage=usage)
            )

        async with recorder:
            redis_server.stop()
            for _ in range(3):
                record()
                with pytest.raises(UsageUnavailableError):
                    await recorder.flush()
                now_s += 60
            redis_server.start()
            record()
        rows = await store.read("minute", [DAY_S + 60 * minute for minute in range(4)], ACME)
        assert [row.counts for row in rows] == [Counts(1, 5, 7, 1)] * 4
        await client.aclose()

    asyncio.run(run())
