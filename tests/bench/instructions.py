"""How many instructions one request, or one chunk of a stream, costs: the same on a busy machine as on an idle one.

The gateway's own protocol, endpoints and worker client run on transports that are not sockets: a request goes in as the
bytes of one read, the worker's answer too. valgrind counts the instructions of two runs of different length; their
difference by the number of requests leaves out the start. What the kernel does is not counted.

`--limits` takes three limits from a Redis of its own, whose answers come in the loop's next turn; `--filters` screens
what comes in for 1,000 keywords and the markup rules.

`--breakdown` shows instead how many Python calls it makes, and in which module, from the profiler.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import uvicorn
import uvloop
import yaml
from uvicorn.server import ServerState

from gateway.api.protocol import GatewayProtocol
from gateway.app import build_app
from gateway.config.reload import ConfigFile
from gateway.ratelimit import redis_link, redis_server
from gateway.ratelimit.redis_link import Orphaned, RedisLink
from gateway.ratelimit.redis_scripts import Scripts
from gateway.routing.catalog import VARIANTS
from gateway.upstream.connection import WorkerConnection
from gateway.upstream.pool import ConnectionPool
from gateway.values import WorkerFacts
from tests.bench.tools import BenchError, system_tool

MODEL = "google/gemma-3-270m"
KEY = "bench-key-0123456789abcdef"
_WARM_UP = 100
_TENANT = {"id": "bench", "keys": [{"id": "bench", "secret": KEY}]}
_LIMITS = {"requests_per_minute": 10**9, "tokens_per_minute": 10**12, "concurrent_requests": 10**6}
_RULES = [
    {"kind": "keywords", "words": [f"unwanted{number}" for number in range(1000)], "action": "block"},
    {"kind": "patterns", "set": "markup", "action": "redact"},
]
_TAKEN = b"*7\r\n:1\r\n:1795496669000000\r\n:1042\r\n:250000\r\n:0\r\n:0\r\n:17\r\n"
"""What `reserve.lua` answers for `_LIMITS`: granted, the time, what is used, no wait, leases held."""
_PATIENCE_S = 3600.0
"""In place of the limiter's deadline: valgrind is slow."""
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city today.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
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


_JSON_CALL = (['{"name": "get_weather", "parameters": {"city": "'], ['"}}'])
_MARKED_CALL = (["<|tool_call>", "call:get_weather{city:", '<|"|>'], ['<|"|>', "}", "<tool_call|>"])
"""What a model writes before and after the value of a call's only argument."""


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


def _compact(value: object) -> str:
    """JSON as clients and vLLM write it."""
    return json.dumps(value, separators=(",", ":"))


def _message(first: bytes, body: dict[str, object], *headers: bytes) -> bytes:
    data = _compact(body).encode()
    lines = (first, *headers, b"content-type: application/json", b"content-length: %d" % len(data))
    return b"\r\n".join((*lines, b"", data))


def _request(**fields: object) -> bytes:
    body = {"model": MODEL, "messages": [{"role": "user", "content": _QUESTION}], "temperature": 0.7, "max_tokens": 64}
    host, key = b"Host: 127.0.0.1:8080", b"Authorization: Bearer " + KEY.encode()
    return _message(b"POST /v1/chat/completions HTTP/1.1", {**body, **fields}, host, key)


def unary_answer() -> list[bytes]:
    return [_message(b"HTTP/1.1 200 OK", _ANSWER, b"date: Tue, 24 Nov 2026 05:20:15 GMT", b"server: uvicorn")]


def streamed_answer(chunks: int, *, call: bool = False, dialect: str = "auto") -> list[bytes]:
    """A stream of chunks as vLLM sends them, each in a read of its own: of text, or all of one call."""
    before, after = (_MARKED_CALL if dialect == "gemma4" else _JSON_CALL) if call else ([], [])
    pieces = [*before, *[" token"] * (chunks - len(before) - len(after)), *after]
    common = {"id": _ANSWER["id"], "object": "chat.completion.chunk", "created": 1795496669, "model": MODEL}
    choice = {"index": 0, "logprobs": None, "finish_reason": None, "token_ids": None}
    texts = [_compact({**common, "choices": [{**choice, "delta": {"content": piece}}]}) for piece in pieces]
    usage = _compact({**common, "choices": [], "usage": _ANSWER["usage"]})
    frames = [f"data: {data}\n\n".encode() for data in (*texts, usage, "[DONE]")]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%s\r\n" % (len(frame), frame) for frame in frames), b"0\r\n\r\n"]


async def connect(pool: ConnectionPool, reads: Sequence[bytes], *, deadline: float) -> WorkerConnection:
    """A connection that answers whatever is sent by these reads."""
    del pool, deadline
    loop = asyncio.get_running_loop()
    connection = WorkerConnection(loop)

    def play(number: int) -> None:
        connection.data_received(reads[number])
        if number + 1 < len(reads):
            loop.call_soon(play, number + 1)

    connection.connection_made(Wire(lambda _: loop.call_soon(play, 0)))
    return connection


async def open_link(
    target: object, address: object, tls: object, scripts: Scripts, lost: Callable[[str], None], orphaned: Orphaned
) -> RedisLink:
    """A connection to a Redis that grants everything."""
    del target, address, tls
    loop = asyncio.get_running_loop()
    link = RedisLink(loop, lost, orphaned)

    def written(data: bytes) -> None:
        taken = data.count(scripts.reserve.sha)  # after the settling of the request before, if both are in one write
        loop.call_soon(link.data_received, b":1\r\n" * (data.count(b"EVALSHA") - taken) + _TAKEN * taken)

    link.connection_made(Wire(written))
    return link


@dataclass(frozen=True, slots=True)
class Load:
    """What is served: requests, or the chunks of one stream."""

    stream: bool = False
    tools: bool = False
    """A tool is declared."""
    call: bool = False
    """All chunks are of a call."""
    limits: bool = False
    filters: bool = False
    dialect: str = "auto"
    chunks: int = 0
    """Of each stream, where it is streams that are counted."""

    @property
    def options(self) -> list[str]:
        """The command line that says so."""
        named = [f"--{name}" for name in ("stream", "tools", "call", "limits", "filters") if getattr(self, name)]
        return [*named, "--dialect", self.dialect, "--chunks", str(self.chunks)]

    @property
    def configuration(self) -> dict[str, object]:
        """The gateway's."""
        model = {"name": MODEL, "dialect": self.dialect, "workers": [{"url": "http://127.0.0.1:1"}]}
        tenant: dict[str, object] = dict(_TENANT)
        sections: dict[str, object] = {"models": [model], "tenants": [tenant]}
        if self.limits:
            tenant["limits"] = _LIMITS
            sections["redis"] = {"url": "redis://127.0.0.1:1/0"}
        if self.filters:
            tenant["filter"] = "bench"
            sections["filters"] = {"bench": {"input": _RULES}}
        return sections


async def serve_requests(request: bytes, count: int, end: bytes, load: Load) -> None:
    """Serves a request `count` times on one connection; answers end in `end`. Raises BenchError at a wrong answer."""
    loop = asyncio.get_running_loop()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(load.configuration, file)
        file.flush()
        configuration = ConfigFile(Path(file.name), {}, VARIANTS)
        app = build_app(configuration, configuration.load(), loop)
    for model, worker in app.fleet.workers():
        worker.mark_up(WorkerFacts(model.context_length, (1, 106), parses_calls=False))
    config = uvicorn.Config(
        app.rest, ws="none", interface="asgi3", log_config=None, lifespan="off", proxy_headers=False
    )
    config.load()
    finished: asyncio.Future[None] = loop.create_future()
    answers = 0

    def written(data: bytes) -> None:
        nonlocal answers
        if not data.startswith(b"HTTP/1.1 200 ") and data.find(b"\r\ndata: ") < 0:
            finished.set_exception(BenchError(f"answered {data[:300]!r}"))
        elif data.endswith(end):
            answers += 1
            if answers == count:
                finished.set_result(None)
            else:
                loop.call_soon(protocol.data_received, request)

    protocol = GatewayProtocol(
        config, ServerState(), {}, loop, write_timeout_s=60, endpoints=app.endpoints, observer=app.observer
    )
    protocol.connection_made(Wire(written))
    async with app.endpoints["/v1/chat/completions"]._services.limiter:  # what else the lifespan starts isn't needed
        protocol.data_received(request)
        await finished


def run(count: int, load: Load) -> None:
    """Serves `count` requests, or one stream of so many chunks."""
    whole = load.chunks or not load.stream
    reads = (
        streamed_answer(load.chunks or count, call=load.call, dialect=load.dialect) if load.stream else unary_answer()
    )
    declared: dict[str, object] = {"tools": [_TOOL]} if load.tools or load.call else {}
    serving = (
        serve_requests(_request(stream=True, **declared), count if whole else 1, b"0\r\n\r\n", load)
        if load.stream
        else serve_requests(_request(**declared), count, b"}", load)
    )
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stderr(nowhere),  # for the request log
        mock.patch.object(ConnectionPool, "connect", functools.partialmethod(connect, reads)),
        mock.patch.object(redis_server, "open_link", open_link),
        mock.patch.object(redis_link, "DEADLINE_S", _PATIENCE_S),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serving)


def instructions_of(count: int, load: Load) -> int:
    """Instructions of a whole process that serves `count` requests, or chunks."""
    tool = [system_tool("valgrind", "valgrind"), "--tool=callgrind", f"--callgrind-out-file={os.devnull}"]
    command = [*tool, sys.executable, "-m", "tests.bench.instructions", "--serve", str(count), *load.options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise BenchError(done.stderr[-2000:])
    return int(found[1])


def breakdown(count: int, load: Load) -> str:
    """Calls and shares of the profiled time per module, most calls first."""
    profile = cProfile.Profile()
    profile.runcall(functools.partial(run, count, load))
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
    return "\n".join([f"{sum(made for made, _ in rows):7.1f}  calls", *lines])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.instructions", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="requests or chunks to count over (default 1000)")
    parser.add_argument("--breakdown", action="store_true", help="Python calls per module instead")
    parser.add_argument("--stream", action="store_true", help="count per chunk of one stream, not per request")
    parser.add_argument("--tools", action="store_true", help="requests declare a tool, which isn't called")
    parser.add_argument("--call", action="store_true", help="with --stream: all chunks are of a call of that tool")
    parser.add_argument("--limits", action="store_true", help="count under limits that a Redis keeps")
    parser.add_argument("--filters", action="store_true", help="screen what comes in")
    parser.add_argument("--dialect", default="auto", help="of the model; `engine` passes tools on untouched")
    parser.add_argument("--chunks", type=int, default=0, help="with --stream: count streams of so many chunks")
    parser.add_argument("--serve", type=int, metavar="N", help="only serve N, to run under a tool of yours")
    args = parser.parse_args(argv)
    load = Load(args.stream, args.tools, args.call, args.limits, args.filters, args.dialect, args.chunks)
    if args.serve:
        run(args.serve, load)
    elif args.breakdown:
        print(breakdown(args.count, load))
    else:
        used = instructions_of(_WARM_UP + args.count, load) - instructions_of(_WARM_UP, load)
        print(f"{used / args.count:,.0f} instructions per {'chunk' if args.stream and not args.chunks else 'request'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
