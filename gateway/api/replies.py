"""Values to JSON and to events of a stream; errors to OpenAI's envelope."""

import math

import msgspec

from gateway.errors import ContentFiltered, GatewayError, MethodNotAllowed, RateLimited
from gateway.wire.replies import ErrorBody, ErrorDetail

JSON_HEAD = b"content-type: application/json\r\nopenai-version: 2020-10-01\r\n"
STREAM_HEAD = (
    b"content-type: text/event-stream; charset=utf-8\r\nopenai-version: 2020-10-01\r\n"
    b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
)

_ENCODER = msgspec.json.Encoder()


def error_body(error: GatewayError) -> bytes:
    """Return `{"error": {"message", "type", "param", "code"}}`."""
    return _ENCODER.encode(ErrorBody(ErrorDetail(error.message, error.type, error.param, error.code)))


def error_event(error: GatewayError) -> bytes:
    """Return the error as an event of a stream; `"error"` comes first in the object, as some clients expect."""
    return b"data: " + error_body(error) + b"\n\n"


def error_headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """Return the headers that say whether and when to retry."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
        headers.append((b"retry-after-ms", b"%d" % max(1, math.ceil(error.retry_after_s * 1000))))
    if error.retryable is False:
        headers.append((b"x-should-retry", b"false"))
    if isinstance(error, RateLimited | ContentFiltered):
        headers.extend(_split(line) for line in error.header_lines.splitlines())
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode("ascii")))
    return headers


def _split(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b": ")
    return name, value
