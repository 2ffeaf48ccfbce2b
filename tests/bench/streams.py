"""``python -m tests.bench.streams``: reads many paced streams at once and checks that each came complete.

Prints one JSON line: streams, complete, chunks, seconds, and the first problem if there was one.
"""

import argparse
import asyncio
import json
import os
import sys
import time

RAMP_S = 1.0
_BODY_TEXT = "What is the capital of Denmark?"


class StreamReader(asyncio.Protocol):
    """Sends one request and gathers the bytes of its reply until the last chunk, or the end."""

    def __init__(self, request: bytes, finished: "asyncio.Future[bytes]") -> None:
        self._request = request
        self._finished = finished
        self._received: list[bytes] = []
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received.append(data)
        if data.endswith(b"0\r\n\r\n"):
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self._finished.done():
            self._finished.set_result(b"".join(self._received))
            if self._transport is not None:
                self._transport.close()


def chat_request(host: str, model: str, key: str, *, stream: bool) -> bytes:
    """A whole HTTP/1.1 request for one chat completion."""
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": _BODY_TEXT}], "stream": stream}
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
    head += f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def problem_of(reply: bytes, chunks: int) -> str | None:
    """What is wrong with a stream that should have `chunks` text frames, a role and a finish frame, and [DONE]."""
    if not reply.startswith(b"HTTP/1.1 200"):
        return f"answered {reply[:200]!r}"
    body, whole = body_of(reply)
    frames = body.count(b"data: {")
    if frames != chunks + 2:
        return f"{frames} frames instead of {chunks + 2}"
    if body.count(b'"content":" token"') != chunks:
        return "frames without their text"
    if not whole or not body.endswith(b"data: [DONE]\n\n") or b'"error"' in body:
        return f"did not end well: {reply[-200:]!r}"
    return None


def body_of(reply: bytes) -> tuple[bytes, bool]:
    """The body of a chunked answer without its transfer coding, and whether its last chunk came.

    Where chunks of the transfer are cut says nothing about events: vllm-router sends an event's end in one of its own.
    """
    rest = reply.partition(b"\r\n\r\n")[2]
    pieces: list[bytes] = []
    while rest:
        size, line_end, rest = rest.partition(b"\r\n")
        if not line_end:
            break
        length = int(size, 16)
        if not length:
            return b"".join(pieces), rest == b"\r\n"
        pieces.append(rest[:length])
        rest = rest[length + 2 :]
    return b"".join(pieces), False


async def _read_one(port: int, request: bytes, delay_s: float, deadline_s: float) -> bytes:
    await asyncio.sleep(delay_s)
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: StreamReader(request, finished), "127.0.0.1", port)
    try:
        return await asyncio.wait_for(finished, deadline_s)
    finally:
        transport.close()
        await asyncio.sleep(0)  # lets the loop close the socket, also of the last stream


async def read_streams(
    port: int, count: int, chunks: int, model: str, key: str, deadline_s: float, ramp_s: float = RAMP_S
) -> dict[str, object]:
    """Opens `count` streams over `ramp_s` and reads all to their end."""
    request = chat_request(f"127.0.0.1:{port}", model, key, stream=True)
    started = time.monotonic()
    reads = (_read_one(port, request, ramp_s * i / count, deadline_s) for i in range(count))
    replies = await asyncio.gather(*reads, return_exceptions=True)
    seconds = time.monotonic() - started
    problems = [repr(r) if isinstance(r, BaseException) else problem_of(r, chunks) for r in replies]
    bad = [problem for problem in problems if problem]
    complete = count - len(bad)
    return {
        "streams": count,
        "complete": complete,
        "chunks": complete * (chunks + 2),
        "seconds": seconds,
        "problem": bad[0] if bad else None,
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.streams", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--chunks", type=int, required=True, help="text frames the worker sends per stream")
    parser.add_argument("--model", required=True)
    parser.add_argument("--deadline", type=float, default=60.0, help="seconds one stream may take")
    parser.add_argument("--ramp", type=float, default=RAMP_S, help="seconds in which the streams are opened")
    args = parser.parse_args(argv)
    key = os.environ.get("BENCH_KEY", "none")
    result = asyncio.run(read_streams(args.port, args.count, args.chunks, args.model, key, args.deadline, args.ramp))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
