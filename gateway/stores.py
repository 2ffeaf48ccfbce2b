"""Where keys, tenants, usage and changes of workers are kept: Redis, or this process."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.auth.memory_key_store import MemoryKeyStore
from gateway.auth.store import KeyStore
from gateway.config.model import RedisSettings
from gateway.observability.usage import MemoryUsageStore, UsageStore
from gateway.routing.discovery.overrides import MemoryOverrideStore, OverrideStore
from gateway.routing.shared_load import LoadBoard


@dataclass(frozen=True, slots=True)
class Stores:
    """All but the limits', which have a connection of their own."""

    keys: KeyStore
    usage: UsageStore
    overrides: OverrideStore
    """What the admin API has changed about workers."""
    loads: LoadBoard | None
    """Where gateways tell each other what they have at the workers; None: there are no others."""
    close: Callable[[], Awaitable[None]]


def open_stores(redis: RedisSettings | None) -> Stores:
    """Return the stores; Redis isn't asked before they are used. Raises OSError for certificates that can't be read."""
    if redis is None:
        return Stores(MemoryKeyStore(), MemoryUsageStore(), MemoryOverrideStore(), None, _nothing)
    return _in_redis(redis)


async def _nothing() -> None:
    """End what needs no end."""


def _in_redis(redis: RedisSettings) -> Stores:
    # Imported here, as the driver takes a while and not every gateway has a Redis.
    from gateway.auth.redis_client import open_redis  # noqa: PLC0415
    from gateway.auth.redis_key_store import RedisKeyStore  # noqa: PLC0415
    from gateway.observability.redis_usage import RedisUsageStore  # noqa: PLC0415
    from gateway.routing.discovery.redis_overrides import RedisOverrideStore  # noqa: PLC0415
    from gateway.routing.redis_load_board import RedisLoadBoard  # noqa: PLC0415

    client = open_redis(redis)
    return Stores(
        RedisKeyStore(client, redis.prefix),
        RedisUsageStore(client, redis.prefix),
        RedisOverrideStore(client, redis.prefix),
        RedisLoadBoard(client, redis.prefix),
        client.aclose,
    )
