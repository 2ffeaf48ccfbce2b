"""A client's connection: uvicorn's HTTP protocol, with what a gateway needs besides.

- A client that goes away cancels the task that serves it, at once and in every phase, without a watcher per request.
- A request that is not HTTP gets OpenAI's envelope; a head over `MAX_HEAD_BYTES` gets 431, one that doesn't arrive in
  `HEAD_TIMEOUT_S` a closed connection.
- A refused body is read on, up to a bound, so that the client can read the refusal instead of a reset.
- One timer per connection watches for slow heads and idle connections; it looks back when it fires, and is not touched
  by requests.
"""

import asyncio
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.api.cycle import GatewayCycle
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
        self._application = cast("ASGI3Application", self.app)
        self._head_bytes = 0
        self._in_head = True
        self._refused = False
        self._discarded_bytes = 0
        self._since = 0.0
        """When the current head began, or the last answer ended; the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def body_complete(self) -> bool:
        """Whether the whole body of the current request is here."""
        return not self.cycle.more_body

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begin the wait for the first head."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is served: nobody waits for it any more."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)
        if self.serving is not None:
            self.serving.cancel("the client went away")

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the cap for heads."""
        if self._refused:
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    # httptools callbacks

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head = True
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Hand the request to the application, unless its head is too large."""
        self._in_head = False
        if self._head_bytes > MAX_HEAD_BYTES and self._size_of_head() > MAX_HEAD_BYTES:
            self._refuse_head()
            return
        self._head_bytes = 0
        version = self.parser.get_http_version()
        scope = cast("dict[str, Any]", self.scope)
        scope["http_version"] = version
        scope["method"] = self.parser.get_method().decode("ascii")
        url = httptools.parse_url(self.url)
        path = url.path or b"/"
        text = path.decode("ascii")
        scope["path"] = unquote(text) if "%" in text else text
        scope["raw_path"] = path
        scope["query_string"] = url.query or b""
        scope["gateway.connection"] = self
        previous = self.cycle
        cycle = self.cycle = GatewayCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=[],
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if previous is None or previous.response_complete:
            self._start_asgi_task(cycle, self._application)
        else:  # pipelined: after the one that is served now
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self._application))

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

    # What uvicorn's protocol calls

    def on_response_complete(self) -> None:
        """Begin the wait for the next request, or serve a pipelined one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._since = self.loop.time()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def _unset_keepalive_if_required(self) -> None:
        """Do nothing: the connection's timer looks back instead of being set and unset."""

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP/1.1, or tries to be two at once."""
        del msg
        self._refuse(InvalidRequest("This is not a valid HTTP/1.1 request."))

    def _refuse_head(self) -> None:
        self._refuse(HeadersTooLarge(f"The request's headers are over the limit of {MAX_HEAD_BYTES:,} bytes."))

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, error: GatewayError) -> None:
        if self.transport.is_closing():
            return
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # in the middle of another answer nothing can be said
            return
        body = error_body(error)
        head = (
            b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n"
            % (len(body), new_request_id().encode("ascii"))
        )
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()

    def _look(self) -> None:
        """Close a connection whose head is late, or that has been idle for too long; otherwise look again later."""
        self._timer = None
        if self.transport.is_closing():
            return
        waiting = self.cycle is None or self.cycle.response_complete
        receiving = self._in_head and self._head_bytes > 0
        limit_s = HEAD_TIMEOUT_S if receiving or self.cycle is None else self.timeout_keep_alive
        left_s = self._since + limit_s - self.loop.time()
        if (waiting or receiving) and left_s <= 0:
            self.transport.close()
            return
        self._timer = self.loop.call_later(max(left_s, 1.0), self._look)
