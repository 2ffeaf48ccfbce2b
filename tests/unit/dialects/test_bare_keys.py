"""Which keys stand without quotes in a written call."""

import pytest

from gateway.dialects.literals import is_bare_key


@pytest.mark.parametrize("key", ["a", "_a1", "größe", "名"])
def test_bare(key: str) -> None:
    """Words."""
    assert is_bare_key(key)


@pytest.mark.parametrize("key", ["", "1a", "a-b", "a b", "A·", "a.b", "²"])
def test_quoted(key: str) -> None:
    """What a reader would cut: also Python identifiers that hold more than word characters."""
    assert not is_bare_key(key)
