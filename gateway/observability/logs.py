"""Logs as JSON lines on standard error: one per request at its end, and what the modules report.

Lines of requests are gathered for `FLUSH_S` and written at once: a write per request costs more than its line.
"""

import asyncio
import logging
import select
import sys
import time
from collections.abc import Iterable, Iterator
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

    def __init__(self, stream: BinaryIO, loop: asyncio.AbstractEventLoop, *, shared: bool = False) -> None:
        """`shared`: other processes write to the same stream, which may be a pipe."""
        self._stream = stream
        self._piece_bytes = select.PIPE_BUF if shared else sys.maxsize
        self._loop = loop
        self._pending: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._dropped = 0
        self._lines = RequestLines()

    def write(self, record: RequestRecord, ended: float) -> None:
        """Add the line of a request that ended at `ended` (event loop's clock, seconds)."""
        if len(self._pending) >= MAX_PENDING_LINES:
            self._dropped += 1
            return
        self._pending.append(self._lines.line(record, ended, time.time()))
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
                for piece in pieces_of(lines, self._piece_bytes):
                    self._stream.write(piece)
                    self._stream.flush()
            except (OSError, ValueError):  # nobody reads standard error any more: serving goes on
                return

    def close(self) -> None:
        """Write the rest."""
        if self._timer is not None:
            self._timer.cancel()
        self.flush()


def pieces_of(lines: Iterable[bytes], limit_bytes: int) -> Iterator[bytes]:
    """Join lines to pieces within a limit: what goes into a pipe at once doesn't mix with what others write."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) + 1 > limit_bytes:
            yield b"\n".join([*piece, b""])
            piece, size = [], 0
        piece.append(line)
        size += len(line) + 1
    yield b"\n".join([*piece, b""])


class RequestLines:
    """Writes requests as JSON lines; what is unknown is left out.

    The names that requests share are encoded once per combination; their number is bounded by the configuration.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str | None, ...], bytes] = {}
        self._timestamps = Timestamps()

    def line(self, record: RequestRecord, ended: float, wall_s: float) -> bytes:
        """Return the line of a request that ended at `ended` (monotonic seconds), without its line break."""
        started, usage = record.started, record.usage
        names = (record.endpoint, record.tenant, record.key, record.model, record.worker)
        parts = [
            b'{"time":"%b","level":"%b","message":"request","request_id":%b,%b,"status":%d,"ms":%.3f'
            % (
                self._timestamps.text(wall_s).encode("ascii"),
                b"info" if record.status < 500 else b"warning",
                _ENCODER.encode(record.request_id),
                self._names.get(names) or self._encode_names(names),
                record.status,
                (ended - started) * 1000,
            )
        ]
        if record.first_byte_at is not None:
            parts.append(b',"first_byte_ms":%.3f' % ((record.first_byte_at - started) * 1000))
        if record.sent_at is not None:
            parts.append(b',"overhead_ms":%.3f' % ((record.sent_at - started) * 1000))
        if record.queued_s is not None:
            parts.append(b',"queued_ms":%.3f' % (record.queued_s * 1000))
        if usage is not None:
            parts.append(b',"prompt_tokens":%d,"completion_tokens":%d' % (usage.prompt_tokens, usage.completion_tokens))
        if record.stream:
            parts.append(b',"stream":true,"frames":%d' % record.frames)
        if record.asked_model is not None:
            parts.append(b',"asked_model":"%b"' % record.asked_model.encode("ascii"))
        if record.fallback_from is not None:
            parts.append(b',"fallback_from":%b' % _ENCODER.encode(record.fallback_from))
        if record.attempts > 1:
            parts.append(b',"attempts":%d' % record.attempts)
        if record.error is not None:
            parts.append(b',"error":%b' % _ENCODER.encode(record.error))
        if record.cause is not None:
            parts.append(b',"cause":%b' % _ENCODER.encode(record.cause))
        if record.filter is not None:
            parts.append(b',"filter":%b' % _ENCODER.encode(record.filter))
        parts.append(b"}")
        return b"".join(parts)

    def _encode_names(self, names: tuple[str | None, ...]) -> bytes:
        fields = ("endpoint", "tenant", "key", "model", "worker")
        known = {field: name for field, name in zip(fields, names, strict=True) if name is not None}
        encoded = self._names[names] = _ENCODER.encode(known)[1:-1]
        return encoded


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
