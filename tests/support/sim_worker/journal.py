"""What the worker saw: every request, how it ended, and counts."""

import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["running", "finished", "aborted", "cut"]
"""`aborted`: the client closed the connection first. `cut`: the worker broke it, as its script said."""


@dataclass(slots=True)
class Seen:
    """One request as it arrived. `body` is the parsed JSON, or text when it was none."""

    number: int
    connection: int
    method: str
    path: str
    headers: list[tuple[str, str]]
    arrived_s: float
    body: Any = None
    state: State = "running"
    ended_s: float | None = None
    status: int | None = None
    frames_sent: int = 0

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name.lower()), None)


@dataclass(slots=True)
class Journal:
    """Requests in order of arrival, the newest 10,000; the counts cover all."""

    requests: deque[Seen] = field(default_factory=lambda: deque(maxlen=10_000))
    counts: dict[State, int] = field(default_factory=lambda: {"running": 0, "finished": 0, "aborted": 0, "cut": 0})
    connections: int = 0
    prompt_tokens: int = 0
    generation_tokens: int = 0
    finish_reasons: dict[str, int] = field(default_factory=dict)
    _arrived: int = 0

    def open(self, connection: int, method: str, path: str, headers: list[tuple[str, str]]) -> Seen:
        self._arrived += 1
        seen = Seen(self._arrived, connection, method, path, headers, time.time())
        self.requests.append(seen)
        self.counts["running"] += 1
        return seen

    def close(self, seen: Seen, state: State) -> None:
        """Ends a request; only the first end counts."""
        if seen.state != "running":
            return
        seen.state = state
        seen.ended_s = time.time()
        self.counts["running"] -= 1
        self.counts[state] += 1

    def clear(self) -> None:
        """Forgets what has ended; requests that still run stay."""
        running = [seen for seen in self.requests if seen.state == "running"]
        self.requests.clear()
        self.requests.extend(running)
        for state in ("finished", "aborted", "cut"):
            self.counts[state] = 0

    def as_json(self) -> dict[str, Any]:
        return {**self.stats(), "requests": [asdict(seen) for seen in self.requests]}

    def stats(self) -> dict[str, Any]:
        return dict(self.counts) | {"connections": self.connections}
