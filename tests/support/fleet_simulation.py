"""Engines and gateways on a clock of their own: how long requests wait, and where they go, under a way of balancing.

An engine serves a fixed number of requests at once and queues the others, as vLLM does with `--max-num-seqs`. Several
gateways may send to the same engines: each knows what it sent itself, and what an engine's metrics said when it was
last asked. Everything is seeded: a run is the same every time.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from gateway.config.model import Balance
from gateway.routing.worker import EngineLoad, Worker
from gateway.routing.worker_set import WorkerSet
from tests.support.fleets import make_workers

SCRAPE_S = 2.0
Key = Callable[[random.Random], int | None]


@dataclass(slots=True, eq=False)
class Engine:
    """One engine: what runs, and what waits since when."""

    places: int
    running: int = 0
    waiting: deque[tuple[float, float, Worker]] = field(default_factory=deque[tuple[float, float, Worker]])


@dataclass(slots=True)
class Outcome:
    """What a simulation has seen."""

    waits_s: list[float] = field(default_factory=list[float])
    """In the engines' queues."""
    sent: Counter[int] = field(default_factory=Counter[int])
    """Requests by engine."""
    keys: list[tuple[int | None, int]] = field(default_factory=list[tuple[int | None, int]])
    """Key and engine of each request, in their order."""
    seen: Counter[int] = field(default_factory=Counter[int])
    """Requests in flight at each engine, summed over all arrivals."""

    def unevenness(self) -> tuple[float, float]:
        """The most loaded engine's share of the mean: of requests sent, and of requests in flight."""
        sent, seen = (max(counts.values()) * len(counts) / sum(counts.values()) for counts in (self.sent, self.seen))
        return sent, seen

    def p99_wait_s(self) -> float:
        return sorted(self.waits_s)[int(0.99 * len(self.waits_s))]


class Simulation:
    """Poisson arrivals at a share of the engines' capacity; lengths are mixed: of ten requests one is long."""

    def __init__(
        self, *, balance: Balance, engines: int = 8, places: int = 4, gateways: int = 1, seed: int = 1
    ) -> None:
        self._engines = [Engine(places) for _ in range(engines)]
        self._fleets = [make_workers(engines) for _ in range(gateways)]
        self._sets = [WorkerSet(workers, balance) for workers in self._fleets]
        self._rng = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = count()
        self._outcome = Outcome()

    def run(self, requests: int, load: float, key: Key = lambda _rng: None) -> Outcome:
        """Let so many requests arrive at this share of capacity."""
        mean_s = 0.9 * 1.0 + 0.1 * 10.0
        rate = load * sum(engine.places for engine in self._engines) / mean_s
        arrivals = 0.0
        for _ in range(requests):
            arrivals += self._rng.expovariate(rate)
            self._at(arrivals, lambda now: self._arrive(now, key(self._rng)))
        for number, workers in enumerate(self._fleets):
            for slot, worker in enumerate(workers):
                self._scrape_from(SCRAPE_S * self._rng.random() + 0.01 * number, slot, worker, arrivals)
        while self._events:
            now, _, happen = heapq.heappop(self._events)
            happen(now)
        return self._outcome

    def _at(self, when: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), happen))

    def _arrive(self, now: float, key: int | None) -> None:
        gateway = self._rng.randrange(len(self._sets))
        worker = self._sets[gateway].pick((), self._rng, key)
        assert worker is not None
        slot = self._fleets[gateway].index(worker)
        worker.take()
        self._note(key, slot)
        service_s = self._rng.expovariate(1 / 10.0) if self._rng.random() < 0.1 else self._rng.expovariate(1.0)
        engine = self._engines[slot]
        engine.waiting.append((now, service_s, worker))
        self._begin(now, engine)

    def _begin(self, now: float, engine: Engine) -> None:
        while engine.waiting and engine.running < engine.places:
            arrived, service_s, worker = engine.waiting.popleft()
            engine.running += 1
            self._outcome.waits_s.append(now - arrived)
            self._at(now + service_s, partial(self._end, engine, worker))

    def _end(self, engine: Engine, worker: Worker, now: float) -> None:
        engine.running -= 1
        worker.release()
        self._begin(now, engine)

    def _scrape_from(self, now: float, slot: int, worker: Worker, until: float) -> None:
        engine = self._engines[slot]
        if now < until:
            self._at(now, lambda _now: worker.see_engine(_load(engine)))
            self._scrape_from_later(now + SCRAPE_S, slot, worker, until)

    def _scrape_from_later(self, now: float, slot: int, worker: Worker, until: float) -> None:
        self._at(now, lambda at: self._scrape_from(at, slot, worker, until))

    def _note(self, key: int | None, slot: int) -> None:
        outcome = self._outcome
        outcome.sent[slot] += 1
        outcome.keys.append((key, slot))
        for number in range(len(self._engines)):
            outcome.seen[number] += sum(workers[number].in_flight for workers in self._fleets)


def _load(engine: Engine) -> EngineLoad:
    used = engine.running / engine.places
    return EngineLoad(running=engine.running, waiting=len(engine.waiting), kv_use=0.5 * used, generated_tokens=0.0)
