"""The connections to one worker.

Idle ones are reused newest first, and none that has been idle longer than vLLM keeps it (5 s): the race between our
request and its close is kept rare, and the client retries once where it is lost. There is no cap on connections: what
may run at once is decided before, by limits and queues; a cap here would only hide a queue.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit
from weakref import WeakSet

from gateway.upstream.connection import HeardConnection, WorkerConnection
from gateway.upstream.failures import ConnectFailed

CONNECT_TIMEOUT_S = 5.0
IDLE_TIMEOUT_S = 4.0
"""Below the 5 s after which vLLM's server closes an idle connection."""
MAX_IDLE = 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a worker listens."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str) -> "Origin":
        """Take an `http://` or `https://` URL that the configuration has already checked."""
        parts: SplitResult = urlsplit(url)
        tls = parts.scheme == "https"
        return cls(parts.hostname or "", parts.port or (443 if tls else 80), tls)

    @property
    def authority(self) -> str:
        """`host:port`, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class ConnectionPool:
    """Hands out connections to one worker and takes them back."""

    def __init__(
        self, origin: Origin, *, loop: asyncio.AbstractEventLoop, heard: Callable[[], None] | None = None
    ) -> None:
        """`heard` is told of what the engine says, where anybody listens."""
        self.origin = origin
        self._heard = heard
        self._loop = loop
        self._tls = ssl.create_default_context() if origin.tls else None
        self._idle: deque[WorkerConnection] = deque()
        self._open: WeakSet[WorkerConnection] = WeakSet()
        self._closed = False

    def take_idle(self) -> WorkerConnection | None:
        """Return a connection that was used before, or None."""
        oldest = self._loop.time() - IDLE_TIMEOUT_S
        while self._idle:
            connection = self._idle.pop()
            if not connection.reusable:
                continue
            if connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def connect(self, *, deadline: float) -> WorkerConnection:
        """Open a new connection. Raises ConnectFailed."""
        until = min(deadline, self._loop.time() + CONNECT_TIMEOUT_S)
        origin = self.origin
        try:
            async with asyncio.timeout_at(until):
                _, connection = await self._loop.create_connection(self._make, origin.host, origin.port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            message = f"no connection to {origin.authority}: {error or 'timed out'}"
            raise ConnectFailed(message) from error
        self._open.add(connection)
        return connection

    def _make(self) -> WorkerConnection:
        return WorkerConnection(self._loop) if self._heard is None else HeardConnection(self._loop, self._heard)

    def give_back(self, connection: WorkerConnection) -> None:
        """Take a connection back after its exchange; close it unless another may follow."""
        if not connection.reusable or self._closed or len(self._idle) >= MAX_IDLE:
            connection.abort()
            return
        connection.release()
        self._idle.append(connection)
        oldest = connection.idle_since - IDLE_TIMEOUT_S
        while self._idle[0].idle_since < oldest or not self._idle[0].reusable:
            self._idle.popleft().abort()

    def give_up_waiting(self) -> None:
        """Fail the exchanges of whose answers nothing has come, because the worker hangs."""
        for connection in tuple(self._open):
            connection.give_up_waiting()

    def close(self) -> None:
        """Close all idle connections; those that are lent are closed when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().abort()
