"""Serves the application with uvicorn, as vLLM does: in the foreground, or in a thread for tests in this process."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .app import App
from .journal import Seen
from .script import Script
from .settings import Settings

_START_DEADLINE_S = 10.0
_POLL_S = 0.005


def make_protocol(app: App) -> type[HttpToolsProtocol]:
    """The protocol of uvicorn, which also hands the application its transport, so that it can break the wire."""

    class Protocol(HttpToolsProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
            super().connection_made(transport)
            app.journal.connections += 1
            self._connection = app.journal.connections
            self._uses = 0

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._uses += 1
            extra = {"sim.transport": self.transport, "sim.connection": self._connection, "sim.uses": self._uses}
            self.scope.update(extra)  # type: ignore[typeddict-item]  # keys of ours beside ASGI's

    return Protocol


def make_server(app: App, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=make_protocol(app),
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        timeout_keep_alive=int(app.settings.keep_alive_s),
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)


def send_at_once(listener: socket.socket) -> None:
    """Let its connections send small writes at once, as vLLM's do: uvloop sees to that there, asyncio doesn't here."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class SimWorker:
    """A worker on a thread of its own: ``with SimWorker() as worker: … worker.url``.

    Its journal and scripts may be read and set from the test's thread.
    """

    def __init__(self, settings: Settings | None = None, *, port: int = 0) -> None:
        self.app = App(settings or Settings())
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        send_at_once(self._socket)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = make_server(self.app, port=self.port)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="sim-worker", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + _START_DEADLINE_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the simulated worker did not start")
            time.sleep(_POLL_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops at once: open streams are cut, as when an engine dies. Stopping twice does nothing."""
        self._server.force_exit = True
        self._server.should_exit = True
        self._thread.join(_START_DEADLINE_S)
        self._socket.close()

    def script(self, script: Script) -> None:
        self.app.scripts.add(script)

    def reset(self) -> None:
        """Forgets scripts and what has ended."""
        self.app.scripts.clear()
        self.app.journal.clear()

    @property
    def settings(self) -> Settings:
        return self.app.settings

    @property
    def requests(self) -> list[Seen]:
        return list(self.app.journal.requests)

    @property
    def generation_requests(self) -> list[Seen]:
        """Requests to the generating endpoints: without metrics, model lists and the gateway's own probes."""
        return [
            seen
            for seen in self.requests
            if seen.method == "POST"
            and seen.path.startswith("/v1/")
            and seen.header("user-agent") != "gemma-gateway-probe"
        ]

    @property
    def running(self) -> int:
        return self.app.journal.counts["running"]

    @property
    def aborted(self) -> int:
        return self.app.journal.counts["aborted"]

    @property
    def connections(self) -> int:
        return self.app.journal.connections

    def wait_until(self, condition: Callable[["SimWorker"], bool], timeout_s: float = 5.0) -> None:
        """Returns when `condition(worker)` holds; raises TimeoutError with the counts otherwise."""
        deadline = time.monotonic() + timeout_s
        while not condition(self):
            if time.monotonic() > deadline:
                raise TimeoutError(f"worker: {self.app.stats()}")
            time.sleep(_POLL_S)
