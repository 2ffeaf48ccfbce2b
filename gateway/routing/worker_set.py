"""The workers of one model, arranged so that one is chosen in microseconds, however many there are.

The set itself never changes: a worker that joins or leaves makes another set, swapped in with one assignment. What
changes inside it is the load of each worker, kept as a list of plain numbers that C code can search.
"""

import random
from bisect import bisect_right
from collections.abc import Collection
from itertools import accumulate
from typing import Final

from gateway.config.model import Balance
from gateway.routing.worker import Worker

_GOLDEN: Final = 0.6180339887498949
_NEVER: Final = float("inf")


class WorkerSet:
    """Chooses among the workers of one model."""

    __slots__ = ("_alone", "_balance", "_cumulative", "_in_turn", "_scores", "_turn", "workers")

    def __init__(self, workers: tuple[Worker, ...], balance: Balance) -> None:
        self.workers = workers
        self._balance: Balance = balance
        self._alone = workers[0] if len(workers) == 1 else None
        self._turn = 0
        self._scores = [_NEVER] * len(workers)
        self._in_turn: list[Worker] = []
        self._cumulative: list[float] = []
        for slot, worker in enumerate(workers):
            worker.attach(self if self._alone is None else None, slot)
        self.changed()

    def loaded(self, slot: int) -> None:
        """Note a worker's new load."""
        worker = self.workers[slot]
        if worker.usable:
            self._scores[slot] = (worker.in_flight + 1) / worker.weight

    def changed(self) -> None:
        """Note which workers are usable now."""
        self._in_turn = [worker for worker in self.workers if worker.usable]
        self._cumulative = list(accumulate(worker.weight for worker in self._in_turn))
        self._scores = [(w.in_flight + 1) / w.weight if w.usable else _NEVER for w in self.workers]

    def pick(self, tried: Collection[Worker], rng: random.Random) -> Worker | None:
        """Choose a worker that isn't in `tried`; None when none is left.

        When no worker is known to be usable, one that is down is tried all the same: the probe may be wrong, and the
        last worker is never given up.
        """
        if self._alone is not None and not tried:
            return self._alone if self._alone.usable else self._least_bad(tried, rng)
        if tried:
            return self._another(tried, rng)
        if not self._in_turn:
            return self._least_bad(tried, rng)
        if self._balance == "round-robin":
            return self._next()
        return self._least_loaded(rng)

    def _least_loaded(self, rng: random.Random) -> Worker:
        """Return the one with the fewest requests in flight for its weight; ties at random, so replicas don't herd."""
        scores = self._scores
        lowest = min(scores)
        if scores.count(lowest) > 1:
            start = int(rng.random() * len(scores))
            if lowest in scores[start:]:
                return self.workers[scores.index(lowest, start)]
        return self.workers[scores.index(lowest)]

    def _next(self) -> Worker:
        """Return the worker whose turn it is: over one cycle, each is chosen in proportion to its weight.

        The turns of one worker are spread over the cycle by the golden ratio, without state per worker.
        """
        self._turn += 1
        position = (self._turn * _GOLDEN) % 1.0 * self._cumulative[-1]
        return self._in_turn[min(bisect_right(self._cumulative, position), len(self._in_turn) - 1)]

    def _another(self, tried: Collection[Worker], rng: random.Random) -> Worker | None:
        left = [worker for worker in self._in_turn if worker not in tried]
        return _lightest(left, rng) if left else self._least_bad(tried, rng)

    def _least_bad(self, tried: Collection[Worker], rng: random.Random) -> Worker | None:
        left = [w for w in self.workers if w.state == "down" and not w.draining and w not in tried]
        return _lightest(left, rng) if left else None


def _lightest(workers: list[Worker], rng: random.Random) -> Worker:
    return min(workers, key=lambda worker: ((worker.in_flight + 1) / worker.weight, rng.random()))
