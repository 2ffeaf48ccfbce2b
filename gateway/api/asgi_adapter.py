"""Serves exchanges with an ASGI application: everything that doesn't reach a worker."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.api.asgi import Application, Headers, Message
from gateway.api.exchange import ClientGoneError, Exchange

logger = logging.getLogger("gateway.api")


class AsgiAdapter:
    """Translates between exchanges and ASGI 3 messages."""

    def __init__(self, application: Application, state: Mapping[str, Any]) -> None:
        self._application = application
        self._state = state

    async def serve(self, exchange: Exchange, client: object, server: object) -> None:
        """Serve one exchange; `client` and `server` are the addresses of both ends."""
        target = urlsplit(exchange.target)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": exchange.version,
            "method": exchange.method.decode("ascii"),
            "scheme": "http",
            "path": exchange.path,
            "raw_path": target.path,
            "query_string": target.query,
            "root_path": "",
            "headers": exchange.headers,
            "client": client,
            "server": server,
            "state": dict(self._state),
        }
        messages = _Messages(exchange)
        try:
            await self._application(scope, messages.receive, messages.send)
        except Exception:  # the outermost place: the process lives, and the client sees a broken answer at worst
            logger.exception("request failed")


class _Messages:
    """The `receive` and `send` of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._received = False
        """Whether the whole body was given out."""

    async def receive(self) -> Message:
        """Return a piece of the body; behind its end, wait until the exchange is over."""
        exchange = self._exchange
        if not self._received and not exchange.complete:
            try:
                body = await exchange.next_piece()
            except ClientGoneError:
                return {"type": "http.disconnect"}
            self._received = exchange.body_complete
            return {"type": "http.request", "body": body, "more_body": not self._received}
        if not exchange.complete:
            await asyncio.get_running_loop().create_future()  # a client that leaves cancels the task
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a part of the answer."""
        exchange = self._exchange
        if exchange.full:
            await exchange.drain()
        if exchange.gone:
            return
        if message["type"] == "http.response.start":
            length, lines = _head_lines(message.get("headers", []))
            exchange.begin(message["status"], lines, length)
        else:
            exchange.write(message.get("body", b""), more=message.get("more_body", False))


def _head_lines(headers: Headers) -> tuple[int | None, bytes]:
    """Return the content-length, and all other headers as lines."""
    length = None
    lines: list[bytes] = []
    for name, value in headers:
        if name == b"content-length":
            length = int(value)
        elif b"\r" in value or b"\n" in value:
            raise RuntimeError("a header value holds a line break")
        else:
            lines.append(b"%s: %s\r\n" % (name, value))
    return length, b"".join(lines)
