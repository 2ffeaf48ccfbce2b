"""What happens when the shared store is gone: each way of `redis.on_failure`."""

import asyncio
import logging
from collections.abc import Callable, Iterable

import pytest

from gateway.config.model import OnFailure
from gateway.ratelimit.failover_store import FailoverStore
from gateway.ratelimit.memory_store import MemoryStore
from gateway.ratelimit.policy import LimitSet
from gateway.ratelimit.store import LeaseId, StoreUnavailableError, Taken
from tests.support.driven_clock import DrivenClock
from tests.support.limit_store_suite import limit_set, window


class FakeShared(MemoryStore):
    """A shared store that a test takes away and brings back."""

    def __init__(self, clock: DrivenClock) -> None:
        super().__init__(clock)
        self.mode = "shared"
        self.up = False
        self.problem = "not connected yet"
        self.replicas = 4
        self.fails = False
        self._changed: Callable[[], None] = lambda: None

    def watch(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    async def open(self) -> None:
        self.turn(up=True)

    def turn(self, *, up: bool) -> None:
        self.up, self.problem = up, "" if up else "connection lost"
        self._changed()

    async def reserve(self, limits: LimitSet, tokens: int, lease: LeaseId) -> Taken:
        if self.fails:
            raise StoreUnavailableError("no answer")
        return await super().reserve(limits, tokens, lease)


class Bench:
    """A failover store with its parts."""

    def __init__(self, on_failure: OnFailure) -> None:
        self.clock = DrivenClock()
        self.shared = FakeShared(self.clock)
        self.local = MemoryStore(self.clock)
        self.store = FailoverStore(self.shared, self.local, on_failure)
        asyncio.run(self.store.open())
        self._count = 0

    def reserve(self, limits: LimitSet, tokens: int = 0) -> Taken:
        self._count += 1
        return asyncio.run(self.store.reserve(limits, tokens, LeaseId(f"lease-{self._count}")))

    def renew(self, leases: Iterable[tuple[LimitSet, LeaseId]]) -> None:
        asyncio.run(self.store.renew(leases))


def test_the_shared_store_counts_while_it_is_there() -> None:
    """Nothing is counted here then."""
    bench = Bench("local")
    assert (bench.store.mode, bench.store.problem) == ("shared", "")
    assert bench.reserve(limit_set(window("requests", 8))).mode == "shared"
    assert not bench.local._counters


def test_local_allows_this_replicas_share() -> None:
    """Each limit divided by the replicas last seen; the numbers a client sees are those of the share."""
    bench = Bench("local")
    bench.shared.turn(up=False)
    limits = limit_set(window("requests", 8), live=40)
    granted = [bench.reserve(limits) for _ in range(3)]
    assert [taken.verdict.granted for taken in granted] == [True, True, False]
    assert granted[0].mode == bench.store.mode == "local"
    assert granted[0].limits.windows[0].amount == 2
    assert "connection lost" in bench.store.problem


def test_a_share_follows_the_number_of_replicas() -> None:
    """Those last seen when Redis went."""
    bench = Bench("local")
    limits = limit_set(window("requests", 8))
    for replicas, amount in ((4, 2), (1, 8), (1, 8)):
        bench.shared.replicas = replicas
        bench.shared.turn(up=False)
        assert bench.reserve(limits).limits.windows[0].amount == amount
        bench.shared.turn(up=True)


def test_open_admits_everything_uncounted() -> None:
    """The limit shows as untouched; settling has nothing to do."""
    bench = Bench("open")
    bench.shared.turn(up=False)
    taken = [bench.reserve(limit_set(window("requests", 1), live=1)) for _ in range(5)]
    assert all(one.verdict.granted and one.mode == "open" for one in taken)
    assert taken[-1].verdict.used == (0,)
    for one in taken:
        bench.store.settle(one, 1, 7)


def test_closed_refuses_everything() -> None:
    """Whether it is known to be gone or goes while a request waits."""
    bench = Bench("closed")
    bench.shared.fails = True
    with pytest.raises(StoreUnavailableError):
        bench.reserve(limit_set(window("requests", 1)))
    bench.shared.turn(up=False)
    with pytest.raises(StoreUnavailableError):
        bench.reserve(limit_set(window("requests", 1)))
    assert bench.store.mode == "closed"


@pytest.mark.parametrize("on_failure", ["local", "open"])
def test_a_call_that_fails_is_decided_the_same_way(on_failure: OnFailure) -> None:
    """The request that finds out doesn't pay for it."""
    bench = Bench(on_failure)
    bench.shared.fails = True
    assert bench.reserve(limit_set(window("requests", 8))).mode == on_failure


def test_what_was_counted_here_is_settled_here() -> None:
    """Also when the shared store is back by then; nothing is replayed to it."""
    bench = Bench("local")
    limits = limit_set(window("tokens", 400))
    bench.shared.turn(up=False)
    taken = bench.reserve(limits, 100)
    bench.shared.turn(up=True)
    bench.store.settle(taken, 1, 10)
    assert bench.reserve(limits, 400).verdict.granted
    bench.shared.turn(up=False)
    assert bench.reserve(limits, 90).verdict.used == (100,)


def test_leases_follow_whoever_counts() -> None:
    """Requests in flight go on when Redis goes and when it returns, and free their slots in both."""
    bench = Bench("local")
    limits = limit_set(live=4)
    shared_one = bench.reserve(limits)
    bench.shared.turn(up=False)
    bench.renew([(limits, shared_one.lease)])
    assert not bench.reserve(limits).verdict.granted
    bench.store.settle(shared_one, 1, 0)
    local_one = bench.reserve(limits)
    assert local_one.verdict.granted
    bench.shared.turn(up=True)
    bench.renew([(limits, local_one.lease)])
    assert bench.reserve(limits).verdict.held == (2,)
    bench.store.settle(local_one, 1, 0)
    assert bench.reserve(limits).verdict.held == (2,)


def test_changes_are_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One line each way: what rules now, and why."""
    bench = Bench("local")

    async def change() -> None:
        await bench.store.changed()
        bench.shared.turn(up=False)
        await bench.store.changed()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.store.changed(), 0.001)
        await bench.store.close()

    with caplog.at_level(logging.INFO, logger="gateway.ratelimit"):
        asyncio.run(change())
    assert "redis is gone (connection lost): limits are local until it is back, 1/4 of each here" in caplog.text


def test_starts_without_the_shared_store(caplog: pytest.LogCaptureFixture) -> None:
    """The line is there from the beginning."""
    clock = DrivenClock()

    class Absent(FakeShared):
        async def open(self) -> None:
            """It doesn't answer."""

    store = FailoverStore(Absent(clock), MemoryStore(clock), "closed")
    asyncio.run(store.open())
    assert "redis is gone (not connected yet): limits are closed" in caplog.text
    assert store.mode == "closed"
