"""A server in the same loop that sends scripted bytes, and a client for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from gateway.upstream.vllm import WorkerClient, WorkerReply
from gateway.values import RequestId

DEADLINE_S = 5.0
SIZED = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"answer": 1}'

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A server whose connections behave as scripted: `behaviours[n]` serves the n-th, the last one all others."""

    behaviours: list[Behaviour]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    ended: list[int] = field(default_factory=list)
    """Connections that the client closed."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        number = self.connections
        self.connections += 1
        try:
            await self.behaviours[min(number, len(self.behaviours) - 1)](reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.ended.append(number)
        except asyncio.CancelledError:  # the scenario is over
            return
        finally:
            writer.close()

    async def take_request(self, reader: asyncio.StreamReader) -> bytes:
        """The next request, head and body."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        self.asked.set()
        return self.requests[-1]

    def answering(self, *parts: bytes, then: str = "close") -> Behaviour:
        """Answers with parts that arrive one by one; then closes, resets, stalls, or serves the next request."""

        async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                await self.take_request(reader)
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if then == "reset":
                    writer.transport.abort()
                    return
                if then == "close":
                    return
                if then == "stall":
                    await reader.readexactly(1)

        return behave


@contextlib.asynccontextmanager
async def running(make: Callable[[Server], list[Behaviour]]) -> AsyncIterator[tuple[Server, WorkerClient]]:
    """A scripted server and a client for it; afterwards no connection is open."""
    server = Server([])
    server.behaviours = make(server)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, limit=2**20)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    client = WorkerClient(server.url, api_key=None, loop=asyncio.get_running_loop())
    async with listener:
        yield server, client
        client.close()
        await asyncio.sleep(0)


async def post(client: WorkerClient, *, timeout_s: float = DEADLINE_S) -> WorkerReply:
    """Sends a small request."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    return await client.post("/v1/x", b"{}", request_id=RequestId("id-1"), deadline=deadline)


async def ask(client: WorkerClient, *, timeout_s: float = DEADLINE_S) -> bytes:
    """Sends a small request and returns the whole body."""
    with await post(client, timeout_s=timeout_s) as reply:
        assert reply.status == 200
        return await reply.read()
