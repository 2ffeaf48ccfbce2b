"""The ring of consistent hashing."""

from collections import Counter

from gateway.routing.hash_ring import HashRing, ring_key

KEYS = [ring_key(f"{n}") for n in range(2_000)]


def owners(*members: tuple[str, float]) -> list[str]:
    """Whose each key is."""
    ring = HashRing(members)
    return [members[ring.slots[ring.start(key)]][0] for key in KEYS]


def test_every_gateway_finds_the_same_owner() -> None:
    """Neither order nor process changes whose a key is."""
    assert owners(("a", 1), ("b", 1), ("c", 1)) == owners(("c", 1), ("a", 1), ("b", 1))
    assert ring_key("salt and model") == 1_605_705_920


def test_one_that_leaves_moves_only_its_own_keys() -> None:
    """And one that joins takes no more than its share."""
    before, after = owners(("a", 1), ("b", 1), ("c", 1)), owners(("a", 1), ("b", 1))
    assert all(now == then for then, now in zip(before, after, strict=True) if then != "c")
    assert set(after) == {"a", "b"}


def test_weights_are_shares() -> None:
    """A worker of weight 3 owns about three times the keys."""
    counts = Counter(owners(("a", 1), ("b", 3)))
    assert 2 < counts["b"] / counts["a"] < 4.5


def test_every_worker_is_on_the_ring() -> None:
    """However small its weight."""
    ring = HashRing([("a", 1), ("b", 0.001), ("c", 1)])
    assert set(ring.slots) == {0, 1, 2}


def test_behind_the_last_point_comes_the_first() -> None:
    """The highest key has an owner, too."""
    ring = HashRing([("a", 1), ("b", 1)])
    assert ring.start((1 << 32) - 1) == 0
    assert ring.start(0) == -len(ring.slots)
    start = ring.start(ring.points[5])
    around = [ring.slots[at] for at in range(start, start + len(ring.slots))]
    assert around == ring.slots[5:] + ring.slots[:5]
