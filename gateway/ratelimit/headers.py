"""`x-ratelimit-*`: integers, and Go durations for the resets, which Go clients read with `time.ParseDuration`. Pure."""

from typing import Final

from gateway.ratelimit.policy import Standing, Unit

_MS_PER_S: Final = 1_000
_MS_PER_MINUTE: Final = 60_000
_MS_PER_HOUR: Final = 3_600_000


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
    lines = "" if requests is None else _lines("requests", requests)
    return (lines if tokens is None else lines + _lines("tokens", tokens)).encode()


def _lines(unit: Unit, standing: Standing) -> str:
    return (
        f"x-ratelimit-limit-{unit}: {standing.limit}\r\n"
        f"x-ratelimit-remaining-{unit}: {standing.remaining}\r\n"
        f"x-ratelimit-reset-{unit}: {go_duration(standing.reset_ms) if standing.reset_ms else '0s'}\r\n"
    )
