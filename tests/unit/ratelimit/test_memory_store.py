"""The embedded store passes the suite of all stores, and forgets what nobody uses."""

import asyncio

import pytest

from gateway.ratelimit.memory_store import MemoryStore
from tests.support.driven_clock import DrivenClock
from tests.support.limit_store_suite import StoreBench, StoreSuite, limit_set, window


@pytest.fixture
def bench() -> StoreBench:
    clock = DrivenClock()
    return StoreBench(MemoryStore(clock), clock, asyncio.run)


class TestMemoryStore(StoreSuite):
    """On the embedded store."""

    def test_forgets_what_nobody_uses(self, bench: StoreBench) -> None:
        """Two windows after their last use, counters are gone; those in use stay."""
        for number in range(50):
            taken = bench.reserve(limit_set(window("requests", 5), live=5, tenant=f"tenant-{number}"))
            bench.settle(taken)
        day = limit_set(window("requests", 5, length_us=86_400_000_000), tenant="daily")
        bench.reserve(day)
        bench.clock.advance_ms(121_000)
        bench.reserve(day)
        assert len(bench.store._counters) == 1
        assert not bench.store._leases
        assert bench.used(day) == (2,)

    def test_nobody_else_ever_counts(self, bench: StoreBench) -> None:
        """The mode is fixed: waiting for another one ends only with the waiting."""

        async def wait() -> None:
            await bench.store.open()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(bench.store.changed(), 0.001)
            await bench.store.close()

        asyncio.run(wait())
