"""The embedded store against the naive model, whatever is reserved, settled, renewed, and however time goes on."""

import asyncio

from hypothesis import settings

from gateway.ratelimit.memory_store import MemoryStore
from tests.support.driven_clock import DrivenClock
from tests.support.limit_rules import StoreRules
from tests.support.limit_store_suite import StoreBench


class MemoryStoreRules(StoreRules):
    """On the embedded store."""

    def make_bench(self) -> StoreBench:
        self.runner = asyncio.Runner()
        clock = DrivenClock()
        return StoreBench(MemoryStore(clock), clock, self.runner.run)

    def teardown(self) -> None:
        self.runner.close()


TestMemoryStore = MemoryStoreRules.TestCase
TestMemoryStore.settings = settings(stateful_step_count=40, deadline=None)
