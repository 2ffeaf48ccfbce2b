"""Signs of life of one worker's engine: bytes of answers, beyond their heads, which vLLM sends before any token."""

from collections.abc import Callable
from typing import Literal

CanaryOutcome = Literal["answered", "needless", "failed"]
"""needless: a byte of another answer came first, or the worker left or drains."""


class Pulse:
    """Counts beats, and tells of the next one while a canary waits for it."""

    __slots__ = ("beats", "canaries", "on_beat")

    def __init__(self) -> None:
        self.beats = 0
        self.on_beat: Callable[[], object] | None = None
        """Called by each beat, in the event loop's callback: it must be quick and must not raise."""
        self.canaries: dict[CanaryOutcome, int] = {"answered": 0, "needless": 0, "failed": 0}

    def beat(self) -> None:
        """Note a sign of life."""
        self.beats += 1
        if self.on_beat is not None:
            self.on_beat()
