"""The Redis store on a real redis-server: the suite of all stores, and what only Redis can do."""

import asyncio
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from gateway.ratelimit.redis_store import build_redis_store
from gateway.ratelimit.store import LeaseId, StoreUnavailableError
from tests.support.driven_redis import DrivenRedisStore, patience
from tests.support.limit_store_suite import StoreBench, StoreSuite, limit_set, window
from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as process, patience():
        yield process


@pytest.fixture
def driven(server: RedisServer) -> Iterator[DrivenRedisStore]:
    driven = DrivenRedisStore(server)
    yield driven
    driven.close()


@pytest.fixture
def bench(driven: DrivenRedisStore) -> StoreBench:
    return StoreBench(driven.store, driven.clock, driven.run)


class TestRedisStore(StoreSuite):
    """On Redis, with a driven clock."""

    def test_a_clock_that_goes_back_a_little_stands_still(self, bench: StoreBench) -> None:
        """No request is admitted twice in the time that comes again, and settling finds its bucket."""
        limits = limit_set(window("requests", 2), window("tokens", 100))
        taken = bench.reserve(limits, 90)
        bench.clock.advance_ms(-20_000)
        again = bench.reserve(limits, 10)
        assert again.verdict.granted
        assert again.verdict.used == (2, 100)
        assert not bench.reserve(limits).verdict.granted
        bench.settle(taken, 5)
        bench.settle(again, 5)
        assert bench.used(limits) == (2, 10)
        bench.clock.advance_ms(20_000 + 61_000)
        assert bench.used(limits) == (0, 0)

    def test_a_clock_that_goes_back_far_counts_everything_as_of_now(self, bench: StoreBench) -> None:
        """The limit holds, and ends a window later instead of when the clock has caught up."""
        limits = limit_set(window("requests", 2), window("tokens", 100))
        taken = bench.reserve(limits, 90)
        bench.reserve(limits, 0)
        bench.clock.advance_ms(-86_400_000)
        assert not bench.reserve(limits, 1).verdict.granted
        bench.settle(taken, 5)
        assert bench.used(limits) == (2, 5)
        bench.clock.advance_ms(61_000)
        assert bench.used(limits) == (0, 0)

    def test_settling_takes_nothing_from_a_window_made_after_the_reservation(
        self, bench: StoreBench, server: RedisServer
    ) -> None:
        """Redis has lost what was reserved: giving it back would give back what others have used."""
        limits = limit_set(window("tokens", 100))
        taken = bench.reserve(limits, 90)
        with server.client() as client:
            client.flushall()
        bench.clock.now_us += 1
        bench.reserve(limits, 95)
        bench.settle(taken, 0, requests=0)
        assert bench.used(limits) == (95,)

    def test_forgotten_scripts_are_sent_again(self, bench: StoreBench, server: RedisServer) -> None:
        """A flushed script cache is nothing a request notices."""
        limits = limit_set(window("tokens", 100))
        taken = bench.reserve(limits, 10)
        with server.client() as client:
            client.script_flush()
        assert bench.reserve(limits, 10).verdict.granted
        with server.client() as client:
            client.script_flush()
        bench.settle(taken, 3)
        bench.used(limits)  # answered after the settle's refusal, so the next call comes after the settle
        assert bench.used(limits) == (13,)

    def test_every_key_expires_after_two_windows(self, bench: StoreBench, server: RedisServer) -> None:
        """Nothing stays of a tenant that has gone; all keys of a tenant share a hash tag."""
        bench.reserve(limit_set(window("requests", 9), window("tokens", 9, length_us=3_600_000_000), live=2), 1)
        with server.client() as client:
            left_s = {key: client.pttl(key) / 1000 for key in client.keys("{gw*")}
        assert {key: round(left, -1) for key, left in left_s.items()} == {
            "{gw:acme}:w:requests:60000000": 120,
            "{gw:acme}:w:tokens:3600000000": 7200,
            "{gw:acme}:t:live": 30,
            "{gw}:replicas": 30,
        }

    def test_a_cancelled_reservation_is_given_back(self, bench: StoreBench, driven: DrivenRedisStore) -> None:
        """Whether the client left before or after the answer came in."""
        limits = limit_set(window("requests", 5), window("tokens", 100), live=5)

        async def leave(turns: int) -> None:
            task = asyncio.create_task(driven.store.reserve(limits, 10, LeaseId(f"gone-{turns}")))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.02)

        async def leave_as_the_answer_comes() -> None:
            task = asyncio.create_task(driven.store.reserve(limits, 10, LeaseId("late")))
            await asyncio.sleep(0)
            link: Any = driven.store._transport._link  # type: ignore[attr-defined]
            answer = link._answer

            def answer_and_cancel(call: object, reply: object) -> None:
                answer(call, reply)
                task.cancel()

            link._answer = answer_and_cancel
            with pytest.raises(asyncio.CancelledError):
                await task
            link._answer = answer
            await asyncio.sleep(0.02)

        for turns in range(1, 4):
            driven.run(leave(turns))
        driven.run(leave_as_the_answer_comes())
        assert bench.used(limits) == (0, 0)
        assert bench.reserve(limits).verdict.held == (1,)


def test_counts_by_the_clock_of_redis(server: RedisServer) -> None:
    """The time in a verdict is Redis' own, between two moments of this machine's clock."""

    async def reserve() -> int:
        store = build_redis_store(server.url, prefix="real", replica="a", rng=random.Random(1))
        await store.open()
        try:
            taken = await store.reserve(limit_set(window("requests", 9)), 0, LeaseId("one"))
            return taken.verdict.at_us
        finally:
            await store.close()

    before = time.time()
    at_us = asyncio.run(reserve())
    assert before <= at_us / 1_000_000 <= time.time()


def test_replicas_know_of_each_other(server: RedisServer) -> None:
    """Each counts itself and the others; one that closes is gone at once."""

    async def meet() -> list[int]:
        stores = [build_redis_store(server.url, prefix="meet", replica=name, rng=random.Random(1)) for name in "abc"]
        for store in stores:
            await store.open()
        seen = [store.replicas for store in stores]
        await stores[1].close()
        await stores[0]._heartbeat()
        seen.append(stores[0].replicas)
        await stores[0].close()
        await stores[2].close()
        return seen

    assert asyncio.run(meet()) == [1, 2, 3, 2]


def test_a_burst_in_one_turn_of_the_loop_gets_what_there_is(server: RedisServer) -> None:
    """All calls leave as one; each has its own answer. On the event loop that the gateway runs on."""

    async def burst() -> int:
        store = build_redis_store(server.url, prefix="burst", replica="a", rng=random.Random(1))
        await store.open()
        limits = limit_set(window("requests", 100))
        taken = await asyncio.gather(*(store.reserve(limits, 0, LeaseId(f"lease-{n}")) for n in range(300)))
        await store.close()
        return sum(one.verdict.granted for one in taken)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(burst()) == 100


def test_an_error_of_one_call_is_that_calls_alone(server: RedisServer) -> None:
    """A key that somebody else has filled with something else: others' limits go on."""

    async def run() -> bool:
        store = build_redis_store(server.url, prefix="odd", replica="a", rng=random.Random(1))
        await store.open()
        with server.client() as client:
            client.set("{odd:acme}:w:requests:60000000", "text")
        with pytest.raises(StoreUnavailableError):
            await store.reserve(limit_set(window("requests", 9)), 0, LeaseId("one"))
        assert store.up
        other = await store.reserve(limit_set(window("requests", 9), tenant="other"), 0, LeaseId("two"))
        await store.close()
        return other.verdict.granted

    assert asyncio.run(run())
