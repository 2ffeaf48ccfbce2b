"""The answer to one request in OpenAI's terms: what the pipeline knows as its client."""

from typing import Protocol

from gateway.api.replies import JSON_HEAD, STREAM_HEAD, error_body, error_event, error_headers
from gateway.errors import GatewayError
from gateway.values import RequestId


class Writer(Protocol):
    """The client's connection, as far as one answer goes."""

    @property
    def full(self) -> bool:
        """Whether the client's socket takes no more for now."""
        ...

    async def drain(self) -> None:
        """Wait until it does."""
        ...

    def begin(self, status: int, lines: bytes, length: int | None) -> None:
        """Begin the answer, with further header lines; without a length its body is chunked."""
        ...

    def write(self, body: bytes, *, more: bool) -> bool:
        """Write a piece of the body, the last one with `more` False; return whether the socket takes more."""
        ...


class Answer:
    """Sends one answer. Implements `pipeline.client.Client`."""

    streaming = False
    finished = False
    """Whether a whole answer has gone out."""

    def __init__(self, writer: Writer, request_id: RequestId) -> None:
        self.request_id = request_id
        self._writer = writer

    async def send_json(self, body: bytes, lines: bytes) -> None:
        """Answer 200 with a whole JSON body."""
        if self._writer.full:
            await self._writer.drain()
        self._write(200, body, lines)

    def begin_stream(self, lines: bytes) -> None:
        """Answer 200 with the head of an event stream; it goes out with the first chunk."""
        self.streaming = True
        self._writer.begin(200, b"%sx-request-id: %s\r\n%s" % (STREAM_HEAD, self.request_id.encode(), lines), None)

    def write_chunk(self, data: bytes) -> bool:
        """Write a piece of the stream; False when the client's socket is full and `drain` must be awaited."""
        return self._writer.write(data, more=True)

    async def drain(self) -> None:
        """Wait until the client takes more."""
        await self._writer.drain()

    async def end_stream(self, data: bytes) -> None:
        """End the stream as complete, with its last piece."""
        if self._writer.full:
            await self._writer.drain()
        self.finished = True
        self._writer.write(data, more=False)

    async def send_error(self, error: GatewayError) -> None:
        """Answer with an error.

        Inside a stream it is an event, and the transfer is then left without its end: clients that don't know the
        event still see that the answer is broken.
        """
        if self.streaming:
            self._writer.write(error_event(error), more=True)
        else:
            lines = b"".join(b"%s: %s\r\n" % header for header in error_headers(error))
            if self._writer.full:
                await self._writer.drain()
            self._write(error.status, error_body(error), lines)

    def _write(self, status: int, body: bytes, lines: bytes) -> None:
        writer = self._writer
        writer.begin(status, b"%sx-request-id: %s\r\n%s" % (JSON_HEAD, self.request_id.encode(), lines), len(body))
        self.finished = True
        writer.write(body, more=False)
