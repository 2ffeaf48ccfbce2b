"""The Redis store against the naive model: the real scripts on a real redis-server, at a driven time."""

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.driven_redis import DrivenRedisStore, patience
from tests.support.limit_rules import StoreRules
from tests.support.limit_store_suite import StoreBench
from tests.support.redis_server import RedisServer

_SERVERS: list[RedisServer] = []


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """Hypothesis makes the machines, so they find the server by its place."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(patience())
        _SERVERS.append(stack.enter_context(RedisServer()))
        yield
        _SERVERS.clear()


class RedisStoreRules(StoreRules):
    """On Redis."""

    def make_bench(self) -> StoreBench:
        self.driven = DrivenRedisStore(_SERVERS[0])
        return StoreBench(self.driven.store, self.driven.clock, self.driven.run)

    def teardown(self) -> None:
        self.driven.close()


TestRedisStore = RedisStoreRules.TestCase
TestRedisStore.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
