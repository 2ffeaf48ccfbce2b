"""The ways to break: those that replace a whole reply, and those that happen inside a stream."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import msgspec

from .errors import error_body
from .exchange import JSON_TYPE, Exchange
from .script import Fault, FaultKind


def http_head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _sized(body: bytes, length: int | None = None) -> bytes:
    return (
        http_head(
            200,
            {
                "server": "uvicorn",
                "content-type": JSON_TYPE,
                "content-length": str(len(body) if length is None else length),
            },
        )
        + body
    )


async def _stall(exchange: Exchange, _fault: Fault, _body: bytes) -> None:
    await exchange.wait_disconnect()


async def _cut_before_headers(exchange: Exchange, fault: Fault, _body: bytes) -> None:
    await exchange.cut(reset=fault.reset)


async def _cut_in_headers(exchange: Exchange, fault: Fault, body: bytes) -> None:
    head = _sized(body)[: -len(body)]
    exchange.write_raw(head[: len(head) // 2])
    await exchange.cut(reset=fault.reset)


async def _cut_in_body(exchange: Exchange, fault: Fault, body: bytes) -> None:
    exchange.write_raw(_sized(body)[: -(len(body) // 2)])
    await exchange.cut(reset=fault.reset)


async def _status(exchange: Exchange, fault: Fault, _body: bytes) -> None:
    await exchange.reply_json(fault.status, error_body(fault.message, fault.type, fault.status))


async def _raw_body(exchange: Exchange, fault: Fault, _body: bytes) -> None:
    await exchange.reply(fault.status, fault.body.encode(), fault.content_type)


async def _garbage(exchange: Exchange, fault: Fault, _body: bytes) -> None:
    exchange.write_raw(bytes(range(256)) * max(1, min(fault.size_bytes, 4096) // 256))
    await exchange.cut(reset=fault.reset)


async def _huge_headers(exchange: Exchange, fault: Fault, body: bytes) -> None:
    line = "x" * 1000
    extra = {f"x-filler-{n}": line for n in range(fault.size_bytes // 1000 + 1)}
    await exchange.reply(200, body, JSON_TYPE, extra)


async def _long_content_length(exchange: Exchange, fault: Fault, body: bytes) -> None:
    exchange.write_raw(_sized(body, len(body) + 100))
    await exchange.cut(reset=fault.reset)


async def _short_content_length(exchange: Exchange, fault: Fault, body: bytes) -> None:
    exchange.write_raw(_sized(body, len(body) - 10))
    await exchange.cut(reset=fault.reset)


async def _chunked_body(exchange: Exchange, fault: Fault, body: bytes) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(body), fault.size_bytes):
            yield body[start : start + fault.size_bytes]

    await exchange.reply_chunked(200, parts(), JSON_TYPE)


async def _extra_bytes(exchange: Exchange, _fault: Fault, body: bytes) -> None:
    await exchange.reply(200, body, JSON_TYPE)
    exchange.write_raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray")


async def _close_after_reply(exchange: Exchange, fault: Fault, body: bytes) -> None:
    await exchange.reply(200, body, JSON_TYPE)
    await exchange.cut(reset=fault.reset)


async def _stale_connection(exchange: Exchange, fault: Fault, body: bytes) -> None:
    if exchange.requests_on_connection > 1:
        await exchange.cut(reset=fault.reset)
    else:
        await exchange.reply(200, body, JSON_TYPE)


async def _slow_drip(exchange: Exchange, fault: Fault, body: bytes) -> None:
    for byte in _sized(body):
        exchange.write_raw(bytes((byte,)))
        await asyncio.sleep(fault.delay_s)
    await exchange.cut()


async def _big_body(exchange: Exchange, _fault: Fault, body: bytes) -> None:
    await exchange.reply(200, body, JSON_TYPE)


_WHOLE_REPLY: dict[FaultKind, Callable[[Exchange, Fault, bytes], Awaitable[None]]] = {
    "stall_before_headers": _stall,
    "cut_before_headers": _cut_before_headers,
    "cut_in_headers": _cut_in_headers,
    "cut_in_body": _cut_in_body,
    "status": _status,
    "raw_body": _raw_body,
    "garbage": _garbage,
    "huge_headers": _huge_headers,
    "long_content_length": _long_content_length,
    "short_content_length": _short_content_length,
    "big_body": _big_body,
    "chunked_body": _chunked_body,
    "extra_bytes": _extra_bytes,
    "close_after_reply": _close_after_reply,
    "stale_connection": _stale_connection,
    "slow_drip": _slow_drip,
}
BEFORE_STREAM: frozenset[FaultKind] = frozenset(
    {"stall_before_headers", "cut_before_headers", "cut_in_headers", "status", "raw_body", "garbage"}
)
"""Faults that hit a stream and a plain reply alike, because no stream ever starts."""


def replaces_reply(exchange: Exchange, fault: Fault | None, *, streaming: bool) -> bool:
    if fault is None:
        return False
    if streaming and fault.kind == "stale_connection":
        return exchange.requests_on_connection > 1
    return fault.kind in (BEFORE_STREAM if streaming else _WHOLE_REPLY)


async def break_reply(exchange: Exchange, fault: Fault, body: bytes) -> None:
    """Answers, or fails to; `body` is the reply that would have been right."""
    await _WHOLE_REPLY[fault.kind](exchange, fault, body)


def frame(value: object) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"


async def send_frame(exchange: Exchange, fault: Fault | None, data: bytes) -> None:
    """One frame as one part of the transfer, or byte by byte."""
    if fault is None or fault.kind != "slow_drip":
        await exchange.send_part(data)
        return
    for byte in data:
        await exchange.send_part(bytes((byte,)))
        await asyncio.sleep(fault.delay_s)


async def after_stream(exchange: Exchange, fault: Fault | None) -> None:
    """What goes wrong on a kept connection once the stream is complete."""
    if fault is not None and fault.kind == "close_after_reply":
        await exchange.cut(reset=fault.reset)
    elif fault is not None and fault.kind == "extra_bytes":
        exchange.write_raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray")


async def break_stream(exchange: Exchange, fault: Fault) -> bool:
    """Breaks a stream at the point reached; True when the stream shall go on after it."""
    match fault.kind:
        case "stall_mid_stream":
            await exchange.wait_disconnect()
        case "cut_mid_stream" | "cut_in_body":
            await exchange.cut(reset=fault.reset)
        case "end_without_done":
            await exchange.end_stream()
        case "error_mid_stream" | "error_first":
            await exchange.send_part(frame(error_body(fault.message, fault.type, fault.status)))
            await exchange.send_part(DONE)
            await exchange.end_stream()
        case "garbage_frame":
            await exchange.send_part(b"data: {not json}\n\n")
            return True
        case _:
            return True
    return False
