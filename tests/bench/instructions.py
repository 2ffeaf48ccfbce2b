"""How many instructions one request costs in the gateway's process: the same on a busy machine as on an idle one.

The gateway's own protocol, endpoints and worker client run on transports that are not sockets: a request goes in as the
bytes of one read, the worker's answer too. valgrind counts the instructions of two runs of different length; their
difference by the number of requests leaves out the start. What the kernel does is not counted.

`--breakdown` shows instead how many Python calls a request makes, and in which module, from the profiler.
"""

import argparse
import asyncio
import contextlib
import cProfile
import functools
import json
import os
import pstats
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import uvicorn
import uvloop
from uvicorn.server import ServerState

from gateway.api.protocol import GatewayProtocol
from gateway.app import build_app
from gateway.config.load import load_settings
from gateway.routing.catalog import VARIANTS
from gateway.upstream.connection import WorkerConnection
from gateway.upstream.pool import ConnectionPool
from tests.bench.tools import BenchError, system_tool

MODEL = "google/gemma-3-270m"
KEY = "bench-key-0123456789abcdef"
_WARM_UP = 100
_CONFIG = f"""
models:
  - {{name: {MODEL}, workers: [{{url: "http://127.0.0.1:1"}}]}}
tenants:
  - {{id: bench, keys: [{{id: bench, secret: {KEY}}}]}}
"""
_QUESTION = "What is the capital of Denmark?"
_ANSWER = {
    "id": "chatcmpl-0123456789abcdef",
    "object": "chat.completion",
    "created": 1795496669,
    "model": MODEL,
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "The capital of Denmark is Copenhagen, a city on the islands of Zealand and Amager.",
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "tool_calls": [],
                "reasoning": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
            "stop_reason": 106,
            "token_ids": None,
        }
    ],
    "service_tier": None,
    "system_fingerprint": "vllm-0.32",
    "usage": {"prompt_tokens": 17, "total_tokens": 36, "completion_tokens": 19, "prompt_tokens_details": None},
    "prompt_logprobs": None,
    "kv_transfer_params": None,
}
"""In vLLM's shape."""


class Wire(asyncio.Transport):
    """A transport that hands what is written to a function."""

    def __init__(self, written: Callable[[bytes], object]) -> None:
        super().__init__()
        self._written = written

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written(bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Stays open."""

    abort = pause_reading = resume_reading = close


def _message(first: bytes, body: dict[str, object], *headers: bytes) -> bytes:
    data = json.dumps(body).encode()
    lines = (first, *headers, b"content-type: application/json", b"content-length: %d" % len(data))
    return b"\r\n".join((*lines, b"", data))


REQUEST = _message(
    b"POST /v1/chat/completions HTTP/1.1",
    {"model": MODEL, "messages": [{"role": "user", "content": _QUESTION}], "temperature": 0.7, "max_tokens": 64},
    b"Host: 127.0.0.1:8080",
    b"Authorization: Bearer " + KEY.encode(),
)
ANSWER = _message(b"HTTP/1.1 200 OK", _ANSWER, b"date: Tue, 24 Nov 2026 05:20:15 GMT", b"server: uvicorn")


async def connect(pool: ConnectionPool, *, deadline: float) -> WorkerConnection:
    """A connection that gets `ANSWER` to whatever is sent."""
    del pool, deadline
    loop = asyncio.get_running_loop()
    connection = WorkerConnection(loop)
    connection.connection_made(Wire(lambda _: loop.call_soon(connection.data_received, ANSWER)))
    return connection


async def serve_requests(count: int) -> None:
    """Serves requests one after the other on one connection. Raises BenchError at a wrong answer."""
    loop = asyncio.get_running_loop()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(_CONFIG)
        file.flush()
        app = build_app(load_settings(Path(file.name), {}, VARIANTS), loop)
    config = uvicorn.Config(
        app.rest, ws="none", interface="asgi3", log_config=None, lifespan="off", proxy_headers=False
    )
    config.load()
    finished: asyncio.Future[None] = loop.create_future()
    answers = 0

    def answered(data: bytes) -> None:
        nonlocal answers
        answers += 1
        if not data.startswith(b"HTTP/1.1 200") or b"Copenhagen" not in data:
            finished.set_exception(BenchError(f"answered {data[:300]!r}"))
        elif answers == count:
            finished.set_result(None)
        else:
            loop.call_soon(protocol.data_received, REQUEST)

    protocol = GatewayProtocol(
        config, ServerState(), {}, loop, write_timeout_s=60, endpoints=app.endpoints, observer=app.observer
    )
    protocol.connection_made(Wire(answered))
    protocol.data_received(REQUEST)
    await finished


def run(count: int) -> None:
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),  # for the request log
        mock.patch.object(ConnectionPool, "connect", connect),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serve_requests(count))


def instructions_of(count: int) -> int:
    """Instructions of a whole process that serves `count` requests."""
    tool = [system_tool("valgrind", "valgrind"), "--tool=callgrind", f"--callgrind-out-file={os.devnull}"]
    command = [*tool, sys.executable, "-m", "tests.bench.instructions", "--serve", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise BenchError(done.stderr[-2000:])
    return int(found[1])


def breakdown(count: int) -> str:
    """Calls and shares of the profiled time per module, most calls first."""
    profile = cProfile.Profile()
    profile.runcall(functools.partial(run, count))
    calls: dict[str, int] = {}
    seconds: dict[str, float] = {}
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # its only table
    for (file, _, _), (_, made, own, _, _) in stats.items():
        module = file.rpartition("/gateway/")[2] if "/gateway/" in file else "built in and libraries"
        calls[module] = calls.get(module, 0) + made
        seconds[module] = seconds.get(module, 0.0) + own
    rows = sorted(((calls[module] / count, module) for module in calls), reverse=True)
    total_s = sum(seconds.values())
    lines = [f"{made:7.1f}  {seconds[module] / total_s:5.1%}  {module}" for made, module in rows if made >= 0.5]
    return "\n".join([f"{sum(made for made, _ in rows):7.1f}  calls per request", *lines])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.instructions", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--breakdown", action="store_true", help="Python calls per module instead")
    parser.add_argument("--serve", type=int, metavar="N", help="only serve N requests, to run under a tool of yours")
    args = parser.parse_args(argv)
    if args.serve:
        run(args.serve)
    elif args.breakdown:
        print(breakdown(args.requests))
    else:
        count = instructions_of(_WARM_UP + args.requests) - instructions_of(_WARM_UP)
        print(f"{count / args.requests:,.0f} instructions per request")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
