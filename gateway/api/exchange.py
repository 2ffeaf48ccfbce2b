"""One HTTP request and its answer over ASGI: what the pipeline knows as its client."""

from gateway.api.asgi import Headers, Send
from gateway.api.replies import JSON_TYPE, STREAM_HEADERS, error_body, error_event, error_headers
from gateway.errors import GatewayError
from gateway.values import RequestId


class Exchange:
    """Sends one answer. Implements `pipeline.client.Client`."""

    __slots__ = ("_send", "finished", "request_id", "streaming")

    def __init__(self, send: Send, request_id: RequestId) -> None:
        self.request_id = request_id
        self.streaming = False
        self.finished = False
        """Whether a whole answer has gone out."""
        self._send = send

    async def send_json(self, body: bytes, headers: Headers) -> None:
        """Answer 200 with a whole JSON body."""
        await self._answer(200, body, headers)

    async def begin_stream(self, headers: Headers) -> None:
        """Answer 200 with the head of an event stream."""
        self.streaming = True
        head = [*STREAM_HEADERS, *self._own_headers(), *headers]
        await self._send({"type": "http.response.start", "status": 200, "headers": head})

    async def send_chunk(self, data: bytes) -> None:
        """Send a piece of the stream; waits while the client's socket is full."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end_stream(self) -> None:
        """End the stream as complete."""
        self.finished = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send_error(self, error: GatewayError) -> None:
        """Answer with an error.

        Inside a stream it is an event, and the transfer is then left without its end: clients that don't know the
        event still see that the answer is broken.
        """
        if self.streaming:
            await self.send_chunk(error_event(error))
        else:
            await self._answer(error.status, error_body(error), error_headers(error))

    async def _answer(self, status: int, body: bytes, headers: Headers) -> None:
        head = [JSON_TYPE, (b"content-length", b"%d" % len(body)), *self._own_headers(), *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": head})
        self.finished = True
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _own_headers(self) -> Headers:
        return [(b"x-request-id", self.request_id.encode("ascii")), (b"openai-version", b"2020-10-01")]
