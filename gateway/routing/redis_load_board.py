"""The board of gateways' loads in Redis: one hash, `{PREFIX:fleet}:loads`, with a field per replica."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.routing.shared_load import BoardUnavailableError, Told

CALL_DEADLINE_S: Final = 1.0
KEPT_S: Final = 60
"""After the last telling of any gateway the hash is gone."""

_ENCODER: Final = msgspec.msgpack.Encoder()
_TOLD: Final = msgspec.msgpack.Decoder(Told)


class RedisLoadBoard:
    """Implements `shared_load.LoadBoard`. The client belongs to its maker, and must not decode responses."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._place = f"{{{prefix}:fleet}}:loads"

    async def exchange(self, replica: str, told: Told) -> Mapping[str, Told]:
        """Write the own field and read all, in one round trip."""
        async with _mapped():
            pipe = self._client.pipeline(transaction=False)
            pipe.hset(self._place, replica, cast("str", _ENCODER.encode(told)))
            pipe.expire(self._place, KEPT_S)
            pipe.hgetall(self._place)
            fields = cast("dict[bytes, bytes]", (await pipe.execute())[-1])
            return {name.decode(): _TOLD.decode(value) for name, value in fields.items()}

    async def leave(self, replica: str) -> None:
        """Delete the field."""
        async with _mapped():
            await self._client.hdel(self._place, replica)


@asynccontextmanager
async def _mapped() -> AsyncGenerator[None]:
    """Give a call its deadline, and turn what can go wrong with Redis into the port's error."""
    try:
        async with asyncio.timeout(CALL_DEADLINE_S):
            yield
    except (RedisError, OSError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as error:
        # Redis' own messages may hold a password of the URL: only the kind is passed on.
        raise BoardUnavailableError(f"Redis: {type(error).__name__}") from error
