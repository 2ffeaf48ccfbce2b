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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench import tools
from tests.bench.tools import BenchError

MODEL = "google/gemma-3-270m"
KEY = "sk-bench-key-0123456789abcdef"
KEYWORDS = 1000
EVERYTHING = "gateway, everything on"
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


_ENVOY_TYPES = "type.googleapis.com/envoy.extensions.filters"
_ENVOY = """
static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": {types}.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: bench
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes: [{{match: {{prefix: /}}, route: {{cluster: worker, timeout: 0s}}}}]
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {{"@type": {types}.http.router.v3.Router}}
  clusters:
    - name: worker
      type: STATIC
      circuit_breakers: {{thresholds: [{{max_connections: 20000, max_pending_requests: 20000, max_requests: 20000}}]}}
      load_assignment:
        cluster_name: worker
        endpoints:
          - lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {worker}}}}}}}}}]
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
    command = [str(tools.peer("vllm-router")), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--worker-urls", f"http://127.0.0.1:{worker_port}", "--policy", "round_robin"]
    command += ["--log-level", "error", "--prometheus-port", str(free_port())]
    with _serving("vllm-router", command, port, folder) as running:
        yield running


@contextlib.contextmanager
def smg(worker_port: int, folder: Path) -> Iterator[Running]:
    """SGLang's router for any OpenAI server: round robin over one worker, no keys."""
    port = free_port()
    command = [str(tools.peer("smg")), "launch", "--host", "127.0.0.1", "--port", str(port), "--backend", "openai"]
    command += ["--worker-urls", f"http://127.0.0.1:{worker_port}", "--policy", "round_robin"]
    command += ["--log-level", "error", "--prometheus-port", str(free_port())]
    with _serving("smg", command, port, folder) as running:
        yield running


@contextlib.contextmanager
def envoy(worker_port: int, folder: Path) -> Iterator[Running]:
    """One route to one cluster, no access log, one thread."""
    port = free_port()
    config = folder / "envoy.yaml"
    config.write_text(_ENVOY.format(types=_ENVOY_TYPES, port=port, worker=worker_port))
    command = [str(tools.peer("envoy")), "-c", str(config), "--concurrency", "1", "--log-level", "error"]
    with _serving("envoy", [*command, "--disable-hot-restart"], port, folder) as running:
        yield running


@contextlib.contextmanager
def litellm(worker_port: int, folder: Path) -> Iterator[Running]:
    """Its proxy with one worker process and a master key, without a database."""
    port = free_port()
    config = folder / "litellm.yaml"
    target = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{worker_port}/v1", "api_key": "none"}
    config.write_text(
        yaml.safe_dump(
            {
                "model_list": [{"model_name": MODEL, "litellm_params": target}],
                "general_settings": {"master_key": KEY},
                "litellm_settings": {"telemetry": False, "num_retries": 0},
            }
        )
    )
    command = [str(tools.peer("litellm")), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with _serving("litellm", [*command, "--num_workers", "1"], port, folder) as running:
        yield running


@contextlib.contextmanager
def gateway(worker_port: int, folder: Path) -> Iterator[Running]:
    """With key check, request validation, metrics and usage, and its log going to a file."""
    tenant: dict[str, Any] = {"id": "bench", "keys": [{"id": "bench", "secret": "${BENCH_KEY}"}]}
    with _gateway("gateway", worker_port, folder, {"tenants": [tenant]}) as running:
        yield running


@contextlib.contextmanager
def gateway_with_everything(worker_port: int, folder: Path) -> Iterator[Running]:
    """The same, with limits of three kinds counted in Redis, 1,000 keywords and the markup rules on what comes in."""
    port = free_port()
    redis = [tools.system_tool("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    limits = {"requests_per_minute": 10**9, "tokens_per_minute": 10**12, "concurrent_requests": 10**6}
    rules: list[dict[str, Any]] = [
        {"kind": "keywords", "words": [f"unwanted{number}" for number in range(KEYWORDS)], "action": "block"},
        {"kind": "patterns", "set": "markup", "action": "redact"},
    ]
    sections = {
        "redis": {"url": f"redis://127.0.0.1:{port}/0", "on_failure": "closed"},
        "filters": {"bench": {"input": rules}},
        "tenants": [
            {
                "id": "bench",
                "filter": "bench",
                "limits": limits,
                "keys": [{"id": "bench", "secret": "${BENCH_KEY}"}],
            }
        ],
    }
    with (
        started("redis", [*redis, "--save", "", "--appendonly", "no"], LOAD_CORE, folder / "redis.log"),
        _gateway(EVERYTHING, worker_port, folder, sections) as running,
    ):
        yield running


@contextlib.contextmanager
def _gateway(name: str, worker_port: int, folder: Path, sections: Mapping[str, Any]) -> Iterator[Running]:
    config = folder / f"{name}.yaml"
    models = [{"name": MODEL, "workers": [{"url": f"http://127.0.0.1:{worker_port}"}]}]
    config.write_text(yaml.safe_dump({"models": models, **sections}))
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--port", "0"]
    with started(name, command, GATEWAY_CORE, log, {"BENCH_KEY": KEY}) as process:
        port = port_from_log(process, log)
        await_chat(name, port, process, log)
        yield Running(name, port, process.pid)


@contextlib.contextmanager
def _serving(name: str, command: list[str], port: int, folder: Path) -> Iterator[Running]:
    log = folder / f"{name}.log"
    with started(name, command, GATEWAY_CORE, log) as process:
        await_chat(name, port, process, log)
        yield Running(name, port, process.pid)


Candidate = Callable[[int, Path], contextlib.AbstractContextManager[Running]]
CANDIDATES: dict[str, Candidate] = {
    "nginx": nginx,
    "envoy": envoy,
    "vllm-router": vllm_router,
    "smg": smg,
    "gateway": gateway,
    EVERYTHING: gateway_with_everything,
    "litellm": litellm,
}
UNARY_ONLY = frozenset({"litellm"})
"""Too slow for the load of streams."""
