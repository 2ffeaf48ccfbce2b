"""A clock that stands still until a test moves it."""


class DrivenClock:
    """Called, it gives microseconds. It begins at a full hour, so that buckets begin there too."""

    def __init__(self, start_us: int = 1_700_000_000_000_000 // 86_400_000_000 * 86_400_000_000) -> None:
        self.now_us = start_us

    def __call__(self) -> int:
        return self.now_us

    def advance_ms(self, time_ms: float) -> None:
        self.now_us += int(time_ms * 1000)
