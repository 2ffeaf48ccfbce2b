"""The Redis store with a driven clock: the scripts are the real ones, only what tells them the time is another.

In place of `clock.lua`, which asks `TIME`, the head of the scripts reads a key that the test sets.
"""

import asyncio
import contextlib
import random
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from gateway.config.redis_url import parse_redis_url
from gateway.ratelimit import redis_cluster, redis_link, redis_server
from gateway.ratelimit.redis_scripts import LUA, load_scripts
from gateway.ratelimit.redis_store import RedisStore
from tests.support.driven_clock import DrivenClock
from tests.support.redis_server import RedisServer

CLOCK_KEY = "test:clock"
PATIENCE_S = 5.0
T = TypeVar("T")


@contextlib.contextmanager
def patience() -> Iterator[None]:
    """A longer deadline for Redis, where deadlines aren't the subject: a busy machine makes it wait for its turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_link, "DEADLINE_S", PATIENCE_S)
        patch.setattr(redis_cluster, "DEADLINE_S", PATIENCE_S)
        for module in (redis_link, redis_server, redis_cluster):
            patch.setattr(module, "CONNECT_TIMEOUT_S", PATIENCE_S)
        yield


def driven_clock_lua() -> str:
    """The head of the scripts with another body of `clock_us`."""
    head = (LUA / "clock.lua").read_text()
    body = head[head.index("  local time") : head.index("end\n")]
    driven = f"  return tonumber(redis.call('GET', '{CLOCK_KEY}'))\n"
    assert head.count(body) == 1
    return head.replace(body, driven)


class DrivenRedisStore:
    """A store on an emptied server, with its loop. `run` first tells the server the time."""

    def __init__(self, server: RedisServer) -> None:
        self.clock = DrivenClock()
        self._client = server.client()
        self._client.flushall()
        self._tell_time()
        self._runner = asyncio.Runner()
        scripts = load_scripts(driven_clock_lua())
        transport = redis_server.RedisServer(parse_redis_url(server.url), scripts)
        self.store = RedisStore(transport, scripts, prefix="gw", replica="a", rng=random.Random(1))
        self._runner.run(self.store.open())
        assert self.store.up, self.store.problem

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self._tell_time()
        return self._runner.run(coroutine)

    def close(self) -> None:
        self._runner.run(self.store.close())
        self._runner.close()
        self._client.close()

    def _tell_time(self) -> None:
        self._client.set(CLOCK_KEY, self.clock.now_us)
