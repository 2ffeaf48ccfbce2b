"""Simulated workers as processes of their own, which can be killed, stopped by a signal and started again."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

_PROGRAM = (sys.executable, "-m", "tests.support.sim_worker")


class WorkerProcess:
    """``with WorkerProcess() as worker: … worker.url``. Started again it has the same address."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.port = 0

    @property
    def id(self) -> str:
        """As `x-gateway-worker` shows it."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it answers; raises RuntimeError when it ends instead."""
        command = (*_PROGRAM, "--port", str(self.port), *self._arguments)
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "ready on" not in line:
            raise RuntimeError(f"the simulated worker did not start: {line}")
        self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def hang(self) -> None:
        """It keeps its connections and says nothing, until it is woken."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """It goes on where it was."""
        self._signal(signal.SIGCONT)

    def script(self, **script: Any) -> None:
        """Answer all requests so from now on; earlier scripts are forgotten."""
        self._control("DELETE", "/sim/script")
        self._control("POST", "/sim/script", {"times": None, **script})

    def stats(self) -> dict[str, Any]:
        """Its counts of requests."""
        return self._control("GET", "/sim/stats")

    def _control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        asked = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            said: dict[str, Any] = json.load(answer)
        return said

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def start_workers(stack: ExitStack, count: int, arguments: Sequence[str] = ()) -> list[WorkerProcess]:
    """So many workers, which end with the stack."""
    return [stack.enter_context(WorkerProcess(*arguments)) for _ in range(count)]
