"""Which limits apply, and what a client is told of a decision."""

from types import MappingProxyType

import pytest

from gateway.config.model import LimitSettings
from gateway.ratelimit import policy
from gateway.ratelimit.policy import (
    DAY_S,
    MINUTE_S,
    US_PER_S,
    LeaseLimit,
    LimitBook,
    LimitSet,
    ScopedLimit,
    Standing,
    Verdict,
    WindowLimit,
    all_limits,
    blocked,
    standing,
)
from gateway.ratelimit.window import NEVER
from gateway.values import ModelName, TenantId
from tests.support.limited_keys import limited_key

ACME, MODEL = TenantId("acme"), ModelName("google/gemma-3-4b-it")


def rpm(amount: int, key: str = "t:rpm") -> WindowLimit:
    return WindowLimit(key, "tenant 'acme'", "requests", MINUTE_S * US_PER_S, amount)


def tpm(amount: int) -> WindowLimit:
    return WindowLimit("t:tpm", "tenant 'acme'", "tokens", MINUTE_S * US_PER_S, amount)


def test_a_caller_without_limits_has_no_set() -> None:
    """Nothing to count: None."""
    book = LimitBook()
    assert book.find(limited_key(), MODEL) is None
    assert all_limits(limited_key()) is None


def test_limits_of_tenant_key_and_model_apply_together() -> None:
    """Each scope brings its own windows and leases, under names of their own."""
    tenant_limits = LimitSettings(requests_per_minute=600, tokens_per_day=5, concurrent_requests=3)
    model_limits = MappingProxyType({MODEL: LimitSettings(tokens_per_minute=9)})
    key_limits = LimitSettings(requests_per_hour=7, concurrent_requests=1)
    dev = limited_key(tenant_limits, key_limits, model_limits, key_id="dev", count_cached=False)
    prod = limited_key(tenant_limits, None, model_limits, key_id="prod")
    book = LimitBook()
    limits = book.find(dev, MODEL)
    assert limits is not None
    assert [(w.key, w.title, w.amount) for w in limits.windows] == [
        ("t:rpm", "requests per minute", 600),
        ("t:tpd", "tokens per day", 5),
        ("k:dev:rph", "requests per hour", 7),
        (f"m:{MODEL}:tpm", "tokens per minute", 9),
    ]
    assert [(lease.key, lease.amount) for lease in limits.leases] == [("t:live", 3), ("k:dev:live", 1)]
    assert (limits.counts_tokens, limits.count_cached) == (True, False)
    assert book.find(dev, MODEL) is limits
    other = book.find(prod, ModelName("another"))
    assert other is not None
    assert [w.key for w in other.windows] == ["t:rpm", "t:tpd"]
    assert other.count_cached


def test_all_limits_are_those_of_every_model_that_the_key_may_use() -> None:
    """Each knows where the configuration has it."""
    models = {ModelName(name): LimitSettings(tokens_per_day=9) for name in ("b", "a", "c")}
    key = limited_key(LimitSettings(concurrent_requests=3), None, models, allowed=["a", "b"])
    limits = all_limits(key)
    assert limits is not None
    assert [window.source for window in limits.windows] == [
        ScopedLimit("model", ModelName("a"), "tokens_per_day"),
        ScopedLimit("model", ModelName("b"), "tokens_per_day"),
    ]
    assert [lease.source for lease in limits.leases] == [ScopedLimit("tenant", None, "concurrent_requests")]


def test_the_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that came first is pushed out; its limits are put together anew."""
    monkeypatch.setattr(policy, "MAX_KNOWN_KEYS", 2)
    book = LimitBook()
    keys = [limited_key(LimitSettings(requests_per_minute=1)) for _ in range(3)]
    first = [book.find(key, MODEL) for key in keys]
    assert [book.find(key, MODEL) is limits for key, limits in zip(keys[1:], first[1:], strict=True)] == [True, True]
    assert book.find(keys[0], MODEL) is not first[0]
    assert len(book._found) == 2
    book.forget()
    assert not book._found


def test_a_share_is_never_nothing() -> None:
    """Three replicas of a limit of 2 may use 1 each: refusing everybody would be worse."""
    limits = LimitSet(ACME, (rpm(100), tpm(2)), (LeaseLimit("t:live", "tenant 'acme'", 32),))
    share = limits.share(3)
    assert [w.amount for w in share.windows] == [33, 1]
    assert [lease.amount for lease in share.leases] == [10]


def test_the_longest_wait_is_the_tightest() -> None:
    """A client that waits as long as the header says isn't stopped by another window of the unit."""
    limits = LimitSet(ACME, (rpm(10), rpm(20, "k:rpm"), tpm(5)))
    verdict = Verdict(granted=False, at_us=0, used=(10, 20, 0), wait_us=(1_000, 2_001, 0), held=())
    assert standing(limits, verdict, "requests") == Standing(20, 0, 3)
    assert standing(limits, verdict, "tokens") == Standing(5, 5, 0)


def test_the_least_that_remains_is_the_tightest_while_all_have_room() -> None:
    """Absolute, not relative: that is how many more requests will pass."""
    limits = LimitSet(ACME, (rpm(1000), rpm(20, "k:rpm")))
    verdict = Verdict(granted=True, at_us=0, used=(990, 9), wait_us=(0, 0), held=())
    assert standing(limits, verdict, "requests") == Standing(1000, 10, 0)
    assert standing(limits, verdict, "tokens") is None


def test_an_overdrawn_window_has_nothing_left() -> None:
    """Answers may exceed what was reserved; remaining is still no negative number."""
    limits = LimitSet(ACME, (tpm(10),))
    verdict = Verdict(granted=False, at_us=0, used=(17,), wait_us=(5,), held=())
    assert standing(limits, verdict, "tokens") == Standing(10, 0, 1)


def test_a_refusal_names_the_limit_that_takes_longest() -> None:
    """Waiting for it is waiting for all."""
    limits = LimitSet(ACME, (rpm(10), tpm(100)), (LeaseLimit("t:live", "tenant 'acme'", 1),))
    verdict = Verdict(granted=False, at_us=0, used=(10, 90), wait_us=(1_500_000, 2_000_001), held=(0,))
    reason = blocked(limits, verdict, 20)
    assert reason.limit == tpm(100)
    assert reason.retry_after_ms == 2001
    assert "100 tokens per minute, 90 used, 20 needed. Retry in 2.001 s" in reason.message


def test_a_full_number_of_leases_asks_to_retry_in_a_second() -> None:
    """Nobody knows when a request ends; a window that takes longer decides nevertheless."""
    limits = LimitSet(ACME, (rpm(10),), (LeaseLimit("t:live", "tenant 'acme'", 2),))
    only_leases = blocked(limits, Verdict(granted=False, at_us=0, used=(3,), wait_us=(0,), held=(2,)), 0)
    assert only_leases.limit == limits.leases[0]
    assert only_leases.retry_after_ms == 1000
    assert "2 of 2 concurrent requests are in flight" in only_leases.message
    both = blocked(limits, Verdict(granted=False, at_us=0, used=(10,), wait_us=(5_000_000,), held=(2,)), 0)
    assert both.limit == rpm(10)


def test_a_request_over_a_limit_has_no_wait() -> None:
    """Whatever else is in the way, this can't be mended by waiting."""
    limits = LimitSet(ACME, (rpm(10), tpm(100)))
    reason = blocked(limits, Verdict(granted=False, at_us=0, used=(10, 0), wait_us=(5, NEVER), held=()), 101)
    assert reason.retry_after_ms is None
    assert "Request too large for tenant 'acme': it needs 101 tokens" in reason.message


def test_a_day_is_a_quota() -> None:
    """Clients don't wait for a day."""
    assert WindowLimit("t:tpd", "tenant 'acme'", "tokens", DAY_S * US_PER_S, 1).is_quota
    assert not tpm(1).is_quota
