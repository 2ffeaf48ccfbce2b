"""One HTTP/1.1 connection to a worker.

It carries one exchange at a time: `send`, then `wait_head`, then `next_chunk` or `forward` to the end, then `release`.
Bytes that arrive are parsed at once. They are kept until the reader takes them, and above `HIGH_WATER_BYTES` the socket
is no longer read, so that a slow client holds the worker back instead of filling memory. While `forward` runs they go
straight to its sink, without waking a task: that halves what a streamed chunk costs.

vLLM sends the head of a stream as soon as it has the request, and then nothing until its first token, which may take as
long as a queue is. So a good head alone is no answer yet: until something of the body is there, another worker may
be asked.

Deadlines cost one timer per connection, not per wait: it is re-armed when it fires early.
"""

import asyncio
from collections.abc import Callable

import httptools

from gateway.upstream.client import Sink
from gateway.upstream.failures import (
    ConnectionLost,
    DeadlineExceeded,
    ProtocolViolation,
    UpstreamFailure,
    WorkerSilent,
)

HIGH_WATER_BYTES = 262_144
"""Unread body bytes at which reading from the worker pauses."""
MAX_HEAD_BYTES = 65_536
"""Status line and headers of one answer."""

_HEAD_END = b"\r\n\r\n"
_TOO_LATE = "the deadline passed"


class WorkerConnection(asyncio.Protocol):
    """A connection owned by the pool, lent to one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.complete = False
        """The answer has been received to its end."""
        self.idle_since = 0.0
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._head_bytes = 0
        self._head_complete = False
        self._busy = False
        self._received = False
        self._begun = False
        self._paused = False
        self._reusable = True
        self._failure: UpstreamFailure | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Sink | None = None
        self._sink_full = False
        self._last_data_at = 0.0
        self._deadline = 0.0
        self._wake_at = 0.0
        self._time_is_up = False
        self._timer: asyncio.TimerHandle | None = None

    # The exchange

    @property
    def exhausted(self) -> bool:
        """Whether the whole answer has come and been taken."""
        return self.complete and not self._chunks

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow on this connection."""
        return self._reusable and self._failure is None and (self.complete or not self._busy)

    def send(self, data: bytes, *, deadline: float) -> None:
        """Begin an exchange by writing a whole request; `deadline` is a time of the loop's clock."""
        self.status = 0
        self.complete = False
        self._busy = True
        self._received = False
        self._begun = False
        self._head_complete = False
        self._head_bytes = 0
        self._deadline = deadline
        if self._transport is None:
            self._fail(ConnectionLost("the worker closed the idle connection", bytes_received=False))
        else:
            self._transport.write(data)

    async def wait_head(self, silence_s: float | None = None) -> bool:
        """Wait until the answer has begun: its head is in, and of a good answer also the first bytes of its body.

        False after `silence_s` without. Raises an `UpstreamFailure`.
        """
        while not self._has_begun():
            if self._failure is not None:
                raise self._failure
            await self._event(self._deadline if silence_s is None else self._silent_until(silence_s))
            if self._time_is_up and self._timed_out():
                return False
        self._begun = True
        return True

    async def next_chunk(self, silence_s: float | None = None) -> bytes | None:
        """Return the body bytes that have come, b"" at the end, or None after `silence_s` seconds without any.

        Raises an `UpstreamFailure`; bytes received before it are returned first.
        """
        while not self._chunks:
            if self.complete:
                return b""
            if self._failure is not None:
                raise self._failure
            await self._event(self._deadline if silence_s is None else self._silent_until(silence_s))
            if self._time_is_up and self._timed_out():
                return None
        return self._take()

    def take_whole(self) -> bytes | None:
        """Return the rest of the body if it has come to its end; None: it must be waited for by `next_chunk`."""
        return self._take() if self.complete else None

    async def forward(self, sink: Sink, silence_s: float) -> bool:
        """Pass body bytes to `sink` as they come, until it returns False or the body ends: then return True.

        Return False after `silence_s` without bytes. Raises an `UpstreamFailure`.
        """
        if self._loop.time() >= self._deadline:  # a slow client may keep chunks waiting for ever
            raise DeadlineExceeded(_TOO_LATE)
        if self._chunks and not sink(self._take()):
            return True
        self._sink = sink
        self._sink_full = False
        self._last_data_at = self._loop.time()
        try:
            while not self.complete:
                if self._failure is not None:
                    raise self._failure
                await self._event(min(self._deadline, self._last_data_at + silence_s))
                if self._time_is_up:
                    self._timed_out()
                if self._sink_full:
                    return True
                if not self.complete and self._loop.time() - self._last_data_at >= silence_s:
                    return False
            return True
        finally:
            self._sink = None

    def release(self) -> None:
        """End the exchange; the connection waits for the next one."""
        self._busy = False
        if self._chunks or self._paused:
            self._clear()
        self.idle_since = self._loop.time()

    def abort(self) -> None:
        """Close at once. vLLM takes the close as the request's abort."""
        self._reusable = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def give_up_waiting(self) -> None:
        """Fail an exchange whose answer has not begun, because the worker hangs."""
        if self._busy and (not self._received or self._head_alone()):
            self._fail(WorkerSilent("the worker hangs"))

    def _has_begun(self) -> bool:
        return self._head_complete and not self._head_alone()

    def _head_alone(self) -> bool:
        """Whether a good head is all that has come."""
        return self._head_complete and self.status == 200 and not (self._begun or self.complete or self._chunks)

    def _take(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._clear()
        return data

    def _clear(self) -> None:
        self._chunks = []
        self._buffered_bytes = 0
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()

    def _silent_until(self, silence_s: float) -> float:
        return min(self._deadline, self._loop.time() + silence_s)

    def _event(self, until: float) -> asyncio.Future[None]:
        """Return a future for the next event, or for `until`: then `_timed_out` tells."""
        self._wake_at = until
        self._time_is_up = False
        if self._timer is None or self._timer.when() > until:
            self._arm(until)
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def _timed_out(self) -> bool:
        """Return True for a wait that ended in silence. Raises DeadlineExceeded at the exchange's deadline."""
        if self._wake_at >= self._deadline:  # not by the clock: timers fire up to a millisecond early
            raise DeadlineExceeded(_TOO_LATE)
        return True

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() + 0.001 < self._wake_at:  # armed for an earlier wait
            self._arm(self._wake_at)
            return
        self._time_is_up = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: UpstreamFailure) -> None:
        if self._failure is None:
            self._failure = failure
        self._reusable = False
        self._wake()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream's transport
        """Keep the transport; called by the event loop."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse what came; called by the event loop."""
        if not self._busy or self.complete:
            # An answer nobody asked for: the next exchange would read it as its own.
            self._reusable = False
            self.abort()
            return
        in_head = not self._head_complete
        if in_head:
            self._received = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ProtocolViolation(f"not HTTP/1.1: {error}"))
            self.abort()
            return
        if in_head and self._head_is_over_its_cap(data):
            self._head_complete = False
            self._fail(ProtocolViolation(f"headers over {MAX_HEAD_BYTES} bytes"))
            self.abort()
        elif self._sink is not None:
            self._feed_sink(self._sink)
        elif self._head_complete:
            self._wake()
        if self._buffered_bytes > HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _head_is_over_its_cap(self, data: bytes) -> bool:
        """Count the head's bytes in `data`, which may hold its end."""
        if self._head_bytes + len(data) <= MAX_HEAD_BYTES:
            self._head_bytes += len(data)
            return False
        end = data.find(_HEAD_END) if self._head_complete else -1
        self._head_bytes += len(data) if end < 0 else end
        return self._head_bytes > MAX_HEAD_BYTES

    def _feed_sink(self, sink: Sink) -> None:
        """Pass on what has come; wake the task that waits in `forward` at the end, or when the sink is full."""
        chunks = self._chunks
        if chunks:
            self._last_data_at = self._loop.time()
            self._chunks = []
            self._buffered_bytes = 0
            if not sink(chunks[0] if len(chunks) == 1 else b"".join(chunks)):
                self._sink = None
                self._sink_full = True
        if self._sink_full or self.complete:
            self._wake()

    def eof_received(self) -> bool:
        """Let the transport close itself; called by the event loop."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; called by the event loop."""
        self._transport = None
        self._reusable = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.complete:
            reason = "the worker closed the connection" if exc is None else f"connection lost: {exc}"
            self._fail(
                ConnectionLost(reason, bytes_received=self._received, begun=self._received and not self._head_alone())
            )

    # httptools callbacks

    def on_message_begin(self) -> None:
        """Begin an answer, or refuse a second one to the same request."""
        if self.complete:
            self._reusable = False

    def on_headers_complete(self) -> None:
        """Note the status, unless this is an interim answer (1xx). Headers tell nothing that is needed."""
        status = self._parser.get_status_code()
        if status >= 200 and not self.complete:
            self.status = status
            self._head_complete = True

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body until the reader takes it."""
        if not self.complete:
            self._chunks.append(body)
            self._buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        """Mark the end of the answer."""
        if not self._head_complete:  # an interim answer
            return
        self.complete = True
        if not self._parser.should_keep_alive():
            self._reusable = False


class HeardConnection(WorkerConnection):
    """A connection that tells of each piece of an answer's body: the engine behind it is at work."""

    def __init__(self, loop: asyncio.AbstractEventLoop, heard: Callable[[], None]) -> None:
        """`heard` runs inside the event loop's callback: it must be quick and must not raise."""
        super().__init__(loop)
        self.from_engine = True
        """Whether the answer to come is the engine's, and not of the server before it."""
        self._heard = heard

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, and tell of it unless it is an error's."""
        super().on_body(body)
        if self.from_engine and self.status == 200:
            self._heard()
