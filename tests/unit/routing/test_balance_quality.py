"""How well requests are spread, simulated with a seed."""

import random
from collections import defaultdict, deque

import pytest

from gateway.routing.hash_ring import ring_key
from tests.support.fleet_simulation import Outcome, Simulation

HEADS = 10
SHARING = 0.8
"""Of the requests: those that begin with one of the heads."""
HELD = 4
"""Long heads that an engine's cache has room for."""


@pytest.mark.parametrize("gateways", [1, 3])
def test_least_load_halves_the_wait_of_round_robin(gateways: int) -> None:
    """At 80 % load the p99 wait in engines' queues is at most half of that in turn, whoever else sends requests."""
    waits = {
        balance: Simulation(balance=balance, gateways=gateways).run(20_000, 0.8).p99_wait_s()
        for balance in ("least-load", "round-robin")
    }
    print(f"\n{gateways} gateways, p99 wait in s: {waits}")
    assert waits["least-load"] <= waits["round-robin"] / 2


def skewed_key(rng: random.Random) -> int:
    """The key of one of the heads, or of a prompt that nobody else sends."""
    if rng.random() < SHARING:
        return ring_key(f"head {rng.randrange(HEADS)}")
    return rng.getrandbits(32)


def share_of_hits(outcome: Outcome) -> float:
    """How many of the repeats of a head went to an engine that still holds it: it keeps the last few heads it saw."""
    heads = {ring_key(f"head {number}") for number in range(HEADS)}
    caches: defaultdict[int, deque[int]] = defaultdict(lambda: deque(maxlen=HELD))
    seen: set[int] = set()
    repeats = hits = 0
    for key, engine in outcome.keys:
        if key in heads:
            repeats += key in seen
            hits += key in caches[engine]
            seen.add(key)
            if key in caches[engine]:
                caches[engine].remove(key)
            caches[engine].append(key)
    return hits / repeats


@pytest.mark.parametrize("gateways", [1, 3])
def test_prefix_keeps_heads_where_they_are_and_nobody_is_overloaded(gateways: int) -> None:
    """Of prompts of which 80 % share ten long heads, 85 % of the repeats go where the head is, with the load even."""
    outcome = Simulation(balance="prefix", places=64, gateways=gateways).run(40_000, 0.5, skewed_key)
    hits, (sent, in_flight) = share_of_hits(outcome), outcome.unevenness()
    print(
        f"\n{gateways} gateways: {hits:.1%} of repeats hit; of the mean the fullest got {sent:.2f}, had {in_flight:.2f}"
    )
    assert hits >= 0.85
    assert max(sent, in_flight) <= 1.25


def test_other_ways_do_not_keep_heads_together() -> None:
    """The measure can fail: least load sends a head anywhere."""
    outcome = Simulation(balance="least-load", places=64).run(5_000, 0.5, skewed_key)
    caches: defaultdict[int, set[int]] = defaultdict(set)
    for key, engine in outcome.keys:
        if key is not None:
            caches[key].add(engine)
    assert max(len(engines) for engines in caches.values()) == 8
