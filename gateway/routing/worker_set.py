"""The workers of one model, arranged so that one is chosen in microseconds, however many there are.

The set itself never changes: a worker that joins or leaves makes another set, swapped in with one assignment. What
changes inside it is the load of each worker, kept as a list of plain numbers that C code can search.

The load of a worker is what is in flight there from here, plus what its engine and other gateways tell, divided by its
weight. When one engine tells nothing any more, that of all others is ignored too: a number is compared with its like.
"""

import random
from bisect import bisect_left, bisect_right
from collections.abc import Collection
from itertools import accumulate
from typing import Final, Protocol

from gateway.config.model import Balance
from gateway.routing.hash_ring import HashRing
from gateway.routing.worker import Worker

_GOLDEN: Final = 0.6180339887498949
_NEVER: Final = float("inf")
BOUND: Final = 1.12
"""With `prefix`: how far above the mean a worker's requests may be when it gets another. Since the mean may fall
until it loses some, and gateways don't know of each other's, that keeps it below 1.25 on average."""
ALWAYS_ROOM: Final = 4
"""Below so many requests for its weight a worker is never too loaded for its conversations."""


class Room(Protocol):
    """Where requests wait for a place."""

    def __len__(self) -> int: ...

    def freed(self) -> None:
        """Note that a request has ended."""
        ...

    def offer(self, worker: Worker) -> bool:
        """Give a free place to the next one who waits; False when nobody does."""
        ...


class WorkerSet:
    """Chooses among the workers of one model."""

    __slots__ = (
        "_alone",
        "_balance",
        "_cumulative",
        "_elsewhere",
        "_in_flight",
        "_in_turn",
        "_limit",
        "_ring",
        "_room",
        "_scores",
        "_scoring",
        "_total",
        "_turn",
        "_weight",
        "_weights",
        "workers",
    )

    def __init__(
        self, workers: tuple[Worker, ...], balance: Balance, limit: int | None = None, room: Room | None = None
    ) -> None:
        """`limit`: requests that a worker of weight 1 may have; who finds no place waits in `room`."""
        self.workers = workers
        self._balance: Balance = balance
        self._limit = limit
        self._room = room
        self._alone = workers[0] if len(workers) == 1 and limit is None else None
        self._ring = HashRing([(w.id, w.weight) for w in workers]) if balance == "prefix" and not self._alone else None
        self._scoring = self._ring is None or limit is not None
        """Whether each change of a load makes a new score. On a ring scores only tell who is usable; those who are
        chosen without a key have them brought up to date."""
        self._turn = 0
        self._weight = 1.0
        self._weights = [worker.weight for worker in workers]
        self._scores = [_NEVER] * len(workers)
        self._in_flight = [0] * len(workers)
        self._total = 0
        self._elsewhere = [0.0] * len(workers)
        self._in_turn: list[Worker] = []
        self._cumulative: list[float] = []
        for slot, worker in enumerate(workers):
            worker.attach(self if self._alone is None else None, slot)
        self._arrange()

    def loaded(self, slot: int, requests: int) -> None:
        """Note that a worker has so many requests now."""
        in_flight = self._in_flight
        self._total += requests - in_flight[slot]
        in_flight[slot] = requests
        if self._scoring and (worker := self.workers[slot]).usable:
            self._scores[slot] = (requests + 1 + self._elsewhere[slot]) / self._weights[slot]
            if self._limit is not None and not self._has_place(worker, self._limit):
                self._scores[slot] = _NEVER

    def freed(self, slot: int, requests: int) -> None:
        """Note that a request has ended at a worker, which has so many now."""
        self.loaded(slot, requests)
        if self._room is not None:
            self._room.freed()
            if len(self._room):
                self._let_in(self._room, self.workers[slot])

    def changed(self) -> None:
        """Note which workers are usable now, and what is known of their load."""
        self._arrange()
        self.welcome()

    def may_leave_out(self) -> bool:
        """Whether one more worker may be left out for what it answers: at most half of them."""
        left_out = sum(worker.resting or worker.breaker.state != "closed" for worker in self.workers)
        return 2 * (left_out + 1) <= len(self.workers)

    def welcome(self) -> None:
        """Let those in who wait, as far as there are places."""
        if self._room is not None and len(self._room):
            for worker in self._in_turn:
                self._let_in(self._room, worker)

    @property
    def full(self) -> bool:
        """Whether there are usable workers, and each has all it may have."""
        return self._limit is not None and bool(self._in_turn) and min(self._scores) == _NEVER

    def pick(self, tried: Collection[Worker], rng: random.Random, key: int | None = None) -> Worker | None:
        """Choose a worker that isn't in `tried`; None when none is left, or none has a place.

        `key`: of the conversation, for `prefix`. When no worker is known to be usable, one that is not is tried all the
        same: what is known may be wrong, and the last worker is never given up. A retry needs no place.
        """
        if tried:
            kept = None if key is None or self._ring is None else self._by_key(self._ring, key, tried)
            return kept or self._another(tried, rng)
        if self._alone is not None:
            return self._alone if self._alone.usable else self._least_bad(tried, rng)
        if not self._in_turn:
            return self._least_bad(tried, rng)
        if key is not None and self._ring is not None:
            return self._by_key(self._ring, key) or self._least_loaded(rng)
        if self._balance == "round-robin":
            return self._next()
        return self._least_loaded(rng)

    def _score_all(self) -> None:
        scoring, self._scoring = self._scoring, True
        for slot, worker in enumerate(self.workers):
            self.loaded(slot, worker.in_flight)
        self._scoring = scoring

    def _arrange(self) -> None:
        self._in_turn = [worker for worker in self.workers if worker.usable]
        self._cumulative = list(accumulate(worker.weight for worker in self._in_turn))
        self._weight = self._cumulative[-1] if self._cumulative else 1.0
        known = all(worker.engine is not None for worker in self._in_turn)
        self._elsewhere = [worker.elsewhere if known else float(worker.shared) for worker in self.workers]
        self._scores = [_NEVER] * len(self.workers)
        self._score_all()

    def _let_in(self, room: Room, worker: Worker) -> None:
        while worker.usable and (self._limit is None or self._has_place(worker, self._limit)):
            if not room.offer(worker):
                return

    def _has_place(self, worker: Worker, limit: int) -> bool:
        return worker.in_flight + worker.shared < limit * worker.weight

    def _least_loaded(self, rng: random.Random) -> Worker | None:
        """Return the one with the least load for its weight; ties at random, so that gateways don't herd."""
        scores = self._scores
        if not self._scoring:
            self._score_all()
        lowest = min(scores)
        if lowest == _NEVER:
            return None
        first = scores.index(lowest)
        if lowest in scores[first + 1 :]:
            start = int(rng.random() * len(scores))
            if lowest in scores[start:]:
                return self.workers[scores.index(lowest, start)]
        return self.workers[first]

    def _next(self) -> Worker | None:
        """Return the worker whose turn it is: over one cycle, each is chosen in proportion to its weight.

        The turns of one worker are spread over the cycle by the golden ratio, without state per worker. One without a
        place loses its turn to the next.
        """
        self._turn += 1
        position = (self._turn * _GOLDEN) % 1.0 * self._weight
        start = min(bisect_right(self._cumulative, position), len(self._in_turn) - 1)
        if self._limit is None:
            return self._in_turn[start]
        turns = (*self._in_turn[start:], *self._in_turn[:start])
        return next((worker for worker in turns if self._has_place(worker, self._limit)), None)

    def _by_key(self, ring: HashRing, key: int, tried: Collection[Worker] = ()) -> Worker | None:
        """Return the first worker of the ring, from the key on, that has no more than its bound allows."""
        share = BOUND * (self._total + 1) / self._weight
        in_flight, weights, scores, slots = self._in_flight, self._weights, self._scores, ring.slots
        start = bisect_left(ring.points, key) - len(slots)
        passed: set[int] | None = {slot for slot, w in enumerate(self.workers) if w in tried} if tried else None
        for at in range(start, start + len(slots)):
            slot = slots[at]
            if passed is not None and slot in passed:
                continue
            requests = in_flight[slot]
            if (requests < ALWAYS_ROOM or requests < share * weights[slot]) and scores[slot] != _NEVER:
                return self.workers[slot]
            if passed is None:
                passed = set()
            passed.add(slot)
            if len(passed) == len(in_flight):
                break
        return None

    def _another(self, tried: Collection[Worker], rng: random.Random) -> Worker | None:
        left = [worker for worker in self.workers if worker.usable and worker not in tried]
        return _lightest(left, rng) if left else self._least_bad(tried, rng)

    def _least_bad(self, tried: Collection[Worker], rng: random.Random) -> Worker | None:
        """Return one whose breaker is open, or else one that is down."""
        left = [w for w in self.workers if (w.credible or w.state == "down") and not w.draining and w not in tried]
        answering = [worker for worker in left if worker.state != "down"]
        return _lightest(answering or left, rng) if left else None


def _lightest(workers: list[Worker], rng: random.Random) -> Worker:
    return min(workers, key=lambda worker: ((worker.in_flight + 1) / worker.weight, rng.random()))
