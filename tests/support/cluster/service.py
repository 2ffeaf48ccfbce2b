"""A Service's address: a TCP listener that spreads new connections over the endpoints, as kube-proxy does.

A connection stays with its endpoint when that leaves the list; only new ones go elsewhere. Without an endpoint, and
when the endpoint refuses, the client's connection is reset.
"""

import asyncio
import contextlib
import socket
import threading
from typing import Self

HOST = "127.0.0.1"
_CHUNK_BYTES = 65_536


class ServiceProxy:
    """``with ServiceProxy() as proxy: proxy.use([port, …]); … proxy.port``."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._endpoints: tuple[int, ...] = ()
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"service-{self.port}", daemon=True)
        self._pipes: set[asyncio.Task[None]] = set()
        self.refused = 0
        """Connections for which there was no endpoint, or whose endpoint did not answer."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def endpoints(self) -> tuple[int, ...]:
        return self._endpoints

    def use(self, ports: list[int]) -> None:
        """Replaces the endpoints; one assignment, so any thread may do it."""
        self._endpoints = tuple(ports)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, sock=self._listener))
        self._loop.run_forever()
        server.close()
        for task in self._pipes:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._pipes, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))  # transports close in the next turn
        self._loop.close()
        self._listener.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._pipes.add(task)
        task.add_done_callback(self._pipes.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoints = self._endpoints
        try:
            if not endpoints:
                raise ConnectionRefusedError
            self._turn += 1
            far_reader, far_writer = await asyncio.open_connection(HOST, endpoints[self._turn % len(endpoints)])
        except OSError:
            self.refused += 1
            writer.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pipe(reader, far_writer))
                both.create_task(_pipe(far_reader, writer))
        finally:
            writer.close()
            far_writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Passes bytes on to their end, the end included; a reset resets the other side."""
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
    except OSError:
        writer.transport.abort()
