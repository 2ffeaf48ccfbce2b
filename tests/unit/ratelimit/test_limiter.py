"""The limiter as the pipeline uses it, on the embedded store with a driven clock."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.config.model import LimitSettings
from gateway.errors import LimitsUnavailable, QuotaExceeded, RateLimited, RequestOverLimit
from gateway.ratelimit.limiter import Demand, Limiter, Refusal, Reservation
from gateway.ratelimit.memory_store import MemoryStore
from gateway.ratelimit.policy import Count, LimitSet
from gateway.ratelimit.store import LeaseId, StoreUnavailableError, Taken
from gateway.values import LimitState, ModelName, Usage
from tests.support.driven_clock import DrivenClock
from tests.support.limited_keys import limited_key

MODEL = ModelName("gemma")


class CountingStore(MemoryStore):
    """The embedded store; counts its calls and may be out of order."""

    broken = False

    def __init__(self, clock: DrivenClock) -> None:
        super().__init__(clock)
        self.calls = 0
        self.renewals: asyncio.Queue[int] = asyncio.Queue()

    async def reserve(self, limits: LimitSet, tokens: int, lease: LeaseId) -> Taken:
        self.calls += 1
        if self.broken:
            raise StoreUnavailableError
        return await super().reserve(limits, tokens, lease)

    def settle(self, taken: Taken, requests: int, tokens: int) -> None:
        self.calls += 1
        super().settle(taken, requests, tokens)

    async def look(self, limits: LimitSet) -> tuple[LimitSet, Count]:
        if self.broken:
            raise StoreUnavailableError
        return await super().look(limits)

    async def renew(self, leases: Any) -> None:
        leases = list(leases)
        self.renewals.put_nowait(len(leases))
        if self.broken:
            raise StoreUnavailableError
        await super().renew(leases)


class Bench:
    """One tenant's limiter."""

    def __init__(self, *, count_cached: bool = True, **limits: int) -> None:
        self.clock = DrivenClock()
        self.store = CountingStore(self.clock)
        self.key = limited_key(LimitSettings(**limits) if limits else None, count_cached=count_cached)
        self.limiter = Limiter(self.store)

    def reserve(self, prompt: int = 10, output: int | None = 10, **demand: Any) -> Reservation | Refusal:
        return asyncio.run(
            self.limiter.reserve(self.key, MODEL, Demand(prompt, output, **{"context_tokens": 8192, **demand}))
        )

    def admitted(self, prompt: int = 10, output: int | None = 10, **demand: Any) -> Reservation:
        outcome = self.reserve(prompt, output, **demand)
        assert isinstance(outcome, Reservation)
        return outcome

    def refused(self, prompt: int = 10, output: int | None = 10, **demand: Any) -> Refusal:
        outcome = self.reserve(prompt, output, **demand)
        assert isinstance(outcome, Refusal)
        return outcome

    def counting(self, prompt: int, output: int, count: Callable[[], Awaitable[int | None]]) -> Reservation | Refusal:
        demand = Demand(prompt, output, 8192)
        return asyncio.run(self.limiter.reserve(self.key, MODEL, demand, count))


def remaining(outcome: Reservation, unit: str = "tokens") -> int:
    text = outcome.headers.decode()
    return int(text.split(f"x-ratelimit-remaining-{unit}: ")[1].split("\r\n")[0])


def test_a_caller_without_limits_costs_no_call() -> None:
    """Neither for reserving nor for settling; there are no header lines either."""
    bench = Bench()
    reservation = bench.admitted()
    reservation.settle(Usage(1, 1))
    assert bench.store.calls == 0
    assert reservation.headers == b""


def test_the_headers_tell_what_remains_after_the_decision() -> None:
    """Numbers of the same call that decided."""
    bench = Bench(requests_per_minute=2, tokens_per_minute=100)
    assert b"remaining-requests: 1\r\n" in bench.admitted().headers
    last = bench.admitted()
    assert b"remaining-requests: 0\r\n" in last.headers
    assert b"reset-requests: 1m1s\r\n" in last.headers
    assert b"remaining-tokens: 60\r\n" in last.headers


def test_a_refusal_says_how_long_to_wait_and_waiting_so_long_is_enough() -> None:
    """`retry-after` equals the reset, and one such request passes right then."""
    bench = Bench(requests_per_minute=1)
    bench.admitted()
    bench.clock.advance_ms(15_750)
    refusal = bench.refused()
    error = refusal.error
    assert type(error) is RateLimited
    assert refusal.limit == "requests per minute"
    assert b"reset-requests: 45.25s\r\n" in error.header_lines
    assert error.retry_after_s == 45.25
    bench.clock.advance_ms(45_249)
    bench.refused()
    bench.clock.advance_ms(1)
    bench.admitted()
    bench.refused()


def test_a_refused_request_takes_nothing() -> None:
    """What one limit refuses isn't counted under the others."""
    bench = Bench(requests_per_minute=10, tokens_per_minute=30)
    bench.admitted(10, 10)
    for _ in range(20):
        bench.refused(10, 10)
    assert remaining(bench.admitted(5, 5), "requests") == 8


def test_a_request_over_the_whole_limit_is_told_so() -> None:
    """No wait is named, and the client is told not to retry."""
    error = Bench(tokens_per_minute=100).refused(60, 60).error
    assert isinstance(error, RequestOverLimit)
    assert error.retryable is False
    assert error.retry_after_s is None
    assert "needs 120 tokens" in error.message


def test_a_budget_of_a_day_is_a_quota() -> None:
    """insufficient_quota, which clients don't retry; the wait is told all the same."""
    bench = Bench(tokens_per_day=30)
    bench.admitted()
    error = bench.refused().error
    assert isinstance(error, QuotaExceeded)
    assert error.code == "insufficient_quota"
    assert error.retryable is False
    assert error.retry_after_s == 86_400 + 1_440
    assert b"reset-tokens: 24h24m0s\r\n" in error.header_lines


def test_settling_replaces_the_estimate() -> None:
    """What wasn't used is free at once, in the window it was reserved in."""
    bench = Bench(tokens_per_minute=1000)
    first = bench.admitted(300, 600)
    bench.refused(300, 600)
    first.settle(Usage(200, 50))
    assert remaining(bench.admitted(300, 300)) == 1000 - 250 - 600


def test_the_first_end_wins() -> None:
    """Every path of a request may end its reservation; only one does."""
    bench = Bench(tokens_per_minute=1000, concurrent_requests=2)
    first = bench.admitted(300, 600)
    first.settle(Usage(100, 100))
    first.abandon()
    first.settle(Usage(0, 0))
    assert remaining(bench.admitted(0, 0)) == 800
    calls = bench.store.calls
    first.abandon()
    assert bench.store.calls == calls


def test_abandoning_gives_everything_back() -> None:
    """A request that a later step refused has cost nothing."""
    bench = Bench(requests_per_minute=1, tokens_per_minute=100, concurrent_requests=1)
    for _ in range(5):
        bench.admitted(10, 90).abandon()
    assert bench.admitted(10, 90)


def test_leases_come_back_when_requests_end() -> None:
    """Refused beyond the limit, admitted again when one has ended."""
    bench = Bench(concurrent_requests=2)
    first, _second = bench.admitted(), bench.admitted()
    refusal = bench.refused()
    assert refusal.limit == "concurrent requests"
    assert refusal.error.retry_after_s == 1
    first.settle(Usage(1, 1))
    bench.admitted()
    bench.refused()


def test_cached_tokens_count_unless_configured_otherwise() -> None:
    """The engine's prefix cache may be the tenant's gain."""
    for count_cached, left in ((True, 700), (False, 900)):
        bench = Bench(count_cached=count_cached, tokens_per_minute=1000)
        bench.admitted(300, 0).settle(Usage(300, 0, cached_tokens=200))
        assert remaining(bench.admitted(0, 0)) == left


def test_every_choice_is_charged() -> None:
    """`n` answers cost the prompt once and `n` outputs."""
    assert remaining(Bench(tokens_per_minute=1000).admitted(100, 50, choices=4)) == 1000 - 100 - 200


def test_no_output_is_longer_than_the_context() -> None:
    """A client may ask for more than fits: what can't be produced isn't reserved."""
    assert remaining(Bench(tokens_per_minute=10_000).admitted(100, 50_000, context_tokens=4096)) == 10_000 - 4196
    assert remaining(Bench(tokens_per_minute=10_000).admitted(100, None, context_tokens=500)) == 10_000 - 500


def test_the_output_is_learnt_where_the_client_leaves_it_open() -> None:
    """1,024 at first; then what complete answers without a maximum have needed."""
    bench = Bench(tokens_per_minute=1_000_000)
    for _ in range(20):
        bench.admitted(0, None).settle(Usage(0, 60), complete=False)
        bench.admitted(0, 9).settle(Usage(0, 9))
    before = remaining(bench.admitted(0, 0))
    assert before - remaining(bench.admitted(0, None)) == 1024
    for _ in range(20):
        bench.admitted(0, None, choices=2).settle(Usage(0, 160))
    before = remaining(bench.admitted(0, 0))
    assert before - remaining(bench.admitted(0, None)) == 80


def test_near_is_told_where_an_exact_count_could_change_the_answer() -> None:
    """Far from the limit, over it by the output alone, or counted already: no use in asking an engine."""
    bench = Bench(tokens_per_minute=1000)
    assert not bench.admitted(100, 100).near
    assert bench.admitted(300, 100).near
    assert bench.refused(300, 200).near
    assert not bench.refused(300, 200, exact=True).near
    assert not bench.refused(100, 400).near
    crowded = Bench(requests_per_minute=1, tokens_per_minute=1000)
    crowded.admitted(300, 300)
    assert not crowded.refused(500, 0).near
    busy = Bench(concurrent_requests=1, tokens_per_minute=1000)
    busy.admitted(300, 300)
    assert not busy.refused(500, 0).near


def test_an_exact_count_admits_what_the_estimate_refused() -> None:
    """The engine is asked once, and its count is what is reserved."""
    bench = Bench(tokens_per_minute=1000)
    asked: list[int] = []

    async def count() -> int:
        asked.append(1)
        return 400

    outcome = bench.counting(950, 100, count)
    assert isinstance(outcome, Reservation)
    assert (asked, remaining(outcome), outcome.demand.prompt_tokens) == ([1], 500, 400)


def test_an_exact_count_refuses_what_the_estimate_admitted() -> None:
    """A prompt of digits has more tokens than estimated; what the estimate took is given back."""
    bench = Bench(tokens_per_minute=1000)

    async def count() -> int:
        return 1200

    assert isinstance(bench.counting(450, 100, count), Refusal)
    assert remaining(bench.admitted(0, 0)) == 1000


@pytest.mark.parametrize("counted", [None, 300])
def test_a_reservation_stays_when_the_count_is_no_larger(counted: int | None) -> None:
    """No count, or one under the estimate: settling corrects it anyway."""
    bench = Bench(tokens_per_minute=1000)

    async def count() -> int | None:
        return counted

    outcome = bench.counting(450, 100, count)
    assert isinstance(outcome, Reservation)
    assert bench.store.calls == 1


def test_nothing_is_asked_far_from_the_limit() -> None:
    """A count costs the engine time."""

    async def count() -> int:
        raise AssertionError

    assert isinstance(Bench(tokens_per_minute=1000).counting(10, 10, count), Reservation)


def test_a_count_that_fails_gives_back_what_was_taken() -> None:
    """So does one that is cancelled because the client went away."""
    bench = Bench(tokens_per_minute=1000, concurrent_requests=1)

    async def count() -> int:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        bench.counting(450, 100, count)
    assert remaining(bench.admitted(0, 0)) == 1000


def test_a_store_that_refuses_without_redis_is_unavailable_not_full() -> None:
    """503: it isn't the tenant's doing."""
    bench = Bench(requests_per_minute=1)
    bench.store.broken = True
    refusal = bench.refused()
    assert isinstance(refusal.error, LimitsUnavailable)
    assert refusal.error.retry_after_s
    assert not refusal.near


def test_other_limits_apply_from_the_next_request_on() -> None:
    """They come with another object of the key; the counts stay."""
    bench = Bench(requests_per_minute=1)
    bench.admitted()
    bench.limiter.forget_limits()
    bench.key = limited_key(LimitSettings(requests_per_minute=3))
    assert remaining(bench.admitted(), "requests") == 1


def test_leases_of_long_streams_are_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one task for all, which outlives a store that fails."""
    monkeypatch.setattr("gateway.ratelimit.limiter.HEARTBEAT_S", 0.001)
    bench = Bench(concurrent_requests=2)

    async def run() -> None:
        async with bench.limiter as limiter:
            bench.store.broken = True
            await asyncio.sleep(0.01)
            assert bench.store.renewals.empty()
            bench.store.broken = False
            outcome = await limiter.reserve(bench.key, MODEL, Demand(1, 1, 8192))
            assert isinstance(outcome, Reservation)
            bench.store.broken = True
            assert await bench.store.renewals.get() == 1
            bench.store.broken = False
            for _ in range(10):
                bench.clock.advance_ms(10_000)
                while not bench.store.renewals.empty():
                    bench.store.renewals.get_nowait()
                await bench.store.renewals.get()
            await limiter.reserve(bench.key, MODEL, Demand(1, 1, 8192))
            assert isinstance(await limiter.reserve(bench.key, MODEL, Demand(1, 1, 8192)), Refusal)

    asyncio.run(run())
    assert bench.limiter.mode == "embedded"
    assert bench.limiter.problem == ""


def test_where_a_key_stands() -> None:
    """What is reserved counts until it is settled; looking takes nothing."""
    bench = Bench(requests_per_minute=5, tokens_per_day=100, concurrent_requests=2)
    held = bench.admitted(prompt=30, output=10)

    def standings() -> list[LimitState]:
        return asyncio.run(bench.limiter.standings(bench.key))

    reset_s = (61 * 60_000_000 // 60 - bench.clock.now_us % 1_000_000) / 1e6
    day_s = (61 * 86_400_000_000 // 60 - bench.clock.now_us % (86_400_000_000 // 60)) / 1e6
    for _ in range(2):
        assert standings() == [
            LimitState("tenant", "requests_per_minute", 5, 1, 4, reset_s),
            LimitState("tenant", "tokens_per_day", 100, 40, 60, day_s),
            LimitState("tenant", "concurrent_requests", 2, 1, 1, None),
        ]
    held.settle(Usage(100, 20))
    assert [(state.used, state.remaining) for state in standings()] == [(1, 4), (120, 0), (0, 2)]
    bench.clock.now_us += int(reset_s * 1e6)
    assert (standings()[0].used, standings()[0].reset_s) == (0, 0)


def test_a_key_without_limits_stands_nowhere() -> None:
    """And no store is asked; one that can't be asked is an error, not a number."""
    bench = Bench()
    assert asyncio.run(bench.limiter.standings(bench.key)) == []
    broken = Bench(requests_per_minute=1)
    broken.store.broken = True
    with pytest.raises(LimitsUnavailable):
        asyncio.run(broken.limiter.standings(broken.key))
