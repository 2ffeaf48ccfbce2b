"""What the limiter costs: `python -m tests.bench.limiter [--rounds 5] [--requests 20000] [--concurrency 32]`.

Each request reserves and settles under three limits of its tenant (requests, tokens, concurrency) that never refuse.
CPU time is this process' own, Redis runs on the other core. Candidates take turns, the table shows medians:

- nothing: the same loop around a caller without limits; what the others' figures have too much, below as "net"
- embedded: the store of one process
- redis-py, one by one: each call on its own
- redis-py, batched: all calls of one turn of the event loop in one redis-py pipeline
- own connection: what the gateway uses
"""

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import redis.asyncio
import uvloop

from gateway.config.model import LimitSettings
from gateway.config.redis_url import parse_redis_url
from gateway.ratelimit import redis_link
from gateway.ratelimit.failover_store import FailoverStore
from gateway.ratelimit.limiter import Demand, Limiter, Reservation
from gateway.ratelimit.memory_store import MemoryStore
from gateway.ratelimit.redis_link import Orphaned, Reply
from gateway.ratelimit.redis_scripts import ScriptCall, Scripts, load_scripts
from gateway.ratelimit.redis_server import RedisServer
from gateway.ratelimit.redis_store import RedisStore
from gateway.ratelimit.store import Store
from gateway.values import ModelName, Usage
from tests.bench import process_tree
from tests.support.limited_keys import limited_key
from tests.support.redis_server import RedisServer as RedisProcess

PLENTY = 10**12
PATIENCE_S = 30.0
"""In place of the limiter's deadline: what is measured is CPU time, and busy machines make Redis wait for theirs."""
LIMITS = LimitSettings(requests_per_minute=PLENTY, tokens_per_minute=PLENTY, concurrent_requests=PLENTY)


class RedisPy:
    """A transport on redis-py's own connections; `batched` gathers the calls of one turn in a pipeline."""

    def __init__(self, url: str, scripts: Scripts, *, batched: bool) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=64, socket_timeout=PATIENCE_S)
        self._client: Any = redis.asyncio.Redis(connection_pool=pool)
        self._scripts = scripts
        self._batched = batched
        self._waiting: list[tuple[ScriptCall, Sequence[bytes], asyncio.Future[Reply] | None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, lost: Callable[[str], None], orphaned: Orphaned) -> None:
        for script in self._scripts.each():
            await self._client.execute_command("SCRIPT LOAD", script.source)

    async def close(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._client.aclose()

    def call(self, call: ScriptCall, tail: Sequence[bytes], about: object = None) -> "asyncio.Future[Reply]":
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._add(call, tail, future)
        return future

    def post(self, call: ScriptCall, tail: Sequence[bytes]) -> bool:
        self._add(call, tail, None)
        return True

    def _add(self, call: ScriptCall, tail: Sequence[bytes], future: "asyncio.Future[Reply] | None") -> None:
        self._waiting.append((call, tail, future))
        if not self._batched:
            self._flush()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        calls, self._waiting = self._waiting, []
        task = asyncio.create_task(self._run(calls), name="redis-py")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, calls: list[tuple[ScriptCall, Sequence[bytes], "asyncio.Future[Reply] | None"]]) -> None:
        commands = [
            ("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args, *tail) for call, tail, _ in calls
        ]
        if self._batched:
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = await pipeline.execute()
        else:
            replies = [await self._client.execute_command(*command) for command in commands]
        for (_, _, future), reply in zip(calls, replies, strict=True):
            if future is not None:
                future.set_result(reply)


def stores(url: str) -> dict[str, Callable[[], Store]]:
    scripts = load_scripts()
    target = parse_redis_url(url)

    def on(transport: Any) -> Store:
        shared = RedisStore(transport, scripts, prefix="bench", replica="bench", rng=random.Random(1))
        return FailoverStore(shared, embedded(), "closed")

    def embedded() -> MemoryStore:
        return MemoryStore(lambda: time.monotonic_ns() // 1000)

    return {
        "nothing": embedded,
        "embedded": embedded,
        "redis-py, one by one": lambda: on(RedisPy(url, scripts, batched=False)),
        "redis-py, batched": lambda: on(RedisPy(url, scripts, batched=True)),
        "own connection": lambda: on(RedisServer(target, scripts)),
    }


async def measure(store: Store, *, limited: bool, requests: int, concurrency: int) -> tuple[float, float]:
    """CPU microseconds and elapsed microseconds per request."""
    key = limited_key(LIMITS if limited else None)
    demand, usage = Demand(300, 200, 8192), Usage(280, 120)
    model = ModelName("gemma")
    left = requests

    async def client(limiter: Limiter) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            held = await limiter.reserve(key, model, demand)
            if not isinstance(held, Reservation):
                raise TypeError(f"refused: {held.error} {limiter.problem}")
            await asyncio.sleep(0)
            held.settle(usage)

    async with Limiter(store) as limiter:
        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(client(limiter) for _ in range(concurrency)))
        await asyncio.sleep(0.01)
        return (time.process_time() - cpu) / requests * 1e6, (time.perf_counter() - began) / requests * 1e6


def one_round(
    name: str, make: Callable[[], Store], server: RedisProcess, args: argparse.Namespace
) -> tuple[float, float, float]:
    """CPU, elapsed, and Redis' CPU microseconds per request."""
    before = process_tree.cpu_s(server.pid)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        run = measure(make(), limited=name != "nothing", requests=args.requests, concurrency=args.concurrency)
        cpu, elapsed = runner.run(run)
    return cpu, elapsed, (process_tree.cpu_s(server.pid) - before) / args.requests * 1e6


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.limiter", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=32)
    args = parser.parse_args(argv)
    redis_link.DEADLINE_S = PATIENCE_S  # type: ignore[misc]  # it is Final for everybody else
    cores = sorted(os.sched_getaffinity(0))
    results: dict[str, list[tuple[float, float, float]]] = {}
    with RedisProcess() as server:
        if len(cores) > 1:
            os.sched_setaffinity(server.pid, {cores[1]})
            os.sched_setaffinity(0, {cores[0]})
        for _ in range(args.rounds):
            for name, make in stores(server.url).items():
                results.setdefault(name, []).append(one_round(name, make, server, args))
    base = median(cpu for cpu, _, _ in results["nothing"])
    print(f"{args.concurrency} at once, {args.requests} requests, {args.rounds} rounds; microseconds per request\n")
    print(f"| {'':20} | CPU   | net   | spread | elapsed | Redis' CPU |")
    print(f"| {'-' * 20} | ----: | ----: | -----: | ------: | ---------: |")
    for name, rounds in results.items():
        cpus = [cpu for cpu, _, _ in rounds]
        cpu, elapsed, theirs = (median(figures) for figures in zip(*rounds, strict=True))
        spread = max(cpus) - min(cpus)
        print(f"| {name:20} | {cpu:5.1f} | {cpu - base:5.1f} | {spread:6.1f} | {elapsed:7.1f} | {theirs:10.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
