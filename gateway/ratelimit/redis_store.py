"""The store that replicas share.

All keys of a tenant begin with `{prefix:tenant}`, so that they are on one node of a cluster and one script may take
them together. What can't be told to Redis at once (settling while it is gone) waits in a bounded queue, and is told
when it is back; a call that was under way when Redis went isn't repeated, since nobody knows whether it was counted.
"""

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from gateway.background import end_task
from gateway.config.redis_url import parse_redis_url
from gateway.ratelimit.policy import US_PER_S, Count, LimitSet, Verdict
from gateway.ratelimit.redis_cluster import RedisClusterNodes
from gateway.ratelimit.redis_link import Orphaned, Reply
from gateway.ratelimit.redis_scripts import ScriptCall, Scripts, load_scripts
from gateway.ratelimit.redis_server import RedisServer
from gateway.ratelimit.store import HEARTBEAT_S, LEASE_S, LeaseId, StoreUnavailableError, Taken

FIRST_RETRY_S: Final = 0.05
MAX_RETRY_S: Final = 1.0
STEADY_S: Final = 5.0
"""A connection that lasted this long starts the next waits from the shortest again."""
MAX_QUEUED_SETTLES: Final = 10_000
SETTLES_PER_TURN: Final = 200
SETTLE_TURN_S: Final = 0.005
LEASES_PER_CALL: Final = 500
MAX_KNOWN_SETS: Final = 20_000
"""Sets of limits whose calls are kept packed; they are packed anew after that."""

logger = logging.getLogger("gateway.ratelimit")


class Transport(Protocol):
    """Runs scripts on one server or on a cluster."""

    async def connect(self, lost: Callable[[str], None], orphaned: Orphaned) -> None:
        """Connect anew. `lost` is told once when the connection is. Raises StoreUnavailableError."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    def call(self, call: ScriptCall, tail: Sequence[bytes], about: object = None) -> "asyncio.Future[Reply]":
        """Run a script; the result is its answer, or a StoreUnavailableError.

        When the future was cancelled, `orphaned` gets `about` and the answer.
        """
        ...

    def post(self, call: ScriptCall, tail: Sequence[bytes]) -> bool:
        """Run a script whose answer nobody needs; False: it can't be sent."""
        ...


class _Calls:
    """The scripts' calls for one set of limits, packed as far as they are always the same."""

    __slots__ = ("give_back", "reserve", "settle")

    def __init__(self, scripts: Scripts, base: str, limits: LimitSet, lease_us: int) -> None:
        windows, leases = limits.windows, limits.leases
        lease_keys = [base + lease.key for lease in leases]
        facts: list[str | int] = [len(windows), lease_us]
        for window in windows:
            facts += [window.length_us, window.amount, window.unit]
        facts += [lease.amount for lease in leases]
        self.reserve = ScriptCall(scripts.reserve, [base + w.key for w in windows] + lease_keys, facts, tail=2)
        self.give_back = self._ending(scripts, base, limits, lease_keys, all_windows=True)
        """Settles requests, too."""
        self.settle: ScriptCall | None = None
        """Settles what differs when a request was served; None: nothing can."""
        if limits.counts_tokens or leases:
            self.settle = self._ending(scripts, base, limits, lease_keys, all_windows=False)

    @staticmethod
    def _ending(
        scripts: Scripts, base: str, limits: LimitSet, lease_keys: list[str], *, all_windows: bool
    ) -> ScriptCall:
        windows = [window for window in limits.windows if all_windows or window.unit == "tokens"]
        facts: list[str | int] = [len(windows)]
        for window in windows:
            facts += [window.length_us, window.unit]
        return ScriptCall(scripts.settle, [base + w.key for w in windows] + lease_keys, facts, tail=4)


class RedisStore:
    """Implements `failover_store.SharedStore`."""

    def __init__(
        self,
        transport: Transport,
        scripts: Scripts,
        *,
        prefix: str,
        replica: str,
        rng: random.Random,
        lease_s: float = LEASE_S,
    ) -> None:
        self._transport = transport
        self._scripts = scripts
        self._prefix = prefix
        self._replica = replica
        self._rng = rng
        self._lease_us = int(lease_s * US_PER_S)
        self._calls: dict[LimitSet, _Calls] = {}
        self._register = ScriptCall(scripts.replicas, [f"{{{prefix}}}:replicas"], (), tail=2)
        self._queued: deque[tuple[ScriptCall, Sequence[bytes]]] = deque(maxlen=MAX_QUEUED_SETTLES)
        self._gone = asyncio.Event()
        self._backlog = asyncio.Event()
        self._watcher: Callable[[], None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.up = False
        self.problem = "not connected yet"
        self.replicas = 1

    def watch(self, changed: Callable[[], None]) -> None:
        """Name who is told whenever `up` changes."""
        self._watcher = changed

    async def open(self) -> None:
        """Connect, or go on trying."""
        try:
            await self._connect()
        except StoreUnavailableError as error:
            self.problem = str(error)
        self._tasks = [
            asyncio.create_task(self._stay_connected(), name="redis connection"),
            asyncio.create_task(self._stay_registered(), name="redis heartbeat"),
            asyncio.create_task(self._tell_queued(), name="redis settles"),
        ]

    async def close(self) -> None:
        """Leave the replicas, after what was posted before, and disconnect."""
        for task in self._tasks:
            await end_task(task)
        if self.up:
            await self._transport.call(self._register, (b"0", self._replica.encode()))
        self._watcher = None
        await self._transport.close()

    async def reserve(self, limits: LimitSet, tokens: int, lease: LeaseId) -> Taken:
        """See the port."""
        call = self._calls_of(limits).reserve
        future = self._transport.call(call, (b"%d" % tokens, lease.encode()), (limits, tokens, lease))
        try:
            reply = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._give_back((limits, tokens, lease), future.result())
            raise
        if isinstance(reply, StoreUnavailableError):
            raise reply
        return Taken(limits, "shared", _verdict(limits, reply), tokens, lease)

    def settle(self, taken: Taken, requests: int, tokens: int) -> None:
        """See the port."""
        calls = self._calls_of(taken.limits)
        call = calls.settle if requests == 1 else calls.give_back
        more = tokens - taken.tokens
        if call is None or (requests == 1 and not more and not taken.limits.leases):
            return
        tail = (b"%d" % taken.verdict.at_us, b"%d" % (requests - 1), b"%d" % more, taken.lease.encode())
        if not self.up or self._queued or not self._transport.post(call, tail):
            self._queued.append((call, tail))
            self._backlog.set()

    def release(self, limits: LimitSet, lease: LeaseId) -> None:
        """Give a lease back alone, which may not be here."""
        call = self._calls_of(limits).settle
        if call is not None and limits.leases and self.up:
            self._transport.post(call, (b"0", b"0", b"0", lease.encode()))

    async def renew(self, leases: Iterable[tuple[LimitSet, LeaseId]]) -> None:
        """See the port."""
        by_key: dict[str, list[LeaseId]] = {}
        for limits, lease in leases:
            base = self._base(limits)
            for limit in limits.leases:
                by_key.setdefault(base + limit.key, []).append(lease)
        calls: list[asyncio.Future[Reply]] = []
        for key, held in by_key.items():
            for start in range(0, len(held), LEASES_PER_CALL):
                part = held[start : start + LEASES_PER_CALL]
                call = ScriptCall(self._scripts.renew, [key], [self._lease_us], tail=len(part))
                calls.append(self._transport.call(call, [lease.encode() for lease in part]))
        for reply in await asyncio.gather(*calls):
            if isinstance(reply, StoreUnavailableError):
                raise reply

    async def look(self, limits: LimitSet) -> tuple[LimitSet, Count]:
        """See the port."""
        base, windows = self._base(limits), limits.windows
        keys = [base + window.key for window in windows] + [base + lease.key for lease in limits.leases]
        facts = [len(windows), *(window.length_us for window in windows)]
        reply = await self._transport.call(ScriptCall(self._scripts.look, keys, facts, tail=0), ())
        if isinstance(reply, StoreUnavailableError):
            raise reply
        pairs = 2 * len(windows)
        return limits, Count(tuple(reply[0:pairs:2]), tuple(reply[1:pairs:2]), tuple(reply[pairs:]))

    def _base(self, limits: LimitSet) -> str:
        return f"{{{self._prefix}:{limits.tenant}}}:"

    def _calls_of(self, limits: LimitSet) -> _Calls:
        try:
            return self._calls[limits]
        except KeyError:
            if len(self._calls) >= MAX_KNOWN_SETS:
                self._calls.clear()
            calls = self._calls[limits] = _Calls(self._scripts, self._base(limits), limits, self._lease_us)
            return calls

    def _give_back(self, about: tuple[LimitSet, int, LeaseId], reply: Reply) -> None:
        """Undo a reservation that nobody waits for any more."""
        limits, tokens, lease = about
        if isinstance(reply, StoreUnavailableError):
            return
        verdict = _verdict(limits, reply)
        if verdict.granted:
            self.settle(Taken(limits, "shared", verdict, tokens, lease), 0, 0)

    async def _connect(self) -> None:
        self._gone.clear()
        await self._transport.connect(self._lost, self._give_back)
        await self._heartbeat()
        if self._gone.is_set():
            raise StoreUnavailableError(self.problem)
        self.up, self.problem = True, ""
        self._backlog.set()
        if self._watcher is not None:
            self._watcher()

    def _lost(self, reason: str) -> None:
        self.problem = reason
        self._gone.set()
        if self.up:
            self.up = False
            if self._watcher is not None:
                self._watcher()

    async def _heartbeat(self) -> None:
        """Register this replica and count the others: a write, so that a Redis which only reads counts as gone."""
        reply = await self._transport.call(self._register, (b"%d" % int(LEASE_S * US_PER_S), self._replica.encode()))
        if isinstance(reply, StoreUnavailableError):
            raise reply
        self.replicas = max(1, int(reply))

    async def _stay_registered(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if self.up:
                with contextlib.suppress(StoreUnavailableError):
                    await self._heartbeat()

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s, connected_at = FIRST_RETRY_S, loop.time()
        while True:
            if self.up:
                await self._gone.wait()
                if loop.time() - connected_at > STEADY_S:
                    wait_s = FIRST_RETRY_S
            await asyncio.sleep(wait_s * (0.75 + 0.5 * self._rng.random()))  # replicas mustn't come back as one
            wait_s = min(MAX_RETRY_S, 2 * wait_s)
            try:
                await self._connect()
            except StoreUnavailableError as error:
                self.problem = str(error)
            connected_at = loop.time()

    async def _tell_queued(self) -> None:
        """Tell Redis what was settled while it was gone, a little at a time."""
        while True:
            await self._backlog.wait()
            for _ in range(min(SETTLES_PER_TURN, len(self._queued))):
                if not self.up or not self._transport.post(*self._queued[0]):
                    break
                self._queued.popleft()
            if not self._queued or not self.up:
                self._backlog.clear()
            await asyncio.sleep(SETTLE_TURN_S)


def _verdict(limits: LimitSet, reply: Sequence[int]) -> Verdict:
    windows = 2 + len(limits.windows)
    waits = windows + len(limits.windows)
    return Verdict(reply[0] == 1, reply[1], tuple(reply[2:windows]), tuple(reply[windows:waits]), tuple(reply[waits:]))


def build_redis_store(url: str, *, prefix: str, replica: str, rng: random.Random) -> RedisStore:
    """Return the store of a configuration; nothing is contacted yet. Raises RedisUrlError, OSError (certificates)."""
    target = parse_redis_url(url)
    scripts = load_scripts()
    transport = RedisClusterNodes(target, scripts) if target.kind == "cluster" else RedisServer(target, scripts)
    return RedisStore(transport, scripts, prefix=prefix, replica=replica, rng=rng)
