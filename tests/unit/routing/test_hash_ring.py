"""The ring of consistent hashing."""

from collections import Counter

from gateway.routing.hash_ring import HashRing, ring_key

KEYS = [ring_key(b"%d" % n) for n in range(2_000)]


def owners(*members: tuple[str, float]) -> list[str]:
    """Whose each key is."""
    ring = HashRing(members)
    return [members[next(ring.walk(key))][0] for key in KEYS]


def test_every_gateway_finds_the_same_owner() -> None:
    """Neither order nor process changes whose a key is."""
    assert owners(("a", 1), ("b", 1), ("c", 1)) == owners(("c", 1), ("a", 1), ("b", 1))
    assert ring_key(b"salt", b"model") == 172_032_428_757_287


def test_one_that_leaves_moves_only_its_own_keys() -> None:
    """And one that joins takes no more than its share."""
    before, after = owners(("a", 1), ("b", 1), ("c", 1)), owners(("a", 1), ("b", 1))
    assert all(now == then for then, now in zip(before, after, strict=True) if then != "c")
    assert set(after) == {"a", "b"}


def test_weights_are_shares() -> None:
    """A worker of weight 3 owns about three times the keys."""
    counts = Counter(owners(("a", 1), ("b", 3)))
    assert 2 < counts["b"] / counts["a"] < 4.5


def test_a_walk_meets_all() -> None:
    """Whoever is passed over, the next is found."""
    ring = HashRing([("a", 1), ("b", 0.001), ("c", 1)])
    assert all(set(ring.walk(key)) == {0, 1, 2} for key in KEYS[:50])


def test_keys_of_different_parts_differ() -> None:
    """A tenant can't choose its text so that it looks like another's."""
    assert ring_key(b"a", b"bc") != ring_key(b"ab", b"c")
