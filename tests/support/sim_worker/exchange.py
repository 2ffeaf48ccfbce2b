"""One request and its reply: sent through the server when it is well formed, written as bytes when it shall break."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

from .journal import Journal, Seen

JSON_TYPE = "application/json"
SSE_TYPE = "text/event-stream; charset=utf-8"


class Exchange:
    """What a handler may do with the request at hand."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, journal: Journal, seen: Seen) -> None:
        self._receive = receive
        self._send = send
        self._journal = journal
        self._transport: asyncio.Transport = scope["sim.transport"]
        self.requests_on_connection: int = scope["sim.uses"]
        self.seen = seen
        self.raw_body = b""

    async def read_body(self) -> None:
        parts: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        self.raw_body = b"".join(parts)
        try:
            self.seen.body = msgspec.json.decode(self.raw_body) if self.raw_body else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.seen.body = self.raw_body.decode("utf-8", errors="replace")

    async def wait_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """A sized reply."""
        given = {"content-length": str(len(body)), "content-type": content_type, **(headers or {})}
        if not content_type:
            del given["content-type"]
        await self._start(status, given)
        await self._body(body, more=False)

    async def reply_json(self, status: int, value: Any) -> None:
        await self.reply(status, msgspec.json.encode(value), JSON_TYPE)

    async def reply_chunked(self, status: int, parts: AsyncIterator[bytes], content_type: str) -> None:
        """A reply of unknown length; every part is one chunk of the transfer coding."""
        await self.start_stream(status, content_type)
        async for part in parts:
            await self.send_part(part)
        await self.end_stream()

    async def start_stream(self, status: int = 200, content_type: str = SSE_TYPE) -> None:
        await self._start(status, {"content-type": content_type})

    async def send_part(self, part: bytes) -> None:
        await self._body(part, more=True)

    async def end_stream(self) -> None:
        await self._body(b"", more=False)

    def write_raw(self, data: bytes) -> None:
        """Bytes past the server: what is written here need not be HTTP."""
        self._transport.write(data)

    async def cut(self, *, reset: bool = False) -> None:
        """Closes the connection now, by FIN or RST, and returns when it is gone."""
        self._journal.close(self.seen, "cut")
        if reset:
            peer: socket.socket = self._transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()
        await self.wait_disconnect()

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.seen.status = status
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in {**headers, "vary": "Origin"}.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def _body(self, body: bytes, *, more: bool) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        await self._send(message)
        if not more:
            self._journal.close(self.seen, "finished")
