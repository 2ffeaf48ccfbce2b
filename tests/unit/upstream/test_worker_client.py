"""The worker client against a server in the same loop that sends scripted bytes, cut everywhere."""

import asyncio

import pytest

from gateway.upstream.connection import HIGH_WATER_BYTES, MAX_HEAD_BYTES
from gateway.upstream.failures import (
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    ProtocolViolation,
    UpstreamFailure,
)
from gateway.upstream.vllm import WorkerClient
from gateway.values import RequestId
from tests.support.scripted_server import DEADLINE_S, SIZED, Behaviour, Server, ask, post, running

CHUNKED = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nX-Mixed-Case: Yes\r\n\r\n"
    b"5\r\ndata:\r\n1;ext=1\r\n \r\n7\r\n[DONE]\n\r\n0\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + SIZED
EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
ANSWERS = {
    "sized": (SIZED, b'{"answer": 1}'),
    "chunked": (CHUNKED, b"data: [DONE]\n"),
    "interim": (INTERIM, b'{"answer": 1}'),
    "empty": (EMPTY, b""),
}


class Collected:
    """A sink that is never full."""

    data = b""

    def take(self, data: bytes) -> bool:
        """Keep what came."""
        self.data += data
        return True


@pytest.mark.parametrize(("answer", "body"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_in_any_two_pieces(answer: bytes, body: bytes) -> None:
    """Head and body are read alike wherever the bytes were cut, and the connection is kept."""

    async def scenario() -> None:
        for cut in range(1, len(answer)):
            pieces = (answer[:cut], answer[cut:])
            async with running(lambda s: [s.answering(*pieces, then="next")]) as (server, client):  # noqa: B023
                assert await ask(client) == body
                assert await ask(client) == body
                assert server.connections == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(("answer", "body"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_byte_by_byte(answer: bytes, body: bytes) -> None:
    """Single bytes give the same answer too."""

    async def scenario() -> None:
        pieces = [answer[n : n + 1] for n in range(len(answer))]
        async with running(lambda s: [s.answering(*pieces, then="next")]) as (_, client):
            assert await ask(client) == body
            with await post(client) as reply:
                collected = b""
                while chunk := await reply.next_chunk():
                    collected += chunk
                assert collected == body
            with await post(client) as reply:
                sink = Collected()
                assert await reply.forward(sink.take, 1.0)
                assert sink.data == body
                assert reply.exhausted

    asyncio.run(scenario())


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("answer", [SIZED, CHUNKED, INTERIM], ids=["sized", "chunked", "interim"])
def test_an_answer_cut_off_anywhere(answer: bytes, then: str) -> None:
    """A connection that ends early is a ConnectionLost that tells whether anything had come; never half an answer."""

    async def scenario() -> None:
        for cut in range(len(answer)):
            async with running(lambda s: [s.answering(answer[:cut], then=then)]) as (server, client):  # noqa: B023
                with pytest.raises(ConnectionLost) as lost:
                    await ask(client)
                assert then == "reset" or lost.value.bytes_received == (cut > 0)
                head_alone = answer[:cut].endswith(b"\r\n\r\n")
                assert then == "reset" or answer is not SIZED or lost.value.begun == (cut > 0 and not head_alone)
                assert server.connections == 1

    asyncio.run(scenario())


def test_bytes_before_a_cut_are_delivered() -> None:
    """What came before the worker broke is read first, by every way of reading."""

    async def scenario() -> None:
        async with running(lambda s: [s.answering(CHUNKED[:-5])]) as (_, client):
            with await post(client) as reply:
                assert await reply.next_chunk() == b"data: [DONE]\n"
                with pytest.raises(ConnectionLost):
                    await reply.next_chunk()
            with await post(client) as reply:
                sink = Collected()
                with pytest.raises(ConnectionLost):
                    await reply.forward(sink.take, 1.0)
                assert sink.data == b"data: [DONE]\n"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 99999 Odd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * (MAX_HEAD_BYTES + 1) + b"\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * MAX_HEAD_BYTES,
    ],
    ids=lambda answer: str(answer[:60]),
)
def test_what_is_not_http_is_a_violation(answer: bytes) -> None:
    """Nonsense and heads over the cap are a ProtocolViolation, whole or in pieces, and the connection is closed."""

    async def scenario() -> None:
        for size in (len(answer), 1_000):
            pieces = [answer[n : n + size] for n in range(0, len(answer), size)]
            async with running(lambda s: [s.answering(*pieces, then="stall")]) as (server, client):  # noqa: B023
                with pytest.raises(ProtocolViolation):
                    await ask(client)
                await asyncio.sleep(0.01)
                assert server.ended == [0]

    asyncio.run(scenario())


def test_a_stale_connection_is_replaced_once() -> None:
    """A kept connection that closes without a byte costs one new connection; the request is served there."""

    async def scenario() -> None:
        def make(s: Server) -> list[Behaviour]:
            async def once_then_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await s.take_request(reader)
                writer.write(SIZED)
                await s.take_request(reader)

            return [once_then_close, s.answering(SIZED, then="next")]

        async with running(make) as (server, client):
            for _ in range(3):
                assert await ask(client) == b'{"answer": 1}'
            assert server.connections == 2

    asyncio.run(scenario())


def test_a_fresh_connection_is_not_replaced() -> None:
    """A new connection that closes without a byte is a failure: whether to try again is decided elsewhere."""

    async def scenario() -> None:
        async with running(lambda s: [s.answering()]) as (server, client):
            with pytest.raises(ConnectionLost):
                await ask(client)
            assert server.connections == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        SIZED + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray",
        SIZED + b"stray",
        SIZED.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"),
        SIZED.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
    ids=["second answer", "garbage", "connection: close", "HTTP/1.0"],
)
def test_a_spoilt_connection_is_not_kept(answer: bytes) -> None:
    """An answer followed by something else is good, but its connection is not used again."""

    async def scenario() -> None:
        async with running(lambda s: [s.answering(answer, then="next")]) as (server, client):
            for _ in range(3):
                assert await ask(client) == b'{"answer": 1}'
            assert server.connections == 3

    asyncio.run(scenario())


def test_stray_bytes_on_an_idle_connection_close_it() -> None:
    """Bytes that come while nothing was asked are nobody's answer."""

    async def scenario() -> None:
        async with running(lambda s: [s.answering(SIZED, b"", b"", SIZED, then="next")]) as (server, client):
            assert await ask(client) == b'{"answer": 1}'
            await asyncio.sleep(0.02)
            assert await ask(client) == b'{"answer": 1}'
            assert server.connections == 2

    asyncio.run(scenario())


def test_leaving_early_closes_the_connection() -> None:
    """A reply that is left before its end is aborted, by leaving the block and by cancelling the wait for its head."""

    async def scenario() -> None:
        async with running(lambda s: [s.answering(CHUNKED[:-5], then="stall")]) as (server, client):
            with await post(client) as reply:
                await reply.next_chunk()
            await asyncio.sleep(0.01)
            assert server.ended == [0]
        async with running(lambda s: [s.answering(then="stall")]) as (server, client):
            task = asyncio.create_task(post(client))
            await asyncio.wait_for(server.asked.wait(), DEADLINE_S)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.01)
            assert server.ended == [0]

    asyncio.run(scenario())


@pytest.mark.parametrize("sent", [b"", SIZED[:20], SIZED[:-3], CHUNKED[:-5]], ids=["nothing", "head", "body", "chunks"])
def test_a_deadline_is_kept_in_every_phase(sent: bytes) -> None:
    """A worker that falls silent anywhere is a DeadlineExceeded, and its connection is closed."""

    async def scenario() -> None:
        async with running(lambda s: [s.answering(sent, then="stall")]) as (server, client):
            for timeout_s in (0.01, 0.0153, 0.0201):
                with pytest.raises(DeadlineExceeded):
                    await ask(client, timeout_s=timeout_s)
            await asyncio.sleep(0.01)
            assert server.ended == [0, 1, 2]

    asyncio.run(scenario())


def test_a_stream_that_never_pauses_has_a_deadline() -> None:
    """Neither a worker that never stops nor a sink that is always full outlives the deadline."""

    async def forward_for_ever(client: WorkerClient, *, more: bool) -> None:
        with await post(client, timeout_s=0.05) as reply:
            while await reply.forward(lambda _: more, 1.0):  # noqa: ASYNC110  # as a client's socket empties
                await asyncio.sleep(0.001)

    async def scenario() -> None:
        head, part = CHUNKED.split(b"5\r\n")[0], b"5\r\ndata:\r\n"
        for more in (True, False):
            async with running(lambda s: [s.answering(head, *[part] * 100_000)]) as (_, client):
                with pytest.raises(DeadlineExceeded):
                    await forward_for_ever(client, more=more)

    asyncio.run(scenario())


def test_silence_is_told_without_ending_anything() -> None:
    """Waiting for a head beats the heart; waiting for a body returns None or False; then the answer still comes."""

    class Heart:
        interval_s = 0.01
        beats = 0

        async def beat(self) -> None:
            self.beats += 1

    async def scenario() -> None:
        def make(s: Server) -> list[Behaviour]:
            async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await s.take_request(reader)
                for part in (SIZED[:-5], SIZED[-5:-3], SIZED[-3:]):
                    await asyncio.sleep(0.05)
                    writer.write(part)
                await reader.readexactly(1)

            return [slow]

        async with running(make) as (_, client):
            heart = Heart()
            deadline = asyncio.get_running_loop().time() + DEADLINE_S
            reply = await client.post("/x", b"", request_id=RequestId("id"), deadline=deadline, heartbeat=heart)
            assert 1 <= heart.beats <= 6
            sink = Collected()
            silences = 0
            with reply:
                assert await reply.next_chunk(0.01) == b'{"answer'
                assert await reply.next_chunk(0.01) is None
                while not await reply.forward(sink.take, 0.02):
                    silences += 1
            assert sink.data == b'": 1}'
            assert silences >= 2

    asyncio.run(scenario())


def test_an_unread_body_holds_the_worker_back() -> None:
    """Bytes that nobody takes are bounded; they all arrive once somebody does, with a sink that is often full too."""
    size = 40 * HIGH_WATER_BYTES
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size

    async def scenario() -> None:
        written = 0

        def make(s: Server) -> list[Behaviour]:
            async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                nonlocal written
                while True:
                    await s.take_request(reader)
                    writer.write(head)
                    for written in range(0, size, 65_536):  # noqa: B007
                        writer.write(b"x" * 65_536)
                        await writer.drain()

            return [flood]

        async with running(make) as (server, client):
            with await post(client) as reply:
                await asyncio.sleep(0.2)
                assert written < size / 2
                assert len(await reply.read()) == size
            received = 0

            def often_full(data: bytes) -> bool:
                nonlocal received
                received += len(data)
                return received % 3 == 0

            with await post(client) as reply:
                while not reply.exhausted:
                    assert await reply.forward(often_full, 1.0)
                    await asyncio.sleep(0)
            assert received == size
            assert server.connections == 1

    asyncio.run(scenario())


def test_a_body_over_the_cap_is_refused() -> None:
    """A reply that is read whole has a cap, whether it states its size or not."""

    async def scenario() -> None:
        for answer in (SIZED, CHUNKED):
            async with running(lambda s: [s.answering(answer[:-8], answer[-8:], then="next")]) as (_, client):  # noqa: B023
                with await post(client) as reply, pytest.raises(ProtocolViolation):
                    await reply.read(12)
                with await post(client) as reply:
                    assert len(await reply.read(13)) == 13

    asyncio.run(scenario())


def test_nobody_there() -> None:
    """A refused connection is a ConnectFailed."""

    async def scenario() -> None:
        async with running(lambda s: [s.answering(SIZED)]) as (server, _):
            url = server.url
        client = WorkerClient(url, api_key=None, loop=asyncio.get_running_loop())
        with pytest.raises(ConnectFailed):
            await ask(client)

    asyncio.run(scenario())


def test_the_request_on_the_wire() -> None:
    """A request has a host, a key, a size and an id, and nothing of the client's."""

    async def scenario() -> None:
        async with running(lambda s: [s.answering(SIZED, then="next")]) as (server, _):
            client = WorkerClient(server.url, api_key="worker-key", loop=asyncio.get_running_loop())
            assert await ask(client) == b'{"answer": 1}'
            client.close()
            head, body = server.requests[0].split(b"\r\n\r\n")
            assert body == b"{}"
            assert head.split(b"\r\n")[0] == b"POST /v1/x HTTP/1.1"
            assert sorted(line.split(b":")[0] for line in head.split(b"\r\n")[1:]) == [
                b"accept-encoding",
                b"authorization",
                b"content-length",
                b"content-type",
                b"host",
                b"x-request-id",
            ]
            assert b"authorization: Bearer worker-key" in head
            assert issubclass(ConnectFailed, UpstreamFailure)

    asyncio.run(scenario())
