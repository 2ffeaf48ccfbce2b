"""A replica's limiter as a process of its own: `python -m tests.support.limit_replica URL NAME`.

Reads one JSON object per line: {"limits": {…LimitSettings}, "tokens": n, "count": n} reserves `count` requests at once
and keeps them; answers with one line: {"granted": n}. It ends when its input does, giving nothing back.
"""

import asyncio
import json
import random
import sys
import time

from gateway.config.model import LimitSettings, RedisSettings, Secret
from gateway.ratelimit import redis_link
from gateway.ratelimit.build import build_store
from gateway.ratelimit.limiter import Demand, Limiter, Reservation
from gateway.values import ModelName
from tests.support.limited_keys import limited_key


async def serve(url: str, name: str) -> None:
    store = build_store(
        RedisSettings(Secret(url), on_failure="closed"),
        clock_us=lambda: time.monotonic_ns() // 1000,
        replica=name,
        rng=random.Random(name),
    )
    loop = asyncio.get_running_loop()
    async with Limiter(store) as limiter:
        print("ready", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            order = json.loads(line)
            key = limited_key(LimitSettings(**order["limits"]))
            demand = Demand(order["tokens"], 0, 1_000_000, exact=True)
            outcomes = await asyncio.gather(
                *(limiter.reserve(key, ModelName("m"), demand) for _ in range(order["count"]))
            )
            print(json.dumps({"granted": sum(isinstance(outcome, Reservation) for outcome in outcomes)}), flush=True)


if __name__ == "__main__":
    redis_link.DEADLINE_S = 5.0  # type: ignore[misc]  # a busy machine's pauses aren't what these tests are about
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
