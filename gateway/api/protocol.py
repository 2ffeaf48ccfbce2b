"""A client's connection: uvicorn's HTTP protocol, with what a gateway needs besides.

- A client that goes away cancels the task that serves it, at once and in every phase, without a watcher per request.
- A request that is not HTTP gets OpenAI's envelope; a head over `MAX_HEAD_BYTES` gets 431, one that doesn't arrive in
  `HEAD_TIMEOUT_S` a closed connection.
- A refused request is read on, up to a bound, so that the client can read the refusal instead of a reset.
- A client that takes nothing of its answer for `WRITE_TIMEOUT_S` is cut, whatever the answer is.
- An offered upgrade (Java's client offers HTTP/2 with its first request) is declined by serving the request as it is.
- One timer per connection watches for slow heads and idle connections; it looks back when it fires, and is not touched
  by requests.
"""

import asyncio
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.api.cycle import GatewayCycle
from gateway.api.replies import error_body
from gateway.api.request_ids import new_request_id
from gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest

MAX_HEAD_BYTES = 65_536
HEAD_TIMEOUT_S = 30.0
MAX_DISCARDED_BYTES = 64 * 1024 * 1024
LINGER_S = 5.0
"""How long a connection that was refused is still read, so that the refusal is not lost in a reset."""
MAX_PIPELINED = 16
"""Requests that may wait behind the one that is served; with more, the connection is no longer read."""
VERSIONS = ("1.0", "1.1")


class GatewayProtocol(HttpToolsProtocol):
    """One client connection."""

    def __init__(self, *args: Any, write_timeout_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.serving: asyncio.Task[object] | None = None
        """The task that serves the current request; set by the endpoint."""
        self._served: RequestResponseCycle | None = None
        """The request that is served, or was last; not always the last that came."""
        self._write_timeout_s = write_timeout_s
        self._write_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = -1
        """What a closing connection still had to send when it was looked at."""
        self._received_bytes = 0
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
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if self._served is not None:
            self._served.disconnected = True
        if self.serving is not None:
            self.serving.cancel("the client went away")

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the cap for heads."""
        if self._refused:
            self._discard(len(data))
            return
        if self._in_head:
            self._head_bytes += len(data)
        self._received_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse_malformed()
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def pause_writing(self) -> None:
        """Begin to watch whether the client takes anything at all; called when its socket is full."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self._write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """End the watch."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    # httptools callbacks

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head = True
        self._discarded_bytes = 0
        self._since = self.loop.time()

    def on_headers_complete(self) -> None:
        """Hand the request to the application, unless its head is too large."""
        self._in_head = False
        if self._refused:
            return
        # What came last may hold the head's beginning and more than the head.
        if self._head_bytes + self._received_bytes > MAX_HEAD_BYTES and self._size_of_head() > MAX_HEAD_BYTES:
            self._refuse_head()
            return
        self._head_bytes = 0
        parser = self.parser
        assert parser is not None  # noqa: S101  # it calls us
        version = parser.get_http_version()
        if parser.should_upgrade():
            return  # the request comes again, without its offer
        if version not in VERSIONS or not self._framed_by_the_book(version):
            self._refuse_malformed()
            return
        scope = cast("dict[str, Any]", self.scope)
        scope["http_version"] = version
        scope["method"] = parser.get_method().decode("ascii")
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
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        scope["gateway.cycle"] = cycle
        if previous is None or previous.response_complete:
            self._start_asgi_task(cycle, self._application)
        else:  # pipelined: after the one that is served now
            if len(self.pipeline) >= MAX_PIPELINED:
                self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self._application))

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body; after the answer, discard it within a bound."""
        if self._refused:
            return
        if self.cycle.response_complete:
            self._discard(len(body))
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request's body. Reading goes on: a client that is not read can't be seen to leave."""
        if self._refused or self.parser.should_upgrade():
            return
        super().on_message_complete()
        if len(self.pipeline) <= MAX_PIPELINED:
            self.flow.resume_reading()

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

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _unset_keepalive_if_required(self) -> None:
        """Do nothing: the connection's timer looks back instead of being set and unset."""

    def _decline_upgrade(self, rest: bytes) -> None:
        """Serve a request that offered another protocol as if it hadn't; `rest` is what came behind its head.

        httptools takes what follows such a head for the other protocol: the head is parsed again without the offer.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse_malformed()
            return
        kept = [(name, value) for name, value in self.headers if name not in (b"connection", b"upgrade")]
        lines = [b"%s %s HTTP/1.1" % (method, self.url), *(b"%s: %s" % header for header in kept)]
        if not self.parser.should_keep_alive():
            lines.append(b"connection: close")
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _framed_by_the_book(self, version: str) -> bool:
        """Whether the request names one host (RFC 9112, 3.2) and no transfer coding but chunked, which is all we know.

        httptools refuses what contradicts itself; this is what it lets pass.
        """
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                return False
        return hosts == 1 or (hosts == 0 and version == "1.0")

    def _discard(self, count: int) -> None:
        self._discarded_bytes += count
        if self._discarded_bytes > MAX_DISCARDED_BYTES:
            self.transport.abort()

    def _refuse_malformed(self) -> None:
        """Answer a request that is not HTTP/1.1, or tries to be two at once."""
        self._refuse(InvalidRequest("This is not a valid HTTP/1.1 request."))

    def _refuse_head(self) -> None:
        self._refuse(HeadersTooLarge(f"The request's headers are over the limit of {MAX_HEAD_BYTES:,} bytes."))

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, error: GatewayError) -> None:
        """Answer for the protocol itself and end the connection."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:  # what is wrong stands behind a good request: that one is still answered
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            if cycle.response_started or self.pipeline:
                self.transport.close()  # in the middle of another answer nothing can be said
                return
            if self.serving is not None:
                self.serving.cancel("the request is malformed")
        body = error_body(error)
        head = (
            b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n"
            % (len(body), new_request_id().encode("ascii"))
        )
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def _close(self) -> None:
        """Close the connection; what the client then doesn't take in time is given up."""
        self.transport.close()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(self._write_timeout_s, self._look)

    def _look(self) -> None:
        """Close a connection whose head is late, or that has been idle for too long; otherwise look again later."""
        self._timer = None
        if self.transport.is_closing():
            unsent_bytes = self.transport.get_write_buffer_size()
            if unsent_bytes and unsent_bytes == self._unsent_bytes:
                self.transport.abort()
                return
            self._close()
            return
        waiting = self.cycle is None or self.cycle.response_complete
        receiving = self._in_head and self._head_bytes > 0
        limit_s = HEAD_TIMEOUT_S if receiving or self.cycle is None else self.timeout_keep_alive
        left_s = self._since + limit_s - self.loop.time()
        if (waiting or receiving) and left_s <= 0:
            self._close()
            return
        self._timer = self.loop.call_later(max(left_s, 1.0), self._look)
