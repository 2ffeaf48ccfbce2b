"""uvicorn's HTTP protocol, with what a gateway needs besides.

- A client that goes away cancels the task that serves it, at once and in every phase, without a watcher per request.
- A request that is not HTTP gets OpenAI's envelope; a head over `MAX_HEAD_BYTES` gets 431, one that doesn't arrive in
  `HEAD_TIMEOUT_S` a closed connection.
- A refused body is read on, up to a bound, so that the client can read the refusal instead of a reset.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.api.replies import error_body
from gateway.api.request_ids import new_request_id
from gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest

MAX_HEAD_BYTES = 65_536
HEAD_TIMEOUT_S = 30.0
MAX_DISCARDED_BYTES = 64 * 1024 * 1024


class GatewayProtocol(HttpToolsProtocol):
    """One client connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.serving: asyncio.Task[object] | None = None
        """The task that serves the current request; set by the endpoint."""
        self._head_bytes = 0
        self._in_head = True
        self._refused = False
        self._discarded_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin the wait for the first head."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_timed_out)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is served: nobody waits for it any more."""
        self._stop_head_timer()
        super().connection_lost(exc)
        if self.serving is not None:
            self.serving.cancel("the client went away")

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the cap for heads."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            message = f"The request's headers are over the limit of {MAX_HEAD_BYTES:,} bytes."
            self._refuse(HeadersTooLarge(message))

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["gateway.connection"] = self  # type: ignore[typeddict-unknown-key]  # ours
        self._in_head = True
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_timed_out)

    def on_headers_complete(self) -> None:
        """Hand the request to the application, unless its head is too large."""
        self._in_head = False
        self._stop_head_timer()
        if self._head_bytes > MAX_HEAD_BYTES and self._size_of_head() > MAX_HEAD_BYTES:
            message = f"The request's headers are over the limit of {MAX_HEAD_BYTES:,} bytes."
            self._refuse(HeadersTooLarge(message))
            return
        self._head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body; after the answer, discard it within a bound."""
        if self._refused:
            return
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > MAX_DISCARDED_BYTES:
                self.transport.close()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request's body."""
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP/1.1, or tries to be two at once."""
        del msg
        self._refuse(InvalidRequest("This is not a valid HTTP/1.1 request."))

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, error: GatewayError) -> None:
        if self.transport.is_closing():
            return
        self._refused = True
        body = error_body(error)
        head = (
            b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n"
            % (len(body), new_request_id().encode("ascii"))
        )
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()

    def _head_timed_out(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
