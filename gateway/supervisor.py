"""Several processes that serve one port: started, watched, restarted one at a time, ended.

Each place has a listening socket of its own on the same port (SO_REUSEPORT: the kernel spreads connections), which the
supervisor keeps open. When a process ends, connections wait in its socket for the next one; a rolling restart starts
the new process on the same socket before the old one stops accepting. So no connection is refused in between.

| signal | what happens |
|---|---|
| SIGTERM, SIGINT | every process drains; exit status 0 when all ended well |
| SIGHUP | every process reads the configuration file again |
| SIGUSR2 | every process is replaced by a new one, one after the other, for what a reload can't change |

A process that ends by itself is started again, at most every `RESTART_S` seconds. One that can't start at the beginning
ends everything with its exit status.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.config.model import ServerSettings
from gateway.config.process_place import ProcessPlace
from gateway.observability.logs import configure_logging
from gateway.observability.process_metrics import retire

RESTART_S: Final = 1.0
READY_S: Final = 60.0
"""How long a process may take until it serves."""
KILL_S: Final = 10.0
"""What a process gets beyond the drain time before it is killed."""
BACKLOG: Final = 2048

logger = logging.getLogger("gateway.supervisor")


class StartError(Exception):
    """A process ended, or did nothing, before it served. `status` is its exit status."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"ended with status {status} before it served")


def supervise(arguments: Sequence[str], settings: ServerSettings) -> int:
    """Serve with `settings.workers` processes, each `gateway serve` with these arguments; returns the exit status."""
    configure_logging()
    with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
        try:
            sockets = listen(settings.host, settings.port, settings.workers)
        except OSError as error:
            logger.error("can't listen on %s:%d: %s", settings.host, settings.port, error)  # noqa: TRY400  # no trace
            return 1
        with contextlib.ExitStack() as stack:
            for listening in sockets:
                stack.enter_context(listening)
            supervisor = Supervisor(arguments, sockets, Path(folder), drain_s=settings.drain_s)
            return asyncio.run(supervisor.run())


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Return listening sockets on one port; port 0 takes any free one. Raises OSError."""
    sockets: list[socket.socket] = []
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    try:
        for _ in range(count):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
            address = listening.getsockname()
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets


@dataclass(frozen=True, slots=True)
class Serving:
    """One process that serves."""

    name: str
    process: asyncio.subprocess.Process


class Supervisor:
    """Keeps one process on each socket."""

    def __init__(
        self, arguments: Sequence[str], sockets: Sequence[socket.socket], folder: Path, *, drain_s: float
    ) -> None:
        self._command = [sys.executable, "-m", "gateway", "serve", *arguments]
        self._sockets = sockets
        self._folder = folder
        self._end_s = drain_s + KILL_S
        self._lifeline = os.pipe()
        self._names = itertools.count()
        self._at: dict[int, Serving] = {}
        """Who serves, by index of the socket."""
        self._alive: set[Serving] = set()
        """These, and those that come or go."""
        self._deaf: set[Serving] = set()
        """Those that come: a signal to reload would end a process that doesn't know of it yet."""
        self._reloads = 0
        self._watchers: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()
        self._rolling: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Serve until a signal ends it; returns the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR2, self._roll_soon)
        starting = asyncio.create_task(self._start_all(), name="start")
        ending = asyncio.create_task(self._ending.wait(), name="end")
        try:
            await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._say_ready()
                await ending
        except StartError as error:
            await self._end()
            return error.status or 1
        finally:
            starting.cancel()
            ending.cancel()
        return await self._end()

    async def _start_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._start(index)) for index in range(len(self._sockets))]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        for index, task in enumerate(tasks):
            self._watch(index, task.result())

    # One process

    async def _start(self, index: int) -> Serving:
        """Start a process on a socket and wait until it serves. Raises StartError; nothing is left behind then."""
        reading, writing = os.pipe()
        listening = self._sockets[index].fileno()
        place = ProcessPlace(f"{index}-{next(self._names)}", listening, writing, self._lifeline[0], self._folder)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "--process",
                str(place),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(listening, writing, self._lifeline[0]),
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        serving = Serving(place.name, process)
        self._alive.add(serving)
        self._deaf.add(serving)
        reloads = self._reloads
        try:
            if not await _comes(reading):
                raise StartError(await self._stop(serving))
        except BaseException:
            await self._stop(serving)
            raise
        finally:
            self._deaf.discard(serving)
        if reloads != self._reloads:
            _signal(serving, signal.SIGHUP)
        return serving

    def _watch(self, index: int, serving: Serving) -> None:
        self._at[index] = serving
        watcher = asyncio.create_task(self._keep(index, serving), name=f"process {index}")
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _keep(self, index: int, serving: Serving) -> None:
        """Wait for the end of a process; start another unless somebody else has, or all are to end."""
        status = await serving.process.wait()
        self._alive.discard(serving)
        retire(self._folder, serving.name)
        while self._at[index] is serving and not self._ending.is_set():
            logger.error("process %d ended with status %d; another is started", serving.process.pid, status)
            await asyncio.sleep(RESTART_S)
            await self._replace(index, serving)

    async def _replace(self, index: int, before: Serving) -> bool:
        """Put a new process in the place of another; whether one serves there now that is not `before`."""
        try:
            successor = await self._start(index)
        except (StartError, OSError) as error:
            logger.error("no other process could be started: %s", error)  # noqa: TRY400  # no trace
            return False
        if self._at[index] is before:
            self._watch(index, successor)
        else:
            await self._stop(successor)
        return True

    async def _stop(self, serving: Serving) -> int:
        """Let a process drain; kill it when it takes too long. Returns its exit status."""
        process = serving.process
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._end_s):
                status = await process.wait()
        except TimeoutError:
            logger.error("process %d did not end in %.0f s and is killed", process.pid, self._end_s)  # noqa: TRY400
            process.kill()
            status = await process.wait()
        self._alive.discard(serving)
        return status

    # All of them

    def _reload(self) -> None:
        """Tell every process to read the file again; one that comes is told when it serves."""
        self._reloads += 1
        for serving in self._alive - self._deaf:
            _signal(serving, signal.SIGHUP)

    def _roll_soon(self) -> None:
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.create_task(self._roll(), name="rolling restart")

    async def _roll(self) -> None:
        """Replace every process. Ends at the first that can't be: the old ones serve on."""
        for index, before in list(self._at.items()):
            if not await self._replace(index, before):
                logger.error("the restart ends here, the other processes serve on")
                return
            await self._stop(before)
        logger.info("every process has been replaced")

    async def _end(self) -> int:
        """End every process; returns 0 when all ended well."""
        self._ending.set()
        os.close(self._lifeline[1])  # a process that is just being started sees it too
        for task in (*self._watchers, *filter(None, [self._rolling])):
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        statuses = await asyncio.gather(*(self._stop(serving) for serving in list(self._alive)))
        os.close(self._lifeline[0])
        return next((1 for status in statuses if status), 0)

    def _say_ready(self) -> None:
        host, port = self._sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"gateway ready on http://{shown}:{port}", flush=True)  # noqa: T201  # the contract's ready line


def _signal(serving: Serving, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        serving.process.send_signal(number)


async def _comes(reading: int) -> bool:
    """Whether a byte comes through a pipe before it ends, in `READY_S`. Closes the pipe."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[bool] = loop.create_future()

    def read() -> None:
        if not arrived.done():
            arrived.set_result(bool(os.read(reading, 1)))

    loop.add_reader(reading, read)
    try:
        async with asyncio.timeout(READY_S):
            return await arrived
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(reading)
        os.close(reading)
