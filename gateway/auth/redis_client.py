"""Connections to Redis for what isn't on the path of a request: keys, usage, the admin API."""

from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from gateway.config.model import RedisSettings
from gateway.config.redis_url import RedisTarget, parse_redis_url

CONNECT_TIMEOUT_S: Final = 0.5
SOCKET_TIMEOUT_S: Final = 1.0
MAX_CONNECTIONS: Final = 64


def open_redis(settings: RedisSettings) -> Redis:
    """Return a client, not connected yet; whoever owns it closes it with `aclose`. Its user decides what to retry.

    All keys of one call must have one hash tag: the URL may be a cluster's.
    """
    target = parse_redis_url(settings.url.reveal())
    options: dict[str, Any] = {
        "username": target.username,
        "password": target.password,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": MAX_CONNECTIONS,
        "client_name": "gemma-gateway",
        "protocol": 2,
        **target.redis_py_tls(),
    }
    match target.kind:
        case "cluster":
            nodes = [ClusterNode(host, port) for host, port in target.hosts]
            return cast("Redis", RedisCluster(startup_nodes=nodes, **options))
        case "sentinel":
            return _behind_sentinels(target, options)
        case "server" if target.path:
            return Redis(unix_socket_path=target.path, db=target.db, **options)
        case "server":
            ((host, port),) = target.hosts
            return Redis(host=host, port=port, db=target.db, **options)


def _behind_sentinels(target: RedisTarget, options: dict[str, Any]) -> Redis:
    timeout_s = CONNECT_TIMEOUT_S / len(target.hosts)
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]  # redis-py says nothing of its types
        list(target.hosts),
        sentinel_kwargs={
            "username": target.options.get("sentinel_username"),
            "password": target.options.get("sentinel_password"),
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            **target.redis_py_tls(),
        },
    )
    client = sentinel.master_for(target.service, connection_pool_class=_MasterPool, db=target.db, **options)
    return cast("Redis", client)


class _MasterPool(SentinelConnectionPool):
    """Connections to the master; those to the Sentinels end with them."""

    async def disconnect(self, inuse_connections: bool = True) -> None:  # redis-py's signature
        await super().disconnect(inuse_connections)
        sentinel: Any = self.sentinel_manager
        for client in sentinel.sentinels:
            await client.aclose()
