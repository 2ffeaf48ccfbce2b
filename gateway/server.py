"""The process that serves: uvicorn around the application, its signals, its exit status."""

import asyncio
import contextlib
import functools
import gc
import logging
import math
import os
import signal
import socket
from collections.abc import Generator
from typing import Final

import uvicorn
import uvloop

from gateway.api.protocol import GatewayProtocol
from gateway.app import Application, build_app
from gateway.config.model import ServerSettings
from gateway.config.process_place import ProcessPlace
from gateway.config.reload import ConfigFile, Loaded
from gateway.observability.logs import configure_logging

KEEP_ALIVE_S: Final = 75
"""Longer than the idle time of common clients and balancers, so that they close first."""

logger = logging.getLogger("gateway.server")


class GatewayServer(uvicorn.Server):
    """uvicorn's server: says on standard output when it is ready, and ends with exit status 0 after a drain.

    As one process of several it tells the supervisor instead.
    """

    def __init__(self, config: uvicorn.Config, place: ProcessPlace | None) -> None:
        super().__init__(config)
        self._place = place

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Start listening, then print the line that scripts wait for."""
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started and self._place is not None:
            os.write(self._place.ready, b"\n")
            os.close(self._place.ready)
        elif self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"gateway ready on http://{shown}:{port}", flush=True)  # noqa: T201  # the contract's ready line

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Drain on SIGTERM and SIGINT; unlike uvicorn's own, the signal isn't raised again afterwards."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(file: ConfigFile, loaded: Loaded, place: ProcessPlace | None = None) -> int:
    """Serve what was read from the file until SIGTERM or SIGINT, drain, and return the exit status.

    SIGHUP reads the file again. `place`: where this process stands among several.
    """
    configure_logging()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(file, loaded, place))


async def _serve(file: ConfigFile, loaded: Loaded, place: ProcessPlace | None) -> int:
    if loaded.settings.no_auth:
        logger.warning("--no-auth: everybody who reaches this gateway may use every model")
    loop = asyncio.get_running_loop()
    app = build_app(file, loaded, loop, place)
    loop.add_signal_handler(signal.SIGHUP, app.reloader.reload_soon)
    server = GatewayServer(_uvicorn_config(app, loaded.settings.server), place)
    gc.freeze()  # what is there now stays: no collection stops the requests to look through it
    gc.enable()
    if place is None:
        await server.serve()
    else:
        loop.add_reader(place.lifeline, _drain_for_good, server, place, loop)
        await server.serve(sockets=[socket.socket(fileno=place.socket)])
    return 0 if server.started else 1


def _drain_for_good(server: GatewayServer, place: ProcessPlace, loop: asyncio.AbstractEventLoop) -> None:
    """The supervisor is gone: nobody would start, stop or count this process any more."""
    loop.remove_reader(place.lifeline)
    server.should_exit = True


def _uvicorn_config(app: Application, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app.rest,
        host=settings.host,
        port=settings.port,
        http=functools.partial(  # type: ignore[arg-type]  # called as the class is
            GatewayProtocol,
            endpoints=app.endpoints,
            observer=app.observer,
            write_timeout_s=settings.stream_idle_timeout_s,
        ),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.drain_s),
    )
