"""Clients that dawdle: with their heads, their bodies, between requests. The server's own timeouts, made short."""

import asyncio
import functools
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from gateway.api import protocol
from gateway.api.asgi import Receive, Scope, Send
from gateway.api.body import read_body
from gateway.api.exchange import ClientGoneError, Exchange
from gateway.errors import BodyTimeout, InvalidRequest, RequestTooLarge
from tests.support.gateway_view import wait_for
from tests.support.raw_http import RawClient, request

HEAD_TIMEOUT_S = 0.4
IDLE_TIMEOUT_S = 1
LINGER_S = 0.4


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at once to /unread, after the body to any other path."""
    if scope["path"] != "/unread":
        while (await receive()).get("more_body"):
            pass
    head = [(b"content-length", b"2"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[uvicorn.Server]:
    """A server with the gateway's protocol and little patience, on a thread of its own."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", HEAD_TIMEOUT_S)
    monkeypatch.setattr(protocol, "LINGER_S", LINGER_S)
    monkeypatch.setattr(protocol, "MAX_DISCARDED_BYTES", 3_000_000)
    config = uvicorn.Config(
        application,
        port=0,
        http=functools.partial(protocol.GatewayProtocol, write_timeout_s=1.0),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=IDLE_TIMEOUT_S,
        timeout_graceful_shutdown=1,
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    wait_for(lambda: running.started, "the server has started")
    yield running
    running.should_exit = True
    thread.join(5)


@pytest.fixture
def client(server: uvicorn.Server) -> Iterator[RawClient]:
    """A connection to it."""
    with RawClient(server.servers[0].sockets[0].getsockname()[1]) as connection:
        yield connection


def ends_after_s(client: RawClient, trickle: bytes = b"") -> float:
    """Seconds until the server ends the connection while the client sends one byte after the other."""
    began = time.monotonic()
    client.socket.settimeout(0.05)
    left = trickle
    while time.monotonic() - began < 10:
        try:
            client.send(left[:1])
            left = left[1:]
            client.read_to_end()
        except TimeoutError:
            continue
        return time.monotonic() - began
    raise TimeoutError("the connection is still open")


@pytest.mark.parametrize("start", [b"", b"POST", b"POST / HTTP/1.1\r\nhost: x\r\nx-slow: "])
def test_a_head_that_does_not_come(client: RawClient, start: bytes) -> None:
    """A first head that isn't complete in time ends the connection, and trickling bytes don't help."""
    client.send(start)
    assert ends_after_s(client, b"y" * 1_000) < HEAD_TIMEOUT_S + 2


def test_an_idle_connection(client: RawClient) -> None:
    """A kept connection that stays idle is closed; line breaks, which are no request, don't keep it."""
    client.send(request(b"{}"))
    assert client.read_answer().body == b"ok"
    assert ends_after_s(client, b"\r\n" * 1_000) < IDLE_TIMEOUT_S + 2


def test_a_later_head_that_does_not_come(client: RawClient) -> None:
    """The second head of a connection has to come in time as the first."""
    client.send(request(b"{}"))
    assert client.read_answer().body == b"ok"
    client.send(b"POST / HTTP/1.1\r\nhost: x\r\n")
    assert ends_after_s(client, b"x" * 1_000) < IDLE_TIMEOUT_S + HEAD_TIMEOUT_S + 2


def test_a_body_that_nobody_wants(client: RawClient) -> None:
    """A body that trickles in behind its answer doesn't keep the connection for ever."""
    client.send(request(b"", path="/unread", headers=b"content-length: 100000\r\n", sized=False))
    assert client.read_answer().body == b"ok"
    assert ends_after_s(client, b"x" * 1_000) < IDLE_TIMEOUT_S + 2


def test_a_large_body_that_nobody_wants_is_read_within_a_bound(client: RawClient) -> None:
    """What comes behind an answer is discarded, so that the next request can follow, but not without end."""
    for _ in range(3):
        client.send(request(b"x" * 2_000_000, path="/unread"))
        assert client.read_answer().body == b"ok"
    client.send(request(b"x" * 20_000_000, path="/unread"))
    assert client.read_answer().body == b"ok"
    client.send(request(b""))
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read_answer()


def test_a_refused_client_that_goes_on(client: RawClient) -> None:
    """A client that was refused can read why; if it goes on sending, its connection still ends."""
    client.send(b"nonsense\r\n\r\n")
    assert client.read_answer().status == 400
    assert ends_after_s(client, b"x" * 1_000) < LINGER_S + 2


def test_a_slow_body_is_served(client: RawClient) -> None:
    """A body may take longer than a head."""
    client.send(request(headers=b"content-length: 10\r\n", sized=False))
    for _ in range(10):
        time.sleep(HEAD_TIMEOUT_S / 5)
        client.send(b"x")
    assert client.read_answer().body == b"ok"


class ScriptedConnection:
    """A connection that gives a body by pieces when it is asked for them: bytes, or "end", "gone", "silence"."""

    full = False
    transport = asyncio.Transport()

    def __init__(self, pieces: tuple[bytes | str, ...], headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self._left = list(pieces)
        self.exchange = Exchange(self, b"POST", "/", b"/", list(headers), "1.1", keep_alive=True)

    def want_body(self) -> asyncio.Future[None]:
        """Let the next piece come."""
        wanted = asyncio.get_running_loop().create_future()
        match self._left.pop(0):
            case "silence":
                return wanted
            case "gone":
                self.exchange.gone = True
            case "end":
                self.exchange.body_complete = True
            case str(other):
                raise ValueError(other)
            case piece:
                self.exchange.add_body(piece)
        wanted.set_result(None)
        return wanted

    async def drain(self) -> None:
        """Nothing is written here."""

    def answered(self) -> None:
        """Nothing is answered here."""


def test_reading_a_body() -> None:
    """A body is put together; it must come in time, within the cap, and to its end."""

    async def read(*pieces: bytes | str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
        return await read_body(ScriptedConnection(pieces, headers).exchange, 10, 0.05)

    async def read_at_once(body: bytes) -> bytes:
        exchange = ScriptedConnection((), ()).exchange
        exchange.add_body(body)
        exchange.body_complete = True
        return await read_body(exchange, 10, 0.05)

    assert asyncio.run(read(b"ab", b"cd", "end")) == b"abcd"
    assert asyncio.run(read("end")) == b""
    assert asyncio.run(read_at_once(b"0123456789")) == b"0123456789"
    with pytest.raises(BodyTimeout):
        asyncio.run(read(b"ab", "silence"))
    with pytest.raises(ClientGoneError):
        asyncio.run(read(b"ab", "gone"))
    with pytest.raises(RequestTooLarge):
        asyncio.run(read(b"0123456", b"789a", "silence"))
    with pytest.raises(RequestTooLarge):
        asyncio.run(read_at_once(b"0123456789a"))
    with pytest.raises(RequestTooLarge):
        asyncio.run(read("silence", headers=((b"content-length", b"11"),)))
    with pytest.raises(InvalidRequest):
        asyncio.run(read(b"ab", "end", headers=((b"content-encoding", b"br"),)))
