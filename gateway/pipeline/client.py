"""The client's side of a request, as the pipeline sees it."""

from typing import Protocol

from gateway.errors import GatewayError
from gateway.values import RequestId


class Client(Protocol):
    """Takes the answer to one request: either one reply, or a stream of bytes.

    `lines` are header lines to add, each with its line break.

    Writing waits while the client's socket is full; a client that goes away cancels the task that serves it.
    """

    request_id: RequestId

    @property
    def streaming(self) -> bool:
        """Whether the head of a stream has gone out: from then on errors are events of the stream."""
        ...

    async def send_json(self, body: bytes, lines: bytes) -> None:
        """Answer 200 with a whole JSON body."""
        ...

    def begin_stream(self, lines: bytes) -> None:
        """Answer 200 with the head of an event stream; it goes out with the first chunk."""
        ...

    def write_chunk(self, data: bytes) -> bool:
        """Write a piece of the stream; False when the client's socket is full and `drain` must be awaited."""
        ...

    async def drain(self) -> None:
        """Wait until the client takes more."""
        ...

    async def end_stream(self, data: bytes) -> None:
        """End the stream as complete, with its last piece."""
        ...

    async def send_error(self, error: GatewayError) -> None:
        """Answer with an error; inside a stream, as an event, after which the transfer is left broken."""
        ...
