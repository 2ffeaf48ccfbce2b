"""Choosing one of several workers. Pure: what is known comes in, a choice goes out."""

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar


class Loaded(Protocol):
    """A worker as the policies see it."""

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        ...

    @property
    def weight(self) -> float:
        """Share of the requests, relative to the others."""
        ...


L = TypeVar("L", bound=Loaded)


def least_loaded(candidates: Sequence[L], rng: random.Random) -> L:
    """Return the one with the fewest requests in flight for its weight; ties at random, so that replicas don't herd."""
    best: list[L] = []
    lowest = float("inf")
    for candidate in candidates:
        load = (candidate.in_flight + 1) / candidate.weight
        if load < lowest:
            best, lowest = [candidate], load
        elif load == lowest:
            best.append(candidate)
    return best[0] if len(best) == 1 else best[int(rng.random() * len(best))]


def next_in_turn(candidates: Sequence[L], turn: int) -> L:
    """Return the candidate whose turn it is: over one cycle, each is chosen in proportion to its weight.

    The turns of one worker are spread over the cycle by the golden ratio, without state per worker.
    """
    total = sum(candidate.weight for candidate in candidates)
    position = (turn * 0.6180339887498949) % 1.0 * total
    for candidate in candidates:
        position -= candidate.weight
        if position < 0:
            return candidate
    return candidates[-1]
