"""Logs as JSON lines on standard error: one per request at its end, and what the modules report.

Lines of requests are gathered for `FLUSH_S` and written at once: a write per request costs more than its line.
"""

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec

from gateway.observability.record import RequestRecord

FLUSH_S = 0.05
MAX_PENDING_LINES = 10_000
"""Lines that wait while standard error takes none; more are dropped, and counted."""

_ENCODER = msgspec.json.Encoder()


class JsonFormatter(logging.Formatter):
    """One JSON object per record of the standard logging module."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line break."""
        line: dict[str, Any] = {
            "time": Timestamps().text(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        request_id = getattr(record, "request_id", None)
        if request_id is not None:
            line["request_id"] = request_id
        return _ENCODER.encode(line).decode()


class _WithoutNoise(logging.Filter):
    """Drops what uvicorn says about streams that end in an error, which the gateway leaves unfinished on purpose."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(("ASGI callable returned without", "Invalid HTTP request received"))


def configure_logging(level: int = logging.INFO) -> None:
    """Send the standard logging module's records to standard error as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    handler.addFilter(_WithoutNoise())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("httpcore2").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class RequestLog:
    """Writes one line per request; owned by the application and closed with it."""

    def __init__(self, stream: BinaryIO, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop
        self._pending: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._dropped = 0
        self._timestamps = Timestamps()

    def write(self, record: RequestRecord, ended: float) -> None:
        """Add the line of a request that ended at `ended` (event loop's clock, seconds)."""
        if len(self._pending) >= MAX_PENDING_LINES:
            self._dropped += 1
            return
        self._pending.append(_ENCODER.encode(request_line(record, ended, self._timestamps.text(time.time()))))
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what has gathered."""
        self._timer = None
        lines, self._pending = self._pending, []
        if self._dropped:
            lines.append(_ENCODER.encode({"level": "warning", "message": f"{self._dropped} request log lines dropped"}))
            self._dropped = 0
        if lines:
            try:
                self._stream.write(b"\n".join(lines) + b"\n")
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads standard error any more: serving goes on
                return

    def close(self) -> None:
        """Write the rest."""
        if self._timer is not None:
            self._timer.cancel()
        self.flush()


class RequestLine(msgspec.Struct, omit_defaults=True):
    """A request's log line; what is unknown is left out."""

    time: str
    level: str
    message: str
    request_id: str
    endpoint: str
    status: int
    ms: float
    tenant: str | None = None
    key: str | None = None
    model: str | None = None
    worker: str | None = None
    error: str | None = None
    cause: str | None = None
    stream: bool = False
    frames: int = 0
    attempts: int = 1
    first_byte_ms: float | None = None
    overhead_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


def request_line(record: RequestRecord, ended: float, timestamp: str) -> RequestLine:
    """Return the line of a request that ended at `ended` (monotonic seconds)."""
    started, usage = record.started, record.usage
    return RequestLine(
        time=timestamp,
        level="info" if record.status < 500 else "warning",
        message="request",
        request_id=record.request_id,
        endpoint=record.endpoint,
        status=record.status,
        ms=_milliseconds(started, ended),
        tenant=record.tenant,
        key=record.key,
        model=record.model,
        worker=record.worker,
        error=record.error,
        cause=record.cause,
        stream=record.stream,
        frames=record.frames,
        attempts=max(record.attempts, 1),
        first_byte_ms=None if record.first_byte_at is None else _milliseconds(started, record.first_byte_at),
        overhead_ms=None if record.sent_at is None else _milliseconds(started, record.sent_at),
        prompt_tokens=None if usage is None else usage.prompt_tokens,
        completion_tokens=None if usage is None else usage.completion_tokens,
    )


def _milliseconds(since: float, until: float) -> float:
    return round((until - since) * 1000, 3)


class Timestamps:
    """RFC 3339 in UTC with milliseconds; the part up to the second is made once per second."""

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def text(self, seconds: float) -> str:
        """Return the text of a time since the epoch."""
        whole = int(seconds)
        if whole != self._second:
            self._second = whole
            self._prefix = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._prefix}{int((seconds - whole) * 1000):03d}Z"
