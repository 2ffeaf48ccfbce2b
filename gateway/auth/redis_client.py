"""Connections to Redis for what isn't on the path of a request: keys, usage, the admin API."""

from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.config.model import RedisSettings

CONNECT_TIMEOUT_S: Final = 0.5
SOCKET_TIMEOUT_S: Final = 1.0
MAX_CONNECTIONS: Final = 64


def open_redis(settings: RedisSettings) -> Redis:
    """Return a client, not connected yet; whoever owns it closes it with `aclose`. Its user decides what to retry."""
    return Redis.from_url(
        settings.url.reveal(),
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        max_connections=MAX_CONNECTIONS,
        client_name="gemma-gateway",
        protocol=2,
    )
