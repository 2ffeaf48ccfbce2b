"""What is measured: each candidate knows how to start on core 0 in front of the mock worker."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.bench import tools
from tests.bench.tools import BenchError

MODEL = "google/gemma-3-270m"
KEY = "bench-key-0123456789abcdef"
GATEWAY_CORE, LOAD_CORE = 0, 1
_START_DEADLINE_S = 60.0
_STOP_DEADLINE_S = 15.0
_READY = re.compile(r"ready on http://\S+?:(\d+)")


@dataclass(frozen=True, slots=True)
class Running:
    name: str
    port: int
    pid: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def started(
    name: str, command: list[str], core: int, log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process pinned to one core, its output in `log`; stopped by SIGTERM, then SIGKILL, with all it started."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            print(f"bench: {name} did not stop on SIGTERM", file=sys.stderr)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def port_from_log(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port in a "ready on" line, once it is there."""
    deadline = time.monotonic() + _START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := _READY.search(log.read_text(errors="replace")):
            return int(found[1])
        time.sleep(0.05)
    raise BenchError(f"no ready line in {log.name}:\n{log.read_text(errors='replace')[-2000:]}")


def await_chat(name: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Returns when a chat completion through the candidate comes back right."""
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]})
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    deadline = time.monotonic() + _START_DEADLINE_S
    last = "nothing"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("POST", "/v1/chat/completions", body, headers)
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace")
            connection.close()
            if reply.status == 200 and "Copenhagen" in text:
                return
            last = f"{reply.status} {text[:300]}"
        except OSError as exc:
            last = repr(exc)
        time.sleep(0.2)
    raise BenchError(f"{name} does not answer: {last}\n{log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def mock_worker(chunks: int, interval_ms: int, folder: Path) -> Iterator[Running]:
    log = folder / "mock_worker.log"
    command = [str(tools.compiled_mock_worker()), "0", str(chunks), str(interval_ms), MODEL]
    with started("mock worker", command, LOAD_CORE, log) as process:
        port = port_from_log(process, log)
        await_chat("mock worker", port, process, log)
        yield Running("mock worker", port, process.pid)


_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream worker {{ server 127.0.0.1:{worker}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    location / {{ proxy_pass http://worker; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(worker_port: int, folder: Path) -> Iterator[Running]:
    """proxy_pass with kept connections, no access log: the floor for a proxy."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, worker=worker_port, port=port))
    command = [tools.system_tool("nginx", "nginx"), "-c", str(config), "-p", str(folder)]
    with _serving("nginx", command, port, folder) as running:
        yield running


@contextlib.contextmanager
def vllm_router(worker_port: int, folder: Path) -> Iterator[Running]:
    """Round robin over one worker, no key check: its default features, errors logged only."""
    port = free_port()
    command = [str(tools.vllm_router()), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--worker-urls", f"http://127.0.0.1:{worker_port}", "--policy", "round_robin"]
    command += ["--log-level", "error", "--prometheus-port", str(free_port())]
    with _serving("vllm-router", command, port, folder) as running:
        yield running


@contextlib.contextmanager
def gateway(worker_port: int, folder: Path) -> Iterator[Running]:
    """With key check and request validation, and its log going to a file."""
    config = folder / "gateway.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "models": [{"name": MODEL, "workers": [{"url": f"http://127.0.0.1:{worker_port}"}]}],
                "tenants": [{"id": "bench", "keys": [{"id": "bench", "secret": "${BENCH_KEY}"}]}],
            }
        )
    )
    log = folder / "gateway.log"
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", "0"]
    with started("gateway", command, GATEWAY_CORE, log, {"BENCH_KEY": KEY}) as process:
        port = port_from_log(process, log)
        await_chat("gateway", port, process, log)
        yield Running("gateway", port, process.pid)


@contextlib.contextmanager
def _serving(name: str, command: list[str], port: int, folder: Path) -> Iterator[Running]:
    log = folder / f"{name}.log"
    with started(name, command, GATEWAY_CORE, log) as process:
        await_chat(name, port, process, log)
        yield Running(name, port, process.pid)


Candidate = Callable[[int, Path], contextlib.AbstractContextManager[Running]]
CANDIDATES: dict[str, Candidate] = {"nginx": nginx, "vllm-router": vllm_router, "gateway": gateway}
