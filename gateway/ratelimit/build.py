"""The store that a configuration asks for."""

import random
from collections.abc import Callable

from gateway.config.model import RedisSettings
from gateway.ratelimit.failover_store import FailoverStore
from gateway.ratelimit.memory_store import MemoryStore
from gateway.ratelimit.store import Store


def build_store(redis: RedisSettings | None, *, clock_us: Callable[[], int], replica: str, rng: random.Random) -> Store:
    """Return the store; nothing is contacted before it is opened.

    `clock_us` never goes back: the embedded store's clock, and that of a replica which Redis has left alone. `replica`
    names this process among all that share the Redis. Raises OSError for certificates that can't be read.
    """
    local = MemoryStore(clock_us)
    if redis is None:
        return local
    # Here, as the driver takes a while to import and not every gateway has a Redis.
    from gateway.ratelimit.redis_store import build_redis_store  # noqa: PLC0415

    shared = build_redis_store(redis.url.reveal(), prefix=redis.prefix, replica=replica, rng=rng)
    return FailoverStore(shared, local, redis.on_failure)
