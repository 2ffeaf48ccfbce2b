"""One HTTP request and its answer on a client's connection.

The protocol fills in the body as it comes and hands the exchange to whoever serves its path; that one reads the body
piece by piece or as a whole, and writes the answer. The answer's head goes out together with the first bytes of its
body: a system call saved per answer is a tenth of what an answer costs here.
"""

import asyncio
from http import HTTPStatus
from typing import Protocol

from gateway.api.asgi import Headers

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
STATUS_LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}


class ClientGoneError(Exception):
    """The client went away while it was sending."""


class Connection(Protocol):
    """The client's connection, as an exchange needs it."""

    transport: asyncio.Transport
    full: bool
    """The socket takes no more for now."""

    async def drain(self) -> None:
        """Wait until it does, or the client is gone."""
        ...

    def want_body(self) -> "asyncio.Future[None]":
        """Go on reading; return what is done when something came, or the client is gone."""
        ...

    def answered(self) -> None:
        """Note that the exchange that is served has its whole answer."""
        ...


class Exchange:
    """Made by the protocol when a head has come. Implements `answer.Writer`.

    What is not known yet has its value from the class: one is made for every request.
    """

    body_complete = False
    """Whether the whole body has come."""
    unread_bytes = 0
    begun = False
    """Whether the answer's head was given."""
    complete = False
    """Whether a whole answer was given."""
    gone = False
    """Nobody takes the answer: nothing more is written."""
    _continued = False
    _head = b""
    _chunked = False
    _left_bytes = 0

    def __init__(
        self,
        connection: Connection,
        method: bytes,
        path: str,
        target: bytes,
        headers: Headers,
        version: str,
        keep_alive: bool,
    ) -> None:
        self._connection = connection
        self._pieces: list[bytes] = []
        self.method = method
        self.path = path
        """Without its percent signs."""
        self.target = target
        """As it came: path and query, or a whole URL."""
        self.headers = headers
        """Names in lower case."""
        self.version = version
        self.keep_alive = keep_alive
        """Whether another request may follow."""

    # The request's body

    def add_body(self, piece: bytes) -> None:
        """Keep a piece of the body until it is read."""
        self._pieces.append(piece)
        self.unread_bytes += len(piece)

    def take_body(self) -> bytes:
        """Return what has come of the body and was not taken yet."""
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        self.unread_bytes = 0
        return data

    async def next_piece(self) -> bytes:
        """Return the next bytes of the body, b"" at its end. Raises ClientGoneError."""
        while not self._pieces:
            if self.body_complete:
                return b""
            if self.gone:
                raise ClientGoneError
            self._invite()
            await self._connection.want_body()
        return self.take_body()

    def _invite(self) -> None:
        """Tell a client that waits for it to send the body (RFC 9110, 10.1.1)."""
        if self._continued or self.begun:
            return
        self._continued = True
        if any(name == b"expect" and value.lower() == b"100-continue" for name, value in self.headers):
            self._connection.transport.write(CONTINUE)

    # The answer

    @property
    def full(self) -> bool:
        """Whether the client's socket takes no more for now; `drain` waits until it does."""
        return self._connection.full

    async def drain(self) -> None:
        """Wait until the client's socket takes more, or the client is gone."""
        await self._connection.drain()

    def begin(self, status: int, lines: bytes, length: int | None) -> None:
        """Begin the answer; without a `length` its body is chunked.

        `lines` are further header lines, each with its line break: written by the gateway, from checked values.
        """
        if self.begun:
            raise RuntimeError("an answer has begun already")
        self.begun = True
        close = b"" if self.keep_alive else b"connection: close\r\n"
        if length is None:
            self._chunked = True
            self._head = b"%stransfer-encoding: chunked\r\n%s%s\r\n" % (STATUS_LINES[status], close, lines)
        else:
            self._left_bytes = length
            self._head = b"%scontent-length: %d\r\n%s%s\r\n" % (STATUS_LINES[status], length, close, lines)

    def write(self, body: bytes, *, more: bool) -> bool:
        """Write a piece of the body, the last one with `more` False; return whether the socket takes more.

        Nothing is written to a client that is gone.
        """
        if self.gone:
            return True
        if self.complete:
            raise RuntimeError("a part of an answer came after its end")
        head, self._head = self._head, b""
        if self._chunked:
            end = b"" if more else b"0\r\n\r\n"
            data = b"%s%x\r\n%s\r\n%s" % (head, len(body), body, end) if body else head + end
        elif self.method == b"HEAD":
            data = head
        else:
            self._left_bytes -= len(body)
            if self._left_bytes < 0 or (self._left_bytes and not more):
                raise RuntimeError("the answer's body is not of its content-length")
            data = head + body
        connection = self._connection
        connection.transport.write(data)
        if not more:
            self.complete = True
            if not self.keep_alive:
                connection.transport.close()
            connection.answered()
        return not connection.full
