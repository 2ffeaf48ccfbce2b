"""One Redis server, named by its address or found by asking Sentinels for the master."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.config.redis_url import RedisTarget
from gateway.ratelimit.redis_link import CONNECT_TIMEOUT_S, Orphaned, RedisLink, Reply, open_link
from gateway.ratelimit.redis_scripts import ScriptCall, Scripts
from gateway.ratelimit.store import StoreUnavailableError

NOT_CONNECTED: Final = "not connected"


class RedisServer:
    """Implements `redis_store.Transport` with one link at a time."""

    def __init__(self, target: RedisTarget, scripts: Scripts) -> None:
        self._target = target
        self._scripts = scripts
        self._link: RedisLink | None = None
        self._tls = _tls_context(target)

    async def connect(self, lost: Callable[[str], None], orphaned: Orphaned) -> None:
        """See the port."""

        def forget(reason: str) -> None:
            self._link = None
            lost(reason)

        await self.close()
        address = await self._address()
        self._link = await open_link(self._target, address, self._tls, self._scripts, forget, orphaned)

    async def close(self) -> None:
        """See the port."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def call(self, call: ScriptCall, tail: Sequence[bytes], about: object = None) -> "asyncio.Future[Reply]":
        """See the port."""
        if self._link is None:
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            future.set_result(StoreUnavailableError(NOT_CONNECTED))
            return future
        return self._link.call(call, tail, about)

    def post(self, call: ScriptCall, tail: Sequence[bytes]) -> bool:
        """See the port."""
        return self._link is not None and self._link.post(call, tail)

    async def _address(self) -> tuple[str, int] | None:
        """Return where the server is now; None: at a Unix socket."""
        target = self._target
        if target.kind == "server":
            return target.hosts[0] if target.hosts else None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await self._ask_sentinels()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            raise StoreUnavailableError(f"Sentinels: {error or type(error).__name__}") from error

    async def _ask_sentinels(self) -> tuple[str, int]:
        target = self._target
        options: dict[str, Any] = {
            "username": target.options.get("sentinel_username"),
            "password": target.options.get("sentinel_password"),
            "socket_timeout": CONNECT_TIMEOUT_S / len(target.hosts),
            "socket_connect_timeout": CONNECT_TIMEOUT_S / len(target.hosts),
            "retry": Retry(NoBackoff(), 0),
            **target.redis_py_tls(),
        }
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]  # redis-py says nothing of its types
            list(target.hosts), sentinel_kwargs=options
        )
        try:
            host, port = await sentinel.discover_master(target.service)
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        return str(host), int(port)


def _tls_context(target: RedisTarget) -> ssl.SSLContext | None:
    """Return what TLS connections are made with; None without TLS. Raises OSError for files that can't be read."""
    if not target.tls:
        return None
    options = target.options
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    context.check_hostname = target.checks_hostname
    if options.get("ssl_cert_reqs") == "none":
        context.verify_mode = ssl.CERT_NONE
    return context
