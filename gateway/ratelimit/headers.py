"""`x-ratelimit-*`: integers, and Go durations for the resets, which Go clients read with `time.ParseDuration`. Pure."""

from typing import Final

from gateway.ratelimit.policy import Standing

_MS_PER_S: Final = 1_000
_MS_PER_MINUTE: Final = 60_000
_MS_PER_HOUR: Final = 3_600_000
_REQUESTS: Final = (
    b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %b\r\n"
)
_TOKENS: Final = _REQUESTS.replace(b"requests", b"tokens")


def go_duration(time_ms: int) -> str:
    """Write a duration as Go does: `0s`, `12ms`, `1s`, `1.5s`, `6m0s`, `24h0m0s`."""
    if 0 < time_ms < _MS_PER_S:
        return f"{time_ms}ms"
    hours, rest = divmod(time_ms, _MS_PER_HOUR)
    minutes, rest = divmod(rest, _MS_PER_MINUTE)
    seconds = f"{rest / _MS_PER_S:g}s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def header_lines(requests: Standing | None, tokens: Standing | None) -> bytes:
    """Return the header lines, each with its line end; nothing for a unit that has no limit."""
    lines = b"" if requests is None else _REQUESTS % _figures(requests)
    return lines if tokens is None else lines + _TOKENS % _figures(tokens)


def _figures(standing: Standing) -> tuple[int, int, bytes]:
    reset = go_duration(standing.reset_ms).encode() if standing.reset_ms else b"0s"
    return standing.limit, standing.remaining, reset
