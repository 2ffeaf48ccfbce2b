"""The admin API's changes of workers in Redis, shared by all replicas: one value, `{PREFIX:fleet}:workers`."""

import asyncio
import importlib.resources
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.routing.discovery.overrides import Overrides, OverridesUnavailableError

CALL_DEADLINE_S: Final = 2.0

_ENCODER: Final = msgspec.json.Encoder()
_OVERRIDES: Final = msgspec.json.Decoder(Overrides)


class RedisOverrideStore:
    """Implements `overrides.OverrideStore`. The client belongs to its maker, and must not decode responses."""

    shared = True

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._place = f"{{{prefix}:fleet}}:workers"
        script = importlib.resources.files("gateway.routing.discovery").joinpath("lua/replace.lua").read_text()
        self._replace = client.register_script(script)

    async def read(self) -> Overrides:
        """Return what is in force; nothing, where nothing was ever changed."""
        async with _mapped():
            held = await cast("Awaitable[bytes | None]", self._client.get(self._place))
            return Overrides() if held is None else _OVERRIDES.decode(held)

    async def replace(self, new: Overrides, *, of_version: int) -> bool:
        """Put `new` in one script."""
        async with _mapped():
            call: Any = self._replace(keys=[self._place], args=[of_version, _ENCODER.encode(new)])
            return bool(await call)


@asynccontextmanager
async def _mapped() -> AsyncGenerator[None]:
    """Give a call its deadline, and turn what can go wrong with Redis into the port's error."""
    try:
        async with asyncio.timeout(CALL_DEADLINE_S):
            yield
    except (RedisError, OSError, TimeoutError, msgspec.DecodeError) as error:
        # Redis' own messages may hold a password of the URL: only the kind is passed on.
        raise OverridesUnavailableError(f"Redis: {type(error).__name__}") from error
