"""A Redis Cluster. redis-py finds the node of a tenant's keys, which share a hash tag, and follows slots that move."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from gateway.config.redis_url import RedisTarget
from gateway.ratelimit.redis_link import CONNECT_TIMEOUT_S, DEADLINE_S, MAX_WAITING_CALLS, Orphaned, Reply
from gateway.ratelimit.redis_scripts import ScriptCall, Scripts
from gateway.ratelimit.store import StoreUnavailableError

MAX_CONNECTIONS_PER_NODE: Final = 64


class RedisClusterNodes:
    """Implements `redis_store.Transport`; every call is a task, since each may go to another node."""

    def __init__(self, target: RedisTarget, scripts: Scripts) -> None:
        self._target = target
        self._scripts = scripts
        self._client: RedisCluster | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lost: Callable[[str], None] | None = None
        self._orphaned: Orphaned | None = None

    async def connect(self, lost: Callable[[str], None], orphaned: Orphaned) -> None:
        """See the port. Every primary must answer: with one of them gone, some tenants' limits are."""
        await self._drop()
        target = self._target
        client: RedisCluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in target.hosts],
            username=target.username,
            password=target.password,
            socket_timeout=CONNECT_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            max_connections=MAX_CONNECTIONS_PER_NODE,
            retry=Retry(NoBackoff(), 0),
            **target.redis_py_tls(),
        )
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await client.initialize()
                for script in self._scripts.each():
                    await client.execute_command("SCRIPT LOAD", script.source, target_nodes=RedisCluster.PRIMARIES)
            async with asyncio.timeout(DEADLINE_S):
                await client.execute_command("PING", target_nodes=RedisCluster.PRIMARIES)
        except (RedisError, RedisClusterException, OSError) as error:  # TimeoutError is an OSError
            await client.aclose()
            raise StoreUnavailableError(str(error) or type(error).__name__) from error
        except BaseException:
            await client.aclose()
            raise
        self._client, self._lost, self._orphaned = client, lost, orphaned

    async def close(self) -> None:
        """See the port."""
        self._lost = None
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * DEADLINE_S)
        await self._drop()

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def call(self, call: ScriptCall, tail: Sequence[bytes], about: object = None) -> "asyncio.Future[Reply]":
        """See the port."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if not self._start(call, tail, future, about):
            future.set_result(StoreUnavailableError("not connected, or too many calls wait"))
        return future

    def post(self, call: ScriptCall, tail: Sequence[bytes]) -> bool:
        """See the port."""
        return self._start(call, tail, None, None)

    def _start(
        self, call: ScriptCall, tail: Sequence[bytes], future: "asyncio.Future[Reply] | None", about: object
    ) -> bool:
        client = self._client
        if client is None or len(self._tasks) >= MAX_WAITING_CALLS:
            return False
        task = asyncio.create_task(self._run(client, call, tail, future, about), name=f"redis {call.script.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _run(
        self,
        client: RedisCluster,
        call: ScriptCall,
        tail: Sequence[bytes],
        future: "asyncio.Future[Reply] | None",
        about: object,
    ) -> None:
        reply: Reply
        try:
            async with asyncio.timeout(DEADLINE_S):
                reply = await _evaluate(client, call, tail)
        except ResponseError as error:
            reply = StoreUnavailableError(str(error))
        except (RedisError, RedisClusterException, OSError) as error:  # TimeoutError is an OSError
            reply = StoreUnavailableError(str(error) or f"no answer within {DEADLINE_S * 1000:.0f} ms")
            self._give_up(client, str(reply))
        if future is None:
            return
        if not future.done():
            future.set_result(reply)
        elif about is not None and self._orphaned is not None:
            self._orphaned(about, reply)

    def _give_up(self, client: RedisCluster, reason: str) -> None:
        lost = self._lost
        if self._client is client and lost is not None:
            self._lost = None
            lost(reason)


async def _evaluate(client: RedisCluster, call: ScriptCall, tail: Sequence[bytes]) -> Reply:
    arguments: tuple[int | bytes, ...] = (len(call.keys), *call.keys, *call.args, *tail)
    try:
        return await client.execute_command("EVALSHA", call.script.sha, *arguments)
    except NoScriptError:
        return await client.execute_command("EVAL", call.script.source, *arguments)
