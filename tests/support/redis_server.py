"""A real redis-server of its own for a test: started empty, paused, stopped and started again on the same port."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.support.secret_search import search

_START_DEADLINE_S = 10.0


class RedisServer:
    """``with RedisServer() as server: … server.url``. Nothing is kept on disk: a restart begins empty.

    `config` is lines of redis.conf, `arguments` come last on the command line.
    """

    def __init__(self, *, password: str = "", config: str = "", arguments: Sequence[str] = ()) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._password = password
        self._config = f"requirepass {password}\n{config}" if password else config
        self._arguments = arguments
        self._folder = Path(tempfile.mkdtemp(prefix="redis-test-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def url(self) -> str:
        login = f":{self._password}@" if self._password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and not self._paused:
            with suppress(redis.RedisError):  # a sentinel holds no keys, a cluster may be down by now
                search(f"redis on port {self.port}", self.dump().decode(errors="replace"))
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Returns when it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        if self._config:
            config = self._folder / "redis.conf"
            config.write_text(self._config)
            command.insert(1, str(config))
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_DEADLINE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("redis-server did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        """Kills it: nothing is answered any more, and everything is forgotten."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._paused = False

    def pause(self) -> None:
        """From now on it answers nothing, and its connections stay open."""
        self._running().send_signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Goes on where it was paused."""
        self._running().send_signal(signal.SIGCONT)
        self._paused = False

    def dump(self) -> bytes:
        """Everything it holds, as text: each key and its value."""
        return b"\n".join(self._contents())

    def client(self) -> redis.Redis:
        """A client of its own, to be closed; answers are text."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    def _contents(self) -> list[bytes]:
        client: Any = redis.Redis(port=self.port, password=self._password or None)
        readers = {
            b"string": lambda key: [client.get(key)],
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1),
            b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
            b"stream": lambda key: [repr(entry).encode() for entry in client.xrange(key)],
        }
        try:
            keys = list(client.scan_iter())
            return [*keys, *(value for key in keys for value in readers[client.type(key)](key))]
        finally:
            client.close()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64)[:1] in (b"+", b"-")
        except OSError:
            return False

    @property
    def pid(self) -> int:
        return self._running().pid

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("redis-server is not running")
        return self._process
