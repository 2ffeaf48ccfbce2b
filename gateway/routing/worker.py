"""One vLLM server of one model: what is known of it, and what is in flight there.

Mutable state of a worker is owned here and changed through its methods. A worker that belongs to a `WorkerSet` tells it
of each change, so that choosing one of a hundred needs no look at each of them.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.config.model import Secret
from gateway.values import WorkerFacts, WorkerId

WorkerState = Literal["unknown", "up", "down", "misconfigured"]
"""unknown: not probed yet. misconfigured: it answers, but doesn't serve the model."""
WorkerSource = Literal["file", "dns", "kubernetes", "admin"]
"""Where a worker was learnt of."""


class Observer(Protocol):
    """Is told what changes the choice among workers."""

    def loaded(self, slot: int) -> None:
        """Note that the load of the worker in this slot has changed."""
        ...

    def changed(self) -> None:
        """Note that a worker has become usable, or isn't any more."""
        ...


@dataclass(slots=True, eq=False)
class Worker:
    """One vLLM server of one model."""

    id: WorkerId
    url: str
    api_key: Secret | None
    weight: float = 1.0
    source: WorkerSource = "file"
    in_flight: int = 0
    """Requests of this gateway that the worker has and that have not ended."""
    state: WorkerState = "unknown"
    problem: str = ""
    """Why it isn't up; for operators."""
    facts: WorkerFacts | None = None
    draining: bool = False
    """It gets no new requests; those it has go on to their end."""
    _observer: Observer | None = field(default=None, repr=False)
    _slot: int = field(default=0, repr=False)

    @property
    def usable(self) -> bool:
        """Whether requests may go there: never when it serves another model.

        The file's workers may be asked before the first probe, so that a gateway serves from its first moment; one
        that joins later shows first what it is.
        """
        return not self.draining and (self.state == "up" or (self.state == "unknown" and self.source == "file"))

    def attach(self, observer: Observer | None, slot: int) -> None:
        """Tell `observer` of what happens from now on, under the number `slot`."""
        self._observer = observer
        self._slot = slot

    def take(self) -> None:
        """Count a request that is sent there; `release` must follow."""
        self.in_flight += 1
        if self._observer is not None:
            self._observer.loaded(self._slot)

    def release(self) -> None:
        """Count a request that has ended there, however it ended."""
        self.in_flight -= 1
        if self._observer is not None:
            self._observer.loaded(self._slot)

    def mark_up(self, facts: WorkerFacts) -> None:
        """It answers and serves the model."""
        self.facts = facts
        self._become("up", "")

    def mark_down(self, problem: str) -> None:
        """It does not answer."""
        self._become("down", problem)

    def mark_misconfigured(self, problem: str) -> None:
        """It answers, but requests would go wrong."""
        self._become("misconfigured", problem)

    def drain(self, on: bool = True) -> None:
        """Send it nothing more, or, with False, use it again."""
        self.draining = on
        self._tell()

    def _become(self, state: WorkerState, problem: str) -> None:
        before, self.state, self.problem = self.state, state, problem
        if before != state:
            self._tell()

    def _tell(self) -> None:
        if self._observer is not None:
            self._observer.changed()
