"""What the supervisor hands to each process that serves: by a hidden flag of `gateway serve`, and inherited files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PARTS = 5


@dataclass(frozen=True, slots=True)
class ProcessPlace:
    """Where one process of several stands. File descriptors are inherited from the supervisor."""

    name: str
    """Of this process, among all that the supervisor ever starts."""
    socket: int
    """File descriptor of the listening socket."""
    ready: int
    """File descriptor of a pipe: a byte is written when requests are accepted."""
    lifeline: int
    """File descriptor of a pipe that ends when the supervisor does; the process then drains."""
    metrics: Path
    """Folder of what all processes have counted (observability/process_metrics.py)."""

    def __str__(self) -> str:
        return f"{self.name}:{self.socket}:{self.ready}:{self.lifeline}:{self.metrics}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote. Raises ValueError."""
        parts = text.split(":", _PARTS - 1)
        if len(parts) != _PARTS:
            raise ValueError("not a process place")
        return cls(parts[0], int(parts[1]), int(parts[2]), int(parts[3]), Path(parts[4]))
