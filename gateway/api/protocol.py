"""A client's connection: an HTTP/1.1 protocol made for what a gateway needs.

One task serves the requests of a connection, one after the other. It is made with the first request and woken for each
further one, so that a request costs no task of its own. The server around it is uvicorn's, which calls `shutdown` at
SIGTERM and cancels the tasks when the drain time is over.

- A client that goes away cancels the task, at once and in every phase, without a watcher per request.
- A request that is not HTTP gets OpenAI's envelope; a head over `MAX_HEAD_BYTES` gets 431, one that doesn't arrive in
  `HEAD_TIMEOUT_S` a closed connection.
- A refused request is read on, up to a bound, so that the client can read the refusal instead of a reset.
- A client that takes nothing of its answer for the write timeout is cut, whatever the answer is.
- An offered upgrade (Java's client offers HTTP/2 with its first request) is declined by serving the request as it is.
- One timer per connection watches for slow heads and idle connections; it looks back when it fires, and is not touched
  by requests.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast
from urllib.parse import unquote

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from gateway.api.asgi import Application, Headers
from gateway.api.asgi_adapter import AsgiAdapter
from gateway.api.exchange import STATUS_LINES, Exchange
from gateway.api.replies import error_body
from gateway.api.request_ids import new_request_id
from gateway.errors import GatewayError, HeadersTooLarge, InvalidRequest
from gateway.values import RequestId

MAX_HEAD_BYTES = 65_536
HEAD_TIMEOUT_S = 30.0
MAX_UNREAD_BYTES = 65_536
"""Bytes of a body that nobody has asked for at which the connection is no longer read."""
MAX_DISCARDED_BYTES = 64 * 1024 * 1024
LAST_REQUEST_S = 0.3
"""How long a kept connection may still bring a request after SIGTERM: one that was on its way when it came."""
LINGER_S = 5.0
"""How long a connection that was refused is still read, so that the refusal is not lost in a reset."""
MAX_PIPELINED = 16
"""Requests that may wait behind the one that is served; with more, the connection is no longer read."""
VERSIONS = ("1.0", "1.1")

Endpoint = Callable[[Exchange], Awaitable[None]]


class RefusalObserver(Protocol):
    """Is told of requests that are refused before anybody serves them."""

    def refused(self, request_id: RequestId, error: GatewayError) -> None:
        """Note a refusal."""
        ...


class GatewayProtocol(asyncio.Protocol):
    """One client connection. Implements `exchange.Connection`.

    `endpoints` serve their paths directly; all other requests go to uvicorn's application.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: Mapping[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        write_timeout_s: float,
        endpoints: Mapping[str, Endpoint] | None = None,
        observer: RefusalObserver | None = None,
    ) -> None:
        self.full = False
        self._loop = _loop or asyncio.get_running_loop()
        self._server_state = server_state
        application = cast("Application", config.loaded_app)  # the same messages, typed otherwise
        self._rest = AsgiAdapter(application, app_state)
        self._endpoints = endpoints or {}
        self._known_targets = {path.encode("ascii"): path for path in self._endpoints}
        self._observer = observer
        self._keep_alive_s = config.timeout_keep_alive
        self._write_timeout_s = write_timeout_s
        self._parser = self._new_parser()
        # the request whose head or body comes
        self._url = b""
        self._headers: Headers = []
        self._head_bytes = 0
        self._in_head = True
        self._received_bytes = 0
        """What came last."""
        self._arrived: Exchange | None = None
        """The last request whose head has come."""
        self._discarded_bytes = 0
        self._refused = False
        self._lingering = False
        self._leaving = False
        # serving
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Exchange] = deque()
        self._served: Exchange | None = None
        self._next_request: asyncio.Future[None] | None = None
        self._body_wanted: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._read_paused = False
        # timers
        self._since = 0.0
        """When the current head began, or the last answer ended; the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = -1
        """What a closing connection still had to send when it was looked at."""

    # Called by uvicorn's server

    def shutdown(self) -> None:
        """Let the connection end: behind an answer that says so, or when nothing more came in `LAST_REQUEST_S`.

        An idle connection closed at once would meet requests that are under way, and clients don't send those again.
        """
        self._leaving = True
        exchange = self._arrived
        if exchange is None or exchange.complete:
            self._loop.call_later(LAST_REQUEST_S, self._leave)
        elif not exchange.begun:
            exchange.keep_alive = False

    # Called by exchanges

    async def drain(self) -> None:
        """Wait until the socket takes more, or the client is gone."""
        while self.full:
            self._writable = self._loop.create_future()
            await self._writable

    def want_body(self) -> asyncio.Future[None]:
        """Go on reading; return what is done when something came, or the client is gone."""
        self._resume_reading()
        self._body_wanted = self._loop.create_future()
        return self._body_wanted

    def answered(self) -> None:
        """Begin the wait for the next request."""
        self._server_state.total_requests += 1
        if self._read_paused:
            self._resume_reading()
        self._since = self._loop.time()
        if self._leaving:  # an answer that had begun before could not say that it is the last
            self._loop.call_later(LAST_REQUEST_S, self._leave)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream's transport
        """Begin the wait for the first head."""
        self.transport = transport
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # it only calls `shutdown`
        self._since = self._loop.time()
        self._timer = self._loop.call_later(HEAD_TIMEOUT_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is served: nobody waits for it any more."""
        del exc
        self._server_state.connections.discard(self)
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        for exchange in (self._served, *self._waiting):
            if exchange is not None:
                exchange.gone = True
        self._waiting.clear()
        self.full = False
        if self._task is not None:
            self._task.cancel("the client went away")

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the cap for heads."""
        if self._refused:
            self._discard(len(data))
            return
        if self._in_head:
            if not self._head_bytes:
                self._since = self._loop.time()
            self._head_bytes += len(data)
        self._received_bytes = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse_malformed()
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()

    def pause_writing(self) -> None:
        """Begin to watch whether the client takes anything at all; called when its socket is full."""
        self.full = True
        self._write_timer = self._loop.call_later(self._write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """End the watch."""
        self.full = False
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        _wake(self._writable)

    # httptools callbacks

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the target."""
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Queue the request to be served, unless its head is too large or breaks the rules."""
        self._in_head = False
        if self._refused:
            return
        # What came last may hold the head's beginning and more than the head.
        if self._head_bytes + self._received_bytes > MAX_HEAD_BYTES and self._size_of_head() > MAX_HEAD_BYTES:
            self._refuse_head()
            return
        self._head_bytes = 0
        parser = self._parser
        if parser.should_upgrade():
            return  # the request comes again, without its offer
        version = parser.get_http_version()
        url, headers = self._url, self._headers
        self._url, self._headers = b"", []
        if version not in VERSIONS or not _framed_by_the_book(headers, version):
            self._refuse_malformed()
            return
        exchange = self._arrived = Exchange(
            self,
            parser.get_method(),
            self._known_targets.get(url) or _path_of(url),
            url,
            headers,
            version,
            version != "1.0" and parser.should_keep_alive() and not self._leaving,
        )
        self._discarded_bytes = 0
        self._waiting.append(exchange)
        if self._task is None:
            self._start()
        elif self._next_request is not None:
            _wake(self._next_request)
        elif len(self._waiting) > MAX_PIPELINED:
            self._pause_reading()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body; after the answer, discard it within a bound."""
        exchange = self._arrived
        if self._refused or exchange is None:
            return
        if exchange.complete:
            self._discard(len(body))
            return
        exchange.add_body(body)
        if self._body_wanted is not None:
            self._wake_reader()
        elif exchange.unread_bytes > MAX_UNREAD_BYTES:
            self._pause_reading()

    def on_message_complete(self) -> None:
        """End a request's body. Reading goes on: a client that is not read can't be seen to leave."""
        exchange = self._arrived
        if self._refused or exchange is None or self._parser.should_upgrade():
            return
        exchange.body_complete = True
        self._in_head = True
        if self._body_wanted is not None:
            self._wake_reader()
        if self._read_paused and len(self._waiting) <= MAX_PIPELINED:
            self._resume_reading()

    # Serving

    def _start(self) -> None:
        tasks = self._server_state.tasks
        self._task = self._loop.create_task(self._serve(), name="connection")
        tasks.add(self._task)
        self._task.add_done_callback(tasks.discard)

    async def _serve(self) -> None:
        """Serve the requests of this connection until it closes."""
        waiting, transport = self._waiting, self.transport
        endpoints = self._endpoints
        try:
            while not (self._lingering or transport.is_closing()):
                if not waiting:
                    self._next_request = self._loop.create_future()
                    await self._next_request
                    self._next_request = None
                exchange = self._served = waiting.popleft()
                endpoint = endpoints.get(exchange.path)
                if endpoint is not None:
                    await endpoint(exchange)
                else:
                    await self._serve_rest(exchange)
                if not exchange.complete and not exchange.gone:
                    break
        finally:
            if not self._lingering:  # an answer without its end, or the end of the drain time
                transport.close()

    async def _serve_rest(self, exchange: Exchange) -> None:
        ends = (self.transport.get_extra_info(name) for name in ("peername", "sockname"))
        client, server = (tuple(end[:2]) if end else None for end in ends)
        await self._rest.serve(exchange, client, server)

    def _wake_reader(self) -> None:
        wanted, self._body_wanted = self._body_wanted, None
        _wake(wanted)

    def _pause_reading(self) -> None:
        if not self._read_paused and not self.transport.is_closing():
            self._read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    # Refusing

    def _decline_upgrade(self, rest: bytes) -> None:
        """Serve a request that offered another protocol as if it hadn't; `rest` is what came behind its head.

        httptools takes what follows such a head for the other protocol: the head is parsed again without the offer.
        """
        method = self._parser.get_method()
        if method == b"CONNECT":
            self._refuse_malformed()
            return
        kept = [(name, value) for name, value in self._headers if name not in (b"connection", b"upgrade")]
        lines = [b"%s %s HTTP/1.1" % (method, self._url), *(b"%s: %s" % header for header in kept)]
        if not self._parser.should_keep_alive():
            lines.append(b"connection: close")
        self._url, self._headers, self._in_head = b"", [], True
        self._parser = self._new_parser()
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # What stands behind a request with `connection: close` is not looked at, whatever it is.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

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
        return len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)

    def _refuse(self, error: GatewayError) -> None:
        """Answer for the protocol itself and end the connection."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        exchange = self._arrived
        if exchange is None or exchange.complete:
            self._send_refusal(error)
        elif exchange.body_complete:  # what is wrong stands behind a good request: that one is still answered
            exchange.keep_alive = False
        elif exchange.begun or not self._is_next(exchange):
            exchange.gone = True
            self.transport.close()  # in the middle of another answer nothing can be said
        else:
            exchange.gone = True
            if self._task is not None:
                self._task.cancel("the request is malformed")
            self._send_refusal(error, served=exchange is self._served)

    def _is_next(self, exchange: Exchange) -> bool:
        """Whether the next answer to be written is this exchange's."""
        served = self._served
        if served is None or served.complete:
            return self._waiting[0] is exchange
        return served is exchange

    def _send_refusal(self, error: GatewayError, *, served: bool = False) -> None:
        """Write the refusal and linger; `served`: whoever serves the request records its end."""
        request_id = new_request_id()
        if self._observer is not None and not served:
            self._observer.refused(request_id, error)
        body = error_body(error)
        head = (
            b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n"
            % (len(body), request_id.encode("ascii"))
        )
        self._lingering = True
        self.transport.write(STATUS_LINES[error.status] + head + body)
        self._resume_reading()
        self.transport.write_eof()
        self._loop.call_later(LINGER_S, self.transport.abort)

    # Watching

    def _leave(self) -> None:
        """Close the connection, unless a request is coming or served: its answer ends the connection."""
        idle = self._arrived is None or self._arrived.complete
        if idle and not (self._in_head and self._head_bytes):
            self.transport.close()

    def _close(self) -> None:
        """Close the connection; what the client then doesn't take in time is given up."""
        self.transport.close()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._timer = self._loop.call_later(self._write_timeout_s, self._look)

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
        arrived = self._arrived
        waiting = arrived is None or arrived.complete
        receiving = self._in_head and self._head_bytes > 0
        limit_s = HEAD_TIMEOUT_S if receiving or arrived is None else self._keep_alive_s
        left_s = self._since + limit_s - self._loop.time()
        if (waiting or receiving) and left_s <= 0:
            self._close()
            return
        self._timer = self._loop.call_later(max(left_s, 1.0), self._look)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _path_of(target: bytes) -> str:
    """Return the path of a request's target, without its percent signs. Raises what httptools or the codec raises."""
    path = (httptools.parse_url(target).path or b"/").decode("ascii")
    return unquote(path) if "%" in path else path


def _framed_by_the_book(headers: Headers, version: str) -> bool:
    """Whether a request names one host (RFC 9112, 3.2) and no transfer coding but chunked, which is all we know.

    httptools refuses what contradicts itself; this is what it lets pass.
    """
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            return False
    return hosts == 1 or (hosts == 0 and version == "1.0")
