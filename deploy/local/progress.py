"""What the person in front of the terminal sees: one line per step, alive while the step runs."""

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

QUIET_S = 15.0
"""Without a terminal a line is printed when the first word of the phase changes, and otherwise this often."""


class SetupError(Exception):
    """Something the person can mend; the message says what and how."""


@dataclass(slots=True)
class Step:
    """A context manager around one long step. `update` may be called as often as one likes."""

    title: str
    _started: float = field(default_factory=time.monotonic)
    _detail: str = ""
    _printed: float = 0.0
    _outcome: str = "done"

    def __enter__(self) -> Self:
        return self

    def update(self, detail: str) -> None:
        """Show the phase the step is in, with the seconds since the step began."""
        now = time.monotonic()
        if sys.stdout.isatty():
            self._show(f"\r\x1b[2K  {self.title:<20} {detail} ({now - self._started:.0f} s)", end="")
        elif detail.split()[:1] != self._detail.split()[:1] or now - self._printed >= QUIET_S:
            self._show(f"  {self.title:<20} {detail} ({now - self._started:.0f} s)", end="\n")
            self._printed = now
            self._detail = detail

    def ready(self, outcome: str) -> None:
        """Say what the closing line of the step shall be."""
        self._outcome = outcome

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed = time.monotonic() - self._started
        lead = "\r\x1b[2K" if sys.stdout.isatty() else ""
        outcome = self._outcome if error is None else "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        spent = f" ({elapsed:.0f} s)" if elapsed >= 1 else ""
        self._show(f"{lead}  {self.title:<20} {outcome}{spent}", end="\n")

    def _show(self, text: str, end: str) -> None:
        print(text, end=end, flush=True)
