"""The real gateway as a process of its own: started from a configuration, watched, stopped as an operator stops it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

import yaml

from tests.support.secret_search import learn_secrets, search, search_command_lines

TEST_KEY = "test-key-0123456789"
"""The secret of the tenant in `gateway_config`."""
_READY = re.compile(r"^gateway ready on (http://\S+:(\d+))\s*$")
_START_DEADLINE_S = 30.0
_STOP_DEADLINE_S = 40.0
_METRICS_DEADLINE_S = 2.0


def gateway_config(worker_url: str, *, model: str = "google/gemma-3-270m", **sections: Any) -> dict[str, Any]:
    """A configuration with one model on one worker and one tenant whose key is TEST_KEY; `sections` replace or add."""
    return {
        "models": [{"name": model, "workers": [{"url": worker_url}]}],
        "tenants": [{"id": "acme", "keys": [{"id": "acme-test", "secret": TEST_KEY}]}],
        **sections,
    }


class GatewayProcess:
    """``with GatewayProcess(config) as gateway: … gateway.url``.

    Leaving the block stops it and checks that it exits 0; its output can still be read afterwards.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        arguments: Sequence[str] = (),
        program: Sequence[str] = ("-m", "gateway"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="gateway-test-"))
        self.config_path = self._folder / "gateway.yaml"
        self.rewrite(config)
        self._log_path = self._folder / "stderr.log"
        command = [sys.executable, *program, "serve", "--config", str(self.config_path), "--port", "0"]
        self._command = [*command, *arguments]
        self._environment = {**os.environ, **(environment or {})}
        learn_secrets(config, self._environment)
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read_output, name="gateway-stdout", daemon=True)
        self._output: list[str] = []
        self._kept_log = ""
        self._ready = threading.Event()
        self.url = ""
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = self.stop()
        if kind is None and status != 0:
            raise AssertionError(f"the gateway exited with {status}:\n{self._tail()}")

    def rewrite(self, config: Mapping[str, Any]) -> None:
        """Give the file other contents; a running gateway reads them when it is told to."""
        self.config_path.write_text(yaml.safe_dump(dict(config)))

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def stdout(self) -> str:
        return "".join(self._output)

    @property
    def stderr(self) -> str:
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else self._kept_log

    @property
    def logs(self) -> list[dict[str, Any]]:
        """Standard error as JSON objects; a line that is none raises, because the gateway promises JSON lines."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.strip()]

    def start(self) -> None:
        """Returns when the ready line is out; raises RuntimeError with the log when the process ends or is too slow."""
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
            )
        self._reader.start()
        self._ready.wait(_START_DEADLINE_S)
        if not self.port:
            self._process.kill()
            self._finish()
            raise RuntimeError(f"the gateway did not become ready:\n{self.stdout}{self._tail()}")

    def signal(self, number: signal.Signals) -> None:
        self._running().send_signal(number)

    def wait(self, timeout_s: float = _STOP_DEADLINE_S) -> int:
        return self._running().wait(timeout_s)

    def stop(self, timeout_s: float = _STOP_DEADLINE_S) -> int:
        """SIGTERM, then the exit status; a process that does not drain in time is killed, which is a status below 0.

        Stopping again returns the same status.
        """
        process = self._running()
        if process.poll() is None:
            search_command_lines()
            search(f"metrics of gateway {process.pid}", self._metrics())
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
        self._finish()
        return process.returncode

    def kill(self) -> None:
        """As the kernel does when memory is short: nothing is drained, nothing is told to anybody."""
        self._running().kill()
        self._finish()

    def _finish(self) -> None:
        self._running().wait()
        self._reader.join()
        self.close()

    def close(self) -> None:
        """Removes the configuration and the log file, whose text is kept. Stopping does this too."""
        if self._folder.exists():
            self._kept_log = self.stderr
            search(f"log of the gateway on port {self.port}", self._kept_log)
            shutil.rmtree(self._folder)

    def _metrics(self) -> str:
        """What it shows to Prometheus; nothing when it takes no connections any more."""
        try:
            with urlopen(f"{self.url}/metrics", timeout=_METRICS_DEADLINE_S) as reply:
                text: str = reply.read().decode()
        except OSError:
            return ""
        return text

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the gateway was not started")
        return self._process

    def _read_output(self) -> None:
        """Collects standard output to its end; the ready line, or the end, wakes the starter."""
        stream = self._running().stdout
        if stream is not None:
            with stream:
                for line in stream:
                    self._output.append(line)
                    if found := _READY.match(line):
                        self.url, self.port = found[1], int(found[2])
                        self._ready.set()
        self._ready.set()

    def _tail(self) -> str:
        return "\n".join(self.stderr.splitlines()[-40:])
