"""One vLLM server of one model: what is known of it, and what is in flight there.

Mutable state of a worker is owned here and changed through its methods. A worker that belongs to a `WorkerSet` tells it
of each change, so that choosing one of a hundred needs no look at each of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal, Protocol

from msgspec import Struct

from gateway.config.model import Secret
from gateway.routing.breaker import Breaker
from gateway.routing.pulse import Pulse
from gateway.values import WorkerFacts, WorkerId

WorkerState = Literal["unknown", "up", "down", "misconfigured"]
"""unknown: not probed yet. misconfigured: it answers, but doesn't serve the model."""
WorkerSource = Literal["file", "dns", "kubernetes", "admin", "provider"]
"""Where a worker was learnt of."""
_NONE: Final[Mapping[str, str | None]] = MappingProxyType({})
_FULLEST: Final = 0.99
REST_S: Final = 1.0
"""How long a worker that said it is full is let alone, at least; its next probe ends it."""


class EngineLoad(Struct, frozen=True):
    """What an engine's metrics tell."""

    running: float
    waiting: float
    kv_use: float
    """Of the cache of conversations, 0 to 1."""
    generated_tokens: float
    """Since it started."""


class Observer(Protocol):
    """Is told what changes the choice among workers."""

    def loaded(self, slot: int, requests: int) -> None:
        """Note that the worker in this slot has so many requests now."""
        ...

    def freed(self, slot: int, requests: int) -> None:
        """Note that one has ended there; it has so many now."""
        ...

    def changed(self) -> None:
        """Note that a worker has become usable or isn't any more, or what its engine tells."""
        ...

    def may_leave_out(self) -> bool:
        """Whether one more worker may be left out for what it answers: half of them are always used."""
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
    usable: bool = field(init=False)
    """Whether requests may go there: never when it serves another model."""
    breaker: Breaker = field(default_factory=Breaker)
    resting: bool = False
    """It said that it is full: who has nothing in flight must not look like the least loaded one."""
    hangs: bool = False
    """It answers `/health`, but its engine made no token for a canary."""
    pulse: Pulse = field(default_factory=Pulse, repr=False)
    """Beats for a model with `canary_s` only."""
    engine: EngineLoad | None = None
    """None: its metrics are not read, or too old."""
    refusals: dict[int, int] = field(default_factory=dict[int, int])
    """Requests answered with a status that an operator has to mend, by status."""
    shared: int = 0
    """Requests that other gateways say they have there."""
    _engine_elsewhere: float = field(default=0.0, repr=False)
    _observer: Observer | None = field(default=None, repr=False)
    _slot: int = field(default=0, repr=False)
    _rests_until: float = field(default=0.0, repr=False)

    def __post_init__(self) -> None:
        self._tell()

    @property
    def credible(self) -> bool:
        """Whether it may serve its model as far as is known: the file's workers may be asked before the first probe, so
        that a gateway serves from its first moment; one that joins later shows first what it is.
        """
        return self.state == "up" or (self.state == "unknown" and self.source == "file")

    @property
    def authorization(self) -> dict[str, str]:
        """The header that presents its key; nothing where it wants none."""
        return {"authorization": f"Bearer {self.api_key.reveal()}"} if self.api_key else {}

    def attach(self, observer: Observer | None, slot: int) -> None:
        """Tell `observer` of what happens from now on, under the number `slot`."""
        self._observer = observer
        self._slot = slot

    def take(self) -> None:
        """Count a request that is sent there; `release` must follow."""
        self.in_flight = requests = self.in_flight + 1
        if self._observer is not None:
            if self.breaker.state == "half-open":
                self.breaker.begin_trial()
                self._tell()
            else:
                self._observer.loaded(self._slot, requests)

    def release(self) -> None:
        """Count a request that has ended there, however it ended."""
        self.in_flight = requests = self.in_flight - 1
        if self._observer is not None:
            self._observer.freed(self._slot, requests)

    @property
    def elsewhere(self) -> float:
        """Load that this gateway didn't cause or can't see: others' requests, what waits in the engine, a full cache.

        In requests. What the engine had beyond ours when it was asked is kept until it is asked again; our own comings
        and goings since then are in `in_flight`.
        """
        if self.engine is None:
            return self.shared
        full = min(self.engine.kv_use, _FULLEST)
        return max(self._engine_elsewhere, self.shared) + self.engine.waiting + full / (1 - full)

    def mark_up(self, facts: WorkerFacts) -> None:
        """It answers and serves the model."""
        self.facts = facts
        self._become("up", "")

    def mark_down(self, problem: str) -> None:
        """It does not answer."""
        self.engine = None
        self._become("down", problem)

    def mark_misconfigured(self, problem: str) -> None:
        """It answers, but requests would go wrong."""
        self._become("misconfigured", problem)

    @property
    def adapters(self) -> Mapping[str, str | None]:
        """The LoRA adapters it has as far as is known, and where each is from; none while it isn't up."""
        return self.facts.adapters if self.facts is not None and self.state == "up" else _NONE

    def note_adapters(self, adapters: Mapping[str, str | None]) -> None:
        """It was seen to have these adapters, and where each is from."""
        if self.facts is not None:
            self.facts = replace(self.facts, adapters=adapters)

    def drain(self, on: bool = True) -> None:
        """Send it nothing more, or, with False, use it again."""
        self.draining = on
        if on:
            self.pulse.beat()  # a canary under way is nobody's business any more
        self._tell()

    def hang(self, *, on: bool) -> None:
        """Cut it off because its engine hangs, however few others there are; or, with False, use it again."""
        self.hangs = on
        if on:
            self.breaker.hold_open()
        else:
            self.breaker.reset()
        self._tell()

    def see_engine(self, load: EngineLoad | None) -> None:
        """Note what its engine tells; None when it tells nothing any more."""
        self.engine = load
        self._engine_elsewhere = 0.0 if load is None else max(0.0, load.running + load.waiting - self.in_flight)
        self._tell()

    def hear_shared(self, requests: int) -> bool:
        """Note how many requests other gateways have there; True when that is news, of which its set must be told."""
        news = requests != self.shared
        self.shared = requests
        return news

    def succeeded(self) -> None:
        """It answered; needs to be told only while `breaker.troubled`."""
        if self.breaker.succeeded():
            self._tell()

    def failed(self, now: float, jitter: float) -> None:
        """It failed a request by a fault of its own."""
        if self.breaker.failed(now) and self._observer is not None:
            if self.breaker.state == "closed" and not self._observer.may_leave_out():
                return
            self.breaker.open(now, jitter)
            self._tell()

    def refused(self, status: int) -> int:
        """Count a request that it refused because of how it or the gateway is set up; return how many there are."""
        self.refusals[status] = count = self.refusals.get(status, 0) + 1
        return count

    def rest(self, now: float) -> None:
        """It refused a request because it is full: send it nothing for a moment, while there are enough others."""
        if not self.resting and self._observer is not None and self._observer.may_leave_out():
            self.resting = True
            self._rests_until = now + REST_S
            self._tell()

    def tick(self, now: float) -> None:
        """Let time pass for the breaker and a worker that rests."""
        rested = self.resting and now >= self._rests_until
        if rested:
            self.resting = False
        if self.breaker.tick(now) or rested:
            self._tell()

    def _become(self, state: WorkerState, problem: str) -> None:
        before, self.state, self.problem = self.state, state, problem
        if before != state:
            self._tell()

    def _tell(self) -> None:
        self.usable = self.credible and self.breaker.passes and not self.draining and not self.resting
        if self._observer is not None:
            self._observer.changed()
