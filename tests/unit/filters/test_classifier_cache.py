"""The memory of verdicts."""

from gateway.filters.classifier_cache import VerdictCache


def cache(**options: float) -> VerdictCache:
    return VerdictCache(b"salt", **options)  # type: ignore[arg-type]


def test_what_was_put_is_found_until_it_is_too_old() -> None:
    found = cache(kept_s=10)
    key = found.fingerprint("model", "text")
    found.put(key, 0.25, now_s=100)
    assert found.get(key, now_s=109.9) == 0.25
    assert found.get(key, now_s=110) is None
    assert len(found) == 0


def test_the_least_recently_used_goes_first() -> None:
    found = cache(max_entries=2)
    first, second, third = (found.fingerprint(text) for text in "abc")
    found.put(first, 0.1, 0)
    found.put(second, 0.2, 0)
    assert found.get(first, 1) == 0.1
    found.put(third, 0.3, 1)
    assert (found.get(first, 1), found.get(second, 1), found.get(third, 1)) == (0.1, None, 0.3)


def test_fingerprints_tell_where_texts_end() -> None:
    """Otherwise `ab`, `c` would have the verdict of `a`, `bc`."""
    found = cache()
    assert found.fingerprint("ab", "c") != found.fingerprint("a", "bc") != found.fingerprint("abc")


def test_fingerprints_of_another_salt_differ() -> None:
    """Nobody who guesses a text can tell whether it was judged elsewhere."""
    assert VerdictCache(b"one").fingerprint("text") != VerdictCache(b"two").fingerprint("text")


def test_texts_are_not_kept() -> None:
    """Neither in the keys nor beside them."""
    found = cache()
    found.put(found.fingerprint("a secret text"), 0.5, 0)
    assert b"secret" not in b"".join(found._entries)
