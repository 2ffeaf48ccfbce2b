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
            "time": _timestamp(record.created),
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

    def write(self, record: RequestRecord, ended: float) -> None:
        """Add the line of a request that ended at `ended` (event loop's clock, seconds)."""
        if len(self._pending) >= MAX_PENDING_LINES:
            self._dropped += 1
            return
        self._pending.append(_ENCODER.encode(request_line(record, ended, _timestamp(time.time()))))
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


def request_line(record: RequestRecord, ended: float, timestamp: str) -> dict[str, Any]:
    """Return a request's log line; what is unknown is left out."""
    line: dict[str, Any] = {
        "time": timestamp,
        "level": "info" if record.status < 500 else "warning",
        "message": "request",
        "request_id": record.request_id,
        "endpoint": record.endpoint,
        "status": record.status,
        "ms": round((ended - record.started) * 1000, 3),
    }
    optional = {
        "tenant": record.tenant,
        "key": record.key,
        "model": record.model,
        "worker": record.worker,
        "error": record.error,
        "cause": record.cause,
    }
    line.update((name, value) for name, value in optional.items() if value is not None)
    if record.stream:
        line["stream"] = True
        line["frames"] = record.frames
    if record.attempts > 1:
        line["attempts"] = record.attempts
    if record.first_byte_at is not None:
        line["first_byte_ms"] = round((record.first_byte_at - record.started) * 1000, 3)
    if record.sent_at is not None:
        line["overhead_ms"] = round((record.sent_at - record.started) * 1000, 3)
    if record.usage is not None:
        line["prompt_tokens"] = record.usage.prompt_tokens
        line["completion_tokens"] = record.usage.completion_tokens
    return line


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
