"""Redis stopped, paused, restarted empty: what requests meet, how long they wait, how soon it counts again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from gateway.config.model import OnFailure, RedisSettings, Secret
from gateway.ratelimit.build import build_store
from gateway.ratelimit.policy import LimitSet
from gateway.ratelimit.redis_store import build_redis_store
from gateway.ratelimit.store import LeaseId, Store, StoreUnavailableError, Taken
from tests.support.limit_store_suite import limit_set, window
from tests.support.own_time import with_own_time
from tests.support.redis_server import RedisServer

LONGEST_WAIT_S = 0.06
BACK_WITHIN_S = 2.0
LIMITS = limit_set(window("requests", 5), live=5)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as process:
        yield process


def store_of(server: RedisServer, on_failure: OnFailure = "local", replica: str = "a") -> Store:
    redis = RedisSettings(Secret(server.url), on_failure=on_failure)
    return build_store(redis, clock_us=lambda: time.monotonic_ns() // 1000, replica=replica, rng=random.Random(1))


async def reserve(store: Store, lease: str, limits: LimitSet = LIMITS) -> tuple[Taken | None, float]:
    """The reservation, None when the store refuses to decide, and how long it took."""

    async def decide() -> Taken | None:
        try:
            return await store.reserve(limits, 0, LeaseId(lease))
        except StoreUnavailableError:
            return None

    return await with_own_time(decide())


async def until_shared(store: Store) -> float:
    """How long it takes until Redis counts again."""
    began = time.monotonic()
    async with asyncio.timeout(5):
        while store.mode != "shared":
            await store.changed()
    return time.monotonic() - began


async def with_store(store: Store, test: Callable[[Store], Awaitable[None]]) -> None:
    await store.open()
    try:
        await test(store)
    finally:
        await store.close()


@pytest.mark.parametrize("on_failure", ["local", "open", "closed"])
@pytest.mark.parametrize("fault", ["stopped", "paused"])
def test_requests_are_decided_without_redis_and_soon_with_it_again(
    server: RedisServer, fault: str, on_failure: OnFailure
) -> None:
    """No request waits longer than its deadline; afterwards none waits at all; Redis is found again in time."""

    async def test(store: Store) -> None:
        (server.stop if fault == "stopped" else server.pause)()
        first = await asyncio.gather(*(reserve(store, f"first-{n}") for n in range(20)))
        assert max(took for _, took in first) <= LONGEST_WAIT_S
        later = [await reserve(store, f"later-{n}") for n in range(20)]
        assert max(took for _, took in later) <= LONGEST_WAIT_S
        mode: str = store.mode
        assert mode == on_failure
        assert store.problem
        granted = [taken for taken, _ in first + later if taken is not None and taken.verdict.granted]
        assert len(granted) == {"local": 5, "open": 40, "closed": 0}[on_failure]
        await asyncio.sleep(0.5)
        (server.start if fault == "stopped" else server.resume)()
        assert await until_shared(store) <= BACK_WITHIN_S
        assert store.problem == ""

    asyncio.run(with_store(store_of(server, on_failure), test))


def test_a_redis_that_comes_back_empty_gets_the_leases_again(server: RedisServer) -> None:
    """Requests in flight hold their slots; what was counted of windows is gone with Redis."""

    async def test(store: Store) -> None:
        held = [await reserve(store, f"held-{n}") for n in range(3)]
        server.stop()
        await asyncio.sleep(0.05)
        server.start()
        await until_shared(store)
        await store.renew([(LIMITS, taken.lease) for taken, _ in held if taken is not None])
        taken, _ = await reserve(store, "next")
        assert taken is not None
        assert taken.verdict.held == (4,)
        assert taken.verdict.used == (1,)

    asyncio.run(with_store(store_of(server), test))


def test_what_is_settled_while_redis_is_away_is_told_later(server: RedisServer) -> None:
    """A pause loses nothing but what was under way."""
    limits = limit_set(window("tokens", 1_000))

    async def test(store: Store) -> None:
        taken = await store.reserve(limits, 900, LeaseId("one"))
        server.pause()
        await reserve(store, "lost", LIMITS)
        assert store.mode == "local"
        store.settle(taken, 1, 100)
        server.resume()
        await until_shared(store)
        await asyncio.sleep(0.05)
        again = await store.reserve(limits, 800, LeaseId("two"))
        assert again.verdict.granted
        assert again.verdict.used == (900,)

    asyncio.run(with_store(store_of(server), test))


def test_a_share_is_that_of_the_replicas_last_seen(server: RedisServer) -> None:
    """Two replicas that have lost Redis admit no more than the limit between them."""
    limits = limit_set(window("requests", 10))

    async def run() -> list[int]:
        stores = [store_of(server, replica=name) for name in "ab"]
        for store in stores:
            await store.open()
        await stores[0]._shared._heartbeat()  # type: ignore[attr-defined]
        server.stop()
        admitted = []
        for store in stores:
            outcomes = [await reserve(store, f"{n}", limits) for n in range(12)]
            admitted.append(sum(taken is not None and taken.verdict.granted for taken, _ in outcomes))
        for store in stores:
            await store.close()
        return admitted

    assert asyncio.run(run()) == [5, 5]


def test_starts_before_redis_does(server: RedisServer) -> None:
    """The gateway serves by `on_failure` from its first request on."""
    server.stop()

    async def test(store: Store) -> None:
        assert store.mode == "local"
        taken, took = await reserve(store, "one")
        assert taken is not None
        assert took < LONGEST_WAIT_S
        server.start()
        assert await until_shared(store) <= BACK_WITHIN_S

    asyncio.run(with_store(store_of(server), test))


def test_a_slow_redis_counts_as_gone(server: RedisServer) -> None:
    """A command that keeps Redis busy for longer than the deadline; the connection is given up."""

    async def test(store: Store) -> None:
        with server.client() as client:
            busy = asyncio.to_thread(client.execute_command, "DEBUG", "SLEEP", "0.3")
            waiting = asyncio.ensure_future(busy)
            await asyncio.sleep(0.05)
            taken, took = await reserve(store, "one")
            assert taken is not None
            assert taken.mode == "local"
            assert took <= LONGEST_WAIT_S
            await waiting
        assert await until_shared(store) <= BACK_WITHIN_S

    with RedisServer(arguments=("--enable-debug-command", "yes")) as other:
        server = other
        asyncio.run(with_store(store_of(server), test))


def test_a_held_up_event_loop_is_not_taken_for_a_slow_redis(server: RedisServer) -> None:
    """The answer is there, unread: Redis isn't to blame."""

    async def test(store: Store) -> None:
        call = asyncio.ensure_future(reserve(store, "one"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.12)  # noqa: ASYNC251  # holds up the loop, which is the point
        taken, _ = await call
        assert taken is not None
        assert taken.mode == "shared"

    asyncio.run(with_store(store_of(server), test))


def test_the_settle_queue_is_bounded(server: RedisServer) -> None:
    """A long absence costs no memory without end; settling never fails."""

    async def run() -> int:
        store = build_redis_store(server.url, prefix="gw", replica="a", rng=random.Random(1))
        await store.open()
        taken = await store.reserve(limit_set(window("tokens", 10)), 5, LeaseId("one"))
        server.stop()
        await asyncio.sleep(0.1)
        for _ in range(20_000):
            store.settle(taken, 1, 1)
        waiting = len(store._queued)
        await store.close()
        return waiting

    assert asyncio.run(run()) == 10_000
