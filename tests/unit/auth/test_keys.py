"""Who is let in, and what they may use."""

from dataclasses import replace
from hashlib import sha256

import pytest

from gateway.auth.keys import ApiKey, KeyRing, extract_key
from gateway.config.load import parse_settings
from gateway.config.model import MAX_SECRET_CHARS
from gateway.routing.catalog import VARIANTS
from gateway.values import ModelName

SECRET = "gk-acme-dev-0123456789"
LONGEST = "x" * MAX_SECRET_CHARS
EXPIRY_S = 1_798_761_600  # 2027-01-01T00:00:00Z
SMALL, LARGE = ModelName("google/gemma-3-4b-it"), ModelName("google/gemma-3-27b-it")

FILE = f"""
models:
  - {{name: {SMALL}, aliases: [gpt-4o-mini], workers: [{{url: "http://a"}}]}}
  - {{name: {LARGE}, aliases: [gpt-4o], workers: [{{url: "http://b"}}]}}
tenants:
  - id: acme
    priority: 3
    keys:
      - {{id: acme-dev, secret: {SECRET}}}
      - {{id: acme-hash, secret_sha256: "{sha256(b"hashed-secret").hexdigest()}"}}
      - {{id: acme-old, secret: old-secret, expires: 2027-01-01}}
      - {{id: acme-long, secret: {LONGEST}}}
  - {{id: by-glob, models: ["google/*-4b-*"], keys: [{{id: glob, secret: glob-secret}}]}}
  - {{id: by-key, models: ["*-4b-*"], keys: [{{id: both, secret: both-secret, models: [gpt-4o-mini, gpt-4o]}}]}}
  - {{id: by-alias, models: [gpt-4o], keys: [{{id: alias, secret: alias-secret}}]}}
  - {{id: by-case, models: ["GOOGLE/*"], keys: [{{id: case, secret: case-secret}}]}}
  - {{id: nothing, models: [], keys: [{{id: none, secret: none-secret}}]}}
"""


def ring(now_s: float = EXPIRY_S - 1) -> KeyRing:
    """The keys of FILE at a moment."""
    return KeyRing.from_settings(parse_settings(FILE, {}, VARIANTS), now_s=lambda: now_s)


def key_of(secret: str) -> ApiKey:
    """The key of a secret that must be known."""
    key = ring().authenticate(secret)
    assert key is not None
    return key


def test_a_secret_opens_as_its_key() -> None:
    """Given in plain or as a hash."""
    key = key_of(SECRET)
    assert (key.key_id, key.tenant.id, key.tenant.priority) == ("acme-dev", "acme", 3)
    assert key_of("hashed-secret").key_id == "acme-hash"
    assert key_of(LONGEST).key_id == "acme-long"


@pytest.mark.parametrize(
    "presented",
    [None, "", SECRET[:-1], SECRET + " ", SECRET.upper(), "ключ-ключ", "\ud800", LONGEST + "x", "x" * 10_000_000],
)
def test_anything_else_does_not(presented: str | None) -> None:
    """However long or odd it is."""
    assert ring().authenticate(presented) is None


def test_a_key_ends_with_its_expiry() -> None:
    """From the very second on."""
    assert ring(EXPIRY_S - 0.001).authenticate("old-secret") is not None
    assert ring(EXPIRY_S).authenticate("old-secret") is None
    assert ring(EXPIRY_S + 1e9).authenticate(SECRET) is not None


@pytest.mark.parametrize(
    ("secret", "allowed"),
    [
        (SECRET, {SMALL, LARGE}),
        ("glob-secret", {SMALL}),
        ("alias-secret", {LARGE}),
        ("case-secret", set[ModelName]()),
        ("none-secret", set[ModelName]()),
        ("both-secret", {SMALL}),
    ],
)
def test_globs_allow_by_name_or_alias(secret: str, allowed: set[ModelName]) -> None:
    """A model is allowed under all its names when one of them matches."""
    key = key_of(secret)
    assert {model for model in (SMALL, LARGE) if key.may_use(model)} == allowed
    assert not key.may_use(ModelName("gpt-4o"))


def test_without_tenants_nobody_gets_in() -> None:
    """An emptied file closes the gateway; only the flag opens it."""
    settings = parse_settings(FILE.partition("tenants:")[0], {}, VARIANTS)
    assert KeyRing.from_settings(settings, now_s=lambda: 0).authenticate(SECRET) is None


def test_no_auth_takes_everybody_for_anonymous() -> None:
    """With a key, without one, with a wrong one."""
    settings = replace(parse_settings(FILE, {}, VARIANTS), no_auth=True)
    open_ring = KeyRing.from_settings(settings, now_s=lambda: 0)
    for presented in (None, "", SECRET, "wrong"):
        key = open_ring.authenticate(presented)
        assert key is not None
        assert (key.key_id, key.tenant.id) == ("anonymous", "anonymous")
        assert key.may_use(SMALL)
        assert key.may_use(LARGE)


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ([(b"authorization", b"Bearer abc")], "abc"),
        ([(b"authorization", b"bEARER   abc  ")], "abc"),
        ([(b"api-key", b"abc")], "abc"),
        ([(b"x-api-key", b" abc ")], "abc"),
        ([(b"host", b"h"), (b"x-api-key", b"abc"), (b"accept", b"*/*")], "abc"),
        ([(b"authorization", b"Bearer abc"), (b"api-key", b"abc"), (b"x-api-key", b"abc")], "abc"),
        ([(b"authorization", b"Basic dTpw"), (b"api-key", b"abc")], "abc"),
        ([(b"authorization", b"Bearer abc"), (b"api-key", b"")], "abc"),
        ([(b"authorization", b"Bearer abc"), (b"api-key", b"def")], None),
        ([(b"authorization", b"Bearer abc"), (b"authorization", b"Bearer def")], None),
        ([(b"authorization", b"Bearer")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b"abc")], None),
        ([(b"authorization", b"Basic dTpw")], None),
        ([(b"api-key", b"\xc3\xa9")], None),
        ([(b"api-key", b"x" * (MAX_SECRET_CHARS + 1))], None),
        ([], None),
    ],
)
def test_where_a_request_carries_its_key(headers: list[tuple[bytes, bytes]], secret: str | None) -> None:
    """Three headers; two different keys are none."""
    assert extract_key(headers) == secret


def test_no_key_shows_its_secret() -> None:
    """Keys are logged."""
    assert SECRET not in repr(key_of(SECRET))
    assert sha256(SECRET.encode()).hexdigest() not in repr(key_of(SECRET))
