"""``python -m tests.bench.arrivals``: streams that arrive at random at a given rate, and when their first text came.

Open loop: a slow answer doesn't keep the next request from being sent, as users don't wait for each other either.
Connections are kept and reused. Prints one JSON line: streams, complete, p50_ms, p99_ms, and the first problem if there
was one.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import time
from statistics import quantiles

import uvloop

from tests.bench.streams import chat_request, problem_of

_FIRST_TEXT = b'"content":" token"'


class KeptConnection(asyncio.Protocol):
    """One stream at a time."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.first_text_at: float | None = None
        self.ended: asyncio.Future[None] | None = None
        self.transport: asyncio.WriteTransport | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """Forget the last stream; the future is done when the next one has ended."""
        self.received, self.first_text_at, self.ended = [], None, loop.create_future()
        return self.ended

    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]  # a stream's
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.first_text_at is None and _FIRST_TEXT in data:
            self.first_text_at = time.perf_counter()
        self.received.append(data)
        if data.endswith(b"0\r\n\r\n"):
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._end()

    def _end(self) -> None:
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(None)


class Load:
    """Sends the streams and keeps what came of them."""

    def __init__(self, port: int, request: bytes, chunks: int) -> None:
        self._port = port
        self._request = request
        self._chunks = chunks
        self._idle: list[KeptConnection] = []
        self.waits_ms: list[float] = []
        self.problems: list[str] = []

    async def one(self, at: float, deadline_s: float) -> None:
        """Send one stream at `at`, a time of `perf_counter`, and read it to its end."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        while self._idle and self._idle[-1].transport is None:
            self._idle.pop()
        if self._idle:
            connection = self._idle.pop()
        else:
            _, connection = await loop.create_connection(KeptConnection, "127.0.0.1", self._port)
        ended = connection.begin(loop)
        transport = connection.transport
        if transport is None:
            self.problems.append("a connection was closed at once")
            return
        sent_at = time.perf_counter()
        transport.write(self._request)
        try:
            await asyncio.wait_for(ended, deadline_s)
        except TimeoutError:
            self.problems.append("a stream did not end in time")
            transport.abort()
            return
        first_text_at, reply = connection.first_text_at, b"".join(connection.received)
        problem = problem_of(reply, self._chunks)
        if problem or first_text_at is None:
            self.problems.append(problem or "no text")
            return
        self.waits_ms.append((first_text_at - sent_at) * 1e3)
        self._idle.append(connection)

    def close(self) -> None:
        for connection in self._idle:
            if connection.transport is not None:
                connection.transport.close()


async def arrive(port: int, rate: float, seconds: float, chunks: int, model: str, key: str) -> dict[str, object]:
    """`rate` streams a second for so long, at moments drawn from the same seed each time."""
    load = Load(port, chat_request(f"127.0.0.1:{port}", model, key, stream=True), chunks)
    rng = random.Random(8)
    moments: list[float] = []
    at = 0.0
    while (at := at + rng.expovariate(rate)) < seconds:
        moments.append(at)
    begun = time.perf_counter() + 0.1
    await asyncio.gather(*(load.one(begun + moment, deadline_s=30.0) for moment in moments))
    load.close()
    await asyncio.sleep(0)
    cuts = quantiles(load.waits_ms, n=100) if len(load.waits_ms) > 1 else [float("nan")] * 99
    return {
        "streams": len(moments),
        "complete": len(load.waits_ms),
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "problem": load.problems[0] if load.problems else None,
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.arrivals", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="streams a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--chunks", type=int, required=True, help="text frames the worker sends per stream")
    parser.add_argument("--model", required=True)
    args = parser.parse_args(argv)
    key = os.environ.get("BENCH_KEY", "none")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(arrive(args.port, args.rate, args.seconds, args.chunks, args.model, key))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
