"""The header lines that tell a client where it stands."""

import pytest

from gateway.ratelimit.headers import go_duration, header_lines
from gateway.ratelimit.policy import Standing


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (12, "12ms"),
        (999, "999ms"),
        (1_000, "1s"),
        (1_500, "1.5s"),
        (59_999, "59.999s"),
        (60_000, "1m0s"),
        (360_000, "6m0s"),
        (3_600_000, "1h0m0s"),
        (87_840_000, "24h24m0s"),
        (3_661_001, "1h1m1.001s"),
    ],
)
def test_writes_durations_as_go_does(time_ms: int, text: str) -> None:
    """Go's time.Duration.String; time.ParseDuration reads it back."""
    assert go_duration(time_ms) == text


def test_writes_three_lines_for_each_unit() -> None:
    """Integers for the numbers, a duration for the reset."""
    lines = header_lines(Standing(100, 0, 1_200), Standing(40_000, 39_000, 0))
    assert lines == (
        b"x-ratelimit-limit-requests: 100\r\n"
        b"x-ratelimit-remaining-requests: 0\r\n"
        b"x-ratelimit-reset-requests: 1.2s\r\n"
        b"x-ratelimit-limit-tokens: 40000\r\n"
        b"x-ratelimit-remaining-tokens: 39000\r\n"
        b"x-ratelimit-reset-tokens: 0s\r\n"
    )


def test_leaves_out_a_unit_without_limit() -> None:
    """There is no honest number for what isn't limited."""
    assert header_lines(None, None) == b""
    assert b"requests" not in header_lines(None, Standing(1, 1, 0))
