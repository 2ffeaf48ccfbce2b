"""Bringing a worker's answer to the client: a stream by its bytes, anything else as one decoded reply."""

import asyncio
from typing import Protocol, TypeVar

import msgspec

from gateway.config.model import ServerSettings
from gateway.errors import WorkerError, WorkerTimeout
from gateway.observability.record import RequestRecord
from gateway.pipeline.client import Client
from gateway.pipeline.dispatch import WorkerCall, dispatch
from gateway.pipeline.relay import DONE_FRAME, StreamRelay
from gateway.pipeline.services import Inbound, Services
from gateway.pipeline.stream_gate import StreamGate
from gateway.pipeline.worker_errors import error_of_failure
from gateway.routing.fleet import ServedModel
from gateway.upstream.client import Reply
from gateway.upstream.failures import UpstreamFailure
from gateway.values import Usage

T = TypeVar("T")
MAX_CHUNKS_BEHIND_DONE = 4
LAST_CHUNK_WAIT_S = 0.05
"""For the end of a transfer behind `[DONE]`: the connection's next request waits as long, and a new one costs less."""
KEEPALIVE_FRAME = b": keep-alive\n\n"


class StreamHeartbeat:
    """Keeps a silent stream alive with comments, from before the worker's first byte on, until it is given up."""

    __slots__ = ("_client", "_idle_timeout_s", "_record", "_silent_s", "interval_s")

    def __init__(self, client: Client, record: RequestRecord, server: ServerSettings) -> None:
        self._client = client
        self._record = record
        self._idle_timeout_s = server.stream_idle_timeout_s
        self._silent_s = 0.0
        self.interval_s = min(server.keepalive_s, server.stream_idle_timeout_s)

    async def beat(self) -> None:
        """Send a comment, behind the stream's head if that isn't out yet. Raises WorkerTimeout when it was too long."""
        self._silent_s += self.interval_s
        if self._silent_s >= self._idle_timeout_s:
            raise WorkerTimeout("The model's worker sent nothing for too long.")
        if not self._client.streaming:
            self._client.begin_stream(answer_headers(self._record))
        if not self._client.write_chunk(KEEPALIVE_FRAME):
            await self._client.drain()

    def heard(self) -> None:
        """Note that the worker has sent something."""
        self._silent_s = 0.0


def answer_headers(record: RequestRecord) -> bytes:
    """Return the header lines that tell which worker answers, what the gateway cost, and where the limits stand."""
    overhead_s = (record.sent_at or record.started) - record.started
    worker = (record.worker or "").encode("ascii", "replace")
    lines = b"x-gateway-worker: %s\r\nx-gateway-overhead-ms: %.3f\r\n%s%s" % (
        worker,
        overhead_s * 1000,
        record.limit_lines,
        b"" if record.filter is None else record.filter.header_line(),
    )
    if record.fallback_from is not None or record.asked_model is not None:
        lines += b"x-gateway-model: %s\r\n" % (record.model or "").encode("ascii", "replace")
    return lines


async def deliver_stream(
    services: Services,
    model: ServedModel,
    call: WorkerCall,
    inbound: Inbound,
    relay: StreamRelay,
    gate: StreamGate | None = None,
) -> None:
    """Ask a worker and pass its stream on until it ends; what the relay counted is left in the record.

    With a gate, what the relay gives out waits there until it is judged.

    Raises the GatewayError that the client gets, or that ends the stream when the worker breaks off, fails or falls
    silent.
    """
    record = inbound.record
    heartbeat = StreamHeartbeat(inbound.client, record, services.server)
    dispatched = await dispatch(services, model, call, record, heartbeat)
    pump = _Pump(inbound, relay, heartbeat, services, gate)
    try:
        await pump.run(dispatched.reply)
    except UpstreamFailure as failure:
        record.cause = f"{dispatched.worker.id}: {failure}"
        raise error_of_failure(failure) from failure
    finally:
        dispatched.close()
        record.frames = relay.frames
        record.usage = relay.usage
        if relay.cause:
            record.cause = f"{dispatched.worker.id}: {relay.cause}"


class _Pump:
    """Moves one stream from the worker to the client.

    Chunks go from the worker's socket to the client's in one callback; the task wakes for what needs waiting: the end,
    silence, a client whose socket is full.
    """

    def __init__(
        self,
        inbound: Inbound,
        relay: StreamRelay,
        heartbeat: StreamHeartbeat,
        services: Services,
        gate: StreamGate | None,
    ) -> None:
        self._gate = gate
        self._client = inbound.client
        self._record = inbound.record
        self._relay = relay
        self._heartbeat = heartbeat
        self._clock = services.clock
        self._violation: UpstreamFailure | None = None

    async def run(self, reply: Reply) -> None:
        rest = b""
        if self._gate is None:
            await self._read(reply)
        else:
            rest = await self._read_judged(reply, self._gate)
        if not self._client.streaming:
            if not rest:
                raise WorkerError("The model's worker ended its answer before it began.")
            self._begin()
        await self._client.end_stream(rest + DONE_FRAME)
        if self._relay.done and not self._relay.cut:
            await drain_transfer(reply)

    async def _read_judged(self, reply: Reply, gate: StreamGate) -> bytes:
        """Read the stream while it is judged; return the frames that end it where it is a violation."""
        reading = asyncio.create_task(self._read(reply), name="read stream")
        judging = asyncio.create_task(gate.run(self._send), name="judge stream")
        try:
            await asyncio.wait((reading, judging), return_when=asyncio.FIRST_COMPLETED)
            if not judging.done():
                await reading
                gate.close()
            return await judging
        finally:
            reading.cancel()
            judging.cancel()
            await asyncio.gather(reading, judging, return_exceptions=True)

    async def _send(self, data: bytes) -> None:
        if not self._client.streaming:
            self._begin()
        if not self._client.write_chunk(data):
            await self._client.drain()

    def _begin(self) -> None:
        self._record.first_byte_at = self._clock()
        self._client.begin_stream(answer_headers(self._record))

    async def _read(self, reply: Reply) -> None:
        """Read until the relay is done."""
        relay, heartbeat = self._relay, self._heartbeat
        heartbeat.heard()
        while True:
            frames = relay.frames
            heard = await reply.forward(self._take, heartbeat.interval_s)
            if self._violation is not None:
                raise self._violation
            if relay.failure is not None:
                raise relay.failure
            if relay.done:
                return
            if heard or relay.frames != frames:
                heartbeat.heard()
            if not heard:
                await heartbeat.beat()
            elif reply.exhausted:
                raise WorkerError("The model's worker broke off before the answer was complete.")
            elif self._gate is not None:
                await self._gate.room()
            else:
                await self._client.drain()

    def _take(self, data: bytes) -> bool:
        """Pass bytes on; False when the stream has ended or the client's socket is full."""
        relay = self._relay
        try:
            out = relay.feed(data)
        except UpstreamFailure as violation:
            self._violation = violation
            return False
        more = not relay.done and relay.failure is None
        if not out:
            return more
        if self._gate is not None:
            self._gate.add(out)
            return more and not self._gate.full
        if not self._client.streaming:
            self._begin()
        elif self._record.first_byte_at is None:
            self._record.first_byte_at = self._clock()
        return self._client.write_chunk(out) and more


class Transfer(Protocol):
    """The body of an answer, by chunk."""

    async def next_chunk(self, silence_s: float | None = None) -> bytes | None:
        """Return bytes, b"" at the end, None after `silence_s` of silence. Raises an `UpstreamFailure`."""
        ...


async def drain_transfer(reply: Transfer) -> None:
    """Read the end of the transfer behind `[DONE]`, so that the connection can be used again."""
    try:
        for _ in range(MAX_CHUNKS_BEHIND_DONE):
            if not await reply.next_chunk(LAST_CHUNK_WAIT_S):
                return
    except UpstreamFailure:
        return


async def gather_stream(
    services: Services, model: ServedModel, call: WorkerCall, record: RequestRecord, relay: StreamRelay
) -> Usage:
    """Ask a worker for a stream that stays here, until the relay has enough of it, and return the usage.

    Raises the GatewayError that the client gets.
    """
    dispatched = await dispatch(services, model, call, record)
    try:
        while not relay.done:
            data = await dispatched.reply.next_chunk()
            if not data:
                raise WorkerError("The model's worker broke off before the answer was complete.")
            record.first_byte_at = record.first_byte_at or services.clock()
            relay.feed(data)
            if relay.failure is not None:
                record.cause = f"{dispatched.worker.id}: {relay.cause}"
                raise relay.failure
        if not relay.cut:
            await drain_transfer(dispatched.reply)
    except UpstreamFailure as failure:
        record.cause = f"{dispatched.worker.id}: {failure}"
        raise error_of_failure(failure) from failure
    finally:
        dispatched.close()
        record.usage = relay.usage
    return relay.usage or Usage(0, 0)


async def fetch_reply(
    services: Services, model: ServedModel, call: WorkerCall, record: RequestRecord, decoder: msgspec.json.Decoder[T]
) -> T:
    """Ask a worker and return its whole answer, decoded. Raises the GatewayError that the client gets."""
    dispatched = await dispatch(services, model, call, record)
    try:
        body = await dispatched.reply.read()
    except UpstreamFailure as failure:
        record.cause = f"{dispatched.worker.id}: {failure}"
        raise error_of_failure(failure) from failure
    finally:
        dispatched.close()
    record.first_byte_at = services.clock()
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        record.cause = f"{dispatched.worker.id}: not the expected JSON: {type(error).__name__}"
        raise WorkerError("The model's worker gave an answer that can't be read.") from error
