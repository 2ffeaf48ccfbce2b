"""Whoever puts in most doesn't get more than the others."""

from collections import Counter

import pytest

from gateway.routing.fair_queue import MAX_GONE, FairQueue


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def test_a_flood_delays_others_by_one() -> None:
    """A hundred items of one tenant are in front of nobody but itself."""
    queue = FairQueue[str]()
    for n in range(100):
        queue.put("flood", 1, f"flood{n}")
    queue.put("quiet", 1, "quiet0")
    assert "quiet0" in [queue.pop() for _ in range(2)]
    assert drained(queue) == sorted((f"flood{n}" for n in range(100)), key=lambda name: int(name[5:]))[1:]


def test_weights_are_shares_of_places() -> None:
    """A tenant of weight 3 gets three places for each one of weight 1."""
    queue = FairQueue[str]()
    for _ in range(100):
        queue.put("a", 1, "a")
        queue.put("b", 3, "b")
    first = Counter(queue.pop() for _ in range(80))
    assert first["b"] == pytest.approx(60, abs=1)


def test_absence_saves_no_places_up() -> None:
    """Who comes back after a long time takes turns like all others."""
    queue = FairQueue[str]()
    queue.put("late", 1, "late")
    queue.pop()
    for _ in range(1_000):
        queue.put("busy", 1, "busy")
        queue.pop()
    for _ in range(50):
        queue.put("busy", 1, "busy")
        queue.put("late", 1, "late")
    assert Counter(queue.pop() for _ in range(50))["late"] == pytest.approx(25, abs=1)


def test_what_is_discarded_is_not_served() -> None:
    """Clients that went away leave no trace, however many."""
    queue = FairQueue[str]()
    queue.put("a", 1, "stays")
    for n in range(10 * MAX_GONE):
        queue.discard(queue.put(f"t{n % 7}", 1, "gone"))
    assert len(queue) == 1
    assert len(queue._heap) <= 2 * MAX_GONE
    assert drained(queue) == ["stays"]
    with pytest.raises(IndexError):
        queue.pop()
    assert not queue._waiting
