"""The search of the integration ring finds what it is meant to find."""

import pytest

from tests.support import secret_search


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What these tests plant isn't found by the ring's own search."""
    found: list[str] = []
    monkeypatch.setattr(secret_search, "FOUND", found)
    monkeypatch.setattr(secret_search, "SEARCHED", [])
    monkeypatch.setattr(secret_search, "_known", set())
    return found


@pytest.mark.parametrize(
    "text",
    [
        "key from-the-file-0123 was presented",
        "admin-key-from-environment",
        "redis://:password-of-redis@127.0.0.1",
        '{"secret": "gk-search-ci-QP3QCX9DfkUFcsnQpXzp7WEo8RxOHPzJ"}',
    ],
)
def test_a_planted_secret_is_found(kept: list[str], text: str) -> None:
    """Of the file, of the environment, of an address, and one made at run time."""
    config = {
        "tenants": [{"id": "acme", "keys": [{"id": "acme-key", "secret": "from-the-file-0123"}]}],
        "admin": {"key": "${ADMIN}"},
        "redis": {"url": "redis://:password-of-redis@127.0.0.1:6379/0"},
    }
    secret_search.learn_secrets(config, {"ADMIN": "admin-key-from-environment"})
    secret_search.search("clean", "acme-key gk-search-ci-… ${ADMIN}")
    secret_search.search("planted", text)
    assert kept == ["planted"]
