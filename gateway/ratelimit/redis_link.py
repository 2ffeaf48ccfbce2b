"""One connection to a Redis server, for calls that must not wait.

Calls made in the same turn of the event loop leave in one write; answers come back in order. What nobody waits for
leaves with the next call, which is a write and a read less, or after `POST_WAIT_S`. An answer that takes
longer than `DEADLINE_S` means that the server is gone for now: the connection is given up, and everything that waits
on it ends at once.
"""

import asyncio
import re
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
from msgspec import Struct

from gateway.config.redis_url import RedisTarget
from gateway.ratelimit.redis_scripts import ScriptCall, Scripts, pack
from gateway.ratelimit.store import StoreUnavailableError

DEADLINE_S: Final = 0.05
GRACE_S: Final = 0.004
"""Added once: when the event loop was held up, the answer may be there, unread."""
POST_WAIT_S: Final = 0.002
MAX_WAITING_CALLS: Final = 10_000
CONNECT_TIMEOUT_S: Final = 0.5

OUT_OF_SERVICE: Final = re.compile(
    r"\b(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|NOSCRIPT|OOM|READONLY)\b"
)
"""Errors of a server that can't serve anybody; others are the call's own. Redis 6 quotes a script's in another."""

Reply = Any
"""What hiredis makes of an answer; a call that failed has a StoreUnavailableError in its place."""
Orphaned = Callable[[Any, Reply], None]
"""Told what a call was for and its answer, when nobody waits for it any more."""


class _Call(Struct, frozen=True, eq=False):
    call: ScriptCall | None
    tail: Sequence[bytes]
    future: "asyncio.Future[Reply] | None"
    about: object
    sent_at: float
    """A time of `time.monotonic`."""


class RedisLink(asyncio.Protocol):
    """A connection; `lost` is told once why it ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lost: Callable[[str], None], orphaned: Orphaned) -> None:
        self._loop = loop
        self._lost = lost
        self._orphaned = orphaned
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._waiting: deque[_Call] = deque()
        self._out: list[bytes] = []
        self._flushing = False
        self._posting: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._in_grace = False
        self._failure = ""

    def call(self, call: ScriptCall, tail: Sequence[bytes], about: object) -> "asyncio.Future[Reply]":
        """Send a call; the future's result is its answer, or a StoreUnavailableError."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if not self._send(_Call(call, tail, future, about, time.monotonic()), call.packed(*tail)):
            future.set_result(StoreUnavailableError(self._failure or "too many calls wait for Redis"))
        return future

    def post(self, call: ScriptCall, tail: Sequence[bytes]) -> bool:
        """Send a call whose answer nobody needs; False: too many wait, or the connection has ended."""
        if not self._enqueue(_Call(call, tail, None, None, time.monotonic()), call.packed(*tail)):
            return False
        if self._posting is None:
            self._posting = self._loop.call_later(POST_WAIT_S, self._flush_posted)
        return True

    def command(self, *parts: bytes | str | int) -> "asyncio.Future[Reply]":
        """Send any command."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if not self._send(_Call(None, (), future, None, time.monotonic()), pack(*parts)):
            future.set_result(StoreUnavailableError(self._failure or "too many calls wait for Redis"))
        return future

    def close(self, reason: str = "closed") -> None:
        """End the connection and every call that waits."""
        if self._failure:
            return
        self._failure = reason
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future = self._waiting.popleft().future
            if future is not None and not future.done():
                future.set_result(StoreUnavailableError(reason))
        self._lost(reason)

    def _send(self, call: _Call, data: bytes) -> bool:
        if not self._enqueue(call, data):
            return False
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        return True

    def _enqueue(self, call: _Call, data: bytes) -> bool:
        if self._failure or len(self._waiting) >= MAX_WAITING_CALLS:
            return False
        self._waiting.append(call)
        self._out.append(data)
        if self._watch is None:
            self._watch = self._loop.call_later(DEADLINE_S, self._check_deadline)
        return True

    def _flush(self) -> None:
        self._flushing = False
        if self._out and self._transport is not None and not self._failure:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _flush_posted(self) -> None:
        self._posting = None
        self._flush()

    def _check_deadline(self) -> None:
        self._watch = None
        if not self._waiting or self._failure:
            return
        # A call that was sent again waits behind younger ones.
        left_s = min(call.sent_at for call in self._waiting) + DEADLINE_S - time.monotonic()
        if left_s > 0:
            self._in_grace = False
        elif self._in_grace:
            self.close(f"no answer within {DEADLINE_S * 1000:.0f} ms")
            return
        else:
            self._in_grace = True
            left_s = GRACE_S
        self._watch = self._loop.call_later(left_s, self._check_deadline)

    def _answer(self, call: _Call, reply: Reply) -> None:
        future = call.future
        if future is not None:
            if not future.done():
                future.set_result(reply)
            elif call.about is not None:
                self._orphaned(call.about, reply)

    def _answer_error(self, call: _Call, error: str) -> None:
        if self._resent(call, error):
            return
        self._answer(call, StoreUnavailableError(error))
        if OUT_OF_SERVICE.search(error):
            self.close(error)

    def _resent(self, call: _Call, error: str) -> bool:
        """Send a call whose script Redis has forgotten again, with the script; its deadline stays."""
        if call.call is None or not error.startswith("NOSCRIPT"):
            return False
        return self._send(call, call.call.packed_with_source(*call.tail))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream's transport
        """Part of asyncio.Protocol."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        try:
            reader, waiting = self._reader, self._waiting
            reader.feed(data)
            while waiting and (reply := reader.gets()) is not False:
                call = waiting.popleft()
                if isinstance(reply, hiredis.ReplyError):
                    self._answer_error(call, str(reply))
                elif call.future is not None:
                    self._answer(call, reply)
        except hiredis.ProtocolError as error:
            self.close(f"not Redis: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        self.close(f"connection lost: {exc}" if exc else "connection lost")


async def open_link(
    target: RedisTarget,
    address: tuple[str, int] | None,
    tls: ssl.SSLContext | None,
    scripts: Scripts,
    lost: Callable[[str], None],
    orphaned: Orphaned,
) -> RedisLink:
    """Connect, log in and load the scripts. Raises StoreUnavailableError; `lost` isn't told of that."""
    loop = asyncio.get_running_loop()
    ready = False

    def lost_when_ready(reason: str) -> None:
        if ready:
            lost(reason)

    link = RedisLink(loop, lost_when_ready, orphaned)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            if address is None:
                await loop.create_unix_connection(lambda: link, target.path)
            else:
                await loop.create_connection(
                    lambda: link, *address, ssl=tls, server_hostname=address[0] if tls is not None else None
                )
        await _greet(link, target, scripts)
    except (OSError, ssl.SSLError) as error:
        link.close("never opened")
        raise StoreUnavailableError(str(error) or type(error).__name__) from error
    except BaseException:
        link.close("never opened")
        raise
    ready = True
    return link


async def _greet(link: RedisLink, target: RedisTarget, scripts: Scripts) -> None:
    replies: list[asyncio.Future[Reply]] = []
    if target.password is not None:
        login = (target.username, target.password) if target.username else (target.password,)
        replies.append(link.command("AUTH", *login))
    if target.db:
        replies.append(link.command("SELECT", target.db))
    replies.extend(link.command("SCRIPT", "LOAD", script.source) for script in scripts.each())
    for reply in await asyncio.gather(*replies):
        if isinstance(reply, StoreUnavailableError):
            raise reply
