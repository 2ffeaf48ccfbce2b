"""What every store must do: one suite, run on each of them with a driven clock."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gateway.ratelimit.policy import Count, LeaseLimit, LimitSet, Unit, WindowLimit
from gateway.ratelimit.store import LeaseId, Taken
from gateway.values import TenantId
from tests.support.driven_clock import DrivenClock

MINUTE_US = 60_000_000


def window(unit: Unit, amount: int, *, length_us: int = MINUTE_US, key: str = "w") -> WindowLimit:
    return WindowLimit(f"{key}:{unit}:{length_us}", "tenant 'acme'", unit, length_us, amount)


def limit_set(*windows: WindowLimit, live: int | None = None, tenant: str = "acme") -> LimitSet:
    leases = () if live is None else (LeaseLimit("t:live", f"tenant '{tenant}'", live),)
    return LimitSet(TenantId(tenant), windows, leases)


class StoreBench:
    """A store (as far as reserving, settling and renewing go), its clock, and the loop it lives on."""

    def __init__(self, store: Any, clock: DrivenClock, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.store = store
        self.clock = clock
        self.run = run
        self._count = 0

    def reserve(self, limits: LimitSet, tokens: int = 0) -> Taken:
        self._count += 1
        taken: Taken = self.run(self.store.reserve(limits, tokens, LeaseId(f"lease-{self._count}")))
        return taken

    def settle(self, taken: Taken, tokens: int = 0, *, requests: int = 1) -> None:
        async def settle() -> None:
            self.store.settle(taken, requests, tokens)
            await asyncio.sleep(0)

        self.run(settle())

    def renew(self, *taken: Taken) -> None:
        self.run(self.store.renew([(one.limits, one.lease) for one in taken]))

    def look(self, limits: LimitSet) -> Count:
        found: tuple[LimitSet, Count] = self.run(self.store.look(limits))
        assert found[0] is limits
        return found[1]

    def used(self, limits: LimitSet) -> tuple[int, ...]:
        """Ask with a request that can't be granted, and so takes nothing."""
        probe = limit_set(*limits.windows, window("requests", 0, key="probe"), tenant=limits.tenant)
        taken = self.reserve(probe)
        assert not taken.verdict.granted
        return taken.verdict.used[:-1]


class StoreSuite:
    """Subclasses bring the fixture `bench`."""

    def test_admits_as_many_as_the_limit_and_no_more(self, bench: StoreBench) -> None:
        """The verdict has the numbers after the decision."""
        limits = limit_set(window("requests", 3))
        verdicts = [bench.reserve(limits).verdict for _ in range(5)]
        assert [verdict.granted for verdict in verdicts] == [True, True, True, False, False]
        assert [verdict.used for verdict in verdicts] == [(1,), (2,), (3,), (3,), (3,)]
        assert [verdict.wait_us for verdict in verdicts] == [(0,), (0,), *[(61_000_000,)] * 3]
        assert verdicts[0].at_us == bench.clock.now_us

    def test_takes_everything_or_nothing(self, bench: StoreBench) -> None:
        """What one limit refuses isn't counted under the others, leases included."""
        limits = limit_set(window("requests", 10), window("tokens", 100), live=5)
        assert bench.reserve(limits, 60).verdict.granted
        refused = bench.reserve(limits, 60).verdict
        assert not refused.granted
        assert refused.used == (1, 60)
        assert refused.held == (1,)
        assert refused.wait_us[0] == 0
        assert refused.wait_us[1] == 61_000_000
        assert bench.reserve(limits, 40).verdict.granted

    def test_has_room_exactly_when_it_said(self, bench: StoreBench) -> None:
        """A microsecond earlier the same request is refused."""
        limits = limit_set(window("tokens", 100))
        bench.clock.advance_ms(300)
        bench.reserve(limits, 30)
        bench.clock.advance_ms(10_450)
        bench.reserve(limits, 50)
        refused = bench.reserve(limits, 60)
        assert not refused.verdict.granted
        wait_us = refused.verdict.wait_us[0]
        bench.clock.now_us += wait_us - 1
        assert not bench.reserve(limits, 60).verdict.granted
        bench.clock.now_us += 1
        assert bench.reserve(limits, 60).verdict.granted

    def test_says_never_when_the_request_is_larger_than_the_limit(self, bench: StoreBench) -> None:
        """-1, whatever the window holds."""
        limits = limit_set(window("tokens", 100))
        assert bench.reserve(limits, 101).verdict.wait_us == (-1,)
        assert bench.used(limits) == (0,)

    def test_keeps_windows_of_different_lengths_apart(self, bench: StoreBench) -> None:
        """A minute ends, the hour goes on."""
        limits = limit_set(window("requests", 2), window("requests", 3, length_us=60 * MINUTE_US))
        for granted in (True, True, False):
            assert bench.reserve(limits).verdict.granted is granted
        bench.clock.advance_ms(62_000)
        verdicts = [bench.reserve(limits).verdict for _ in range(2)]
        assert [verdict.granted for verdict in verdicts] == [True, False]
        assert verdicts[1].used == (1, 3)

    def test_keeps_tenants_apart(self, bench: StoreBench) -> None:
        """The same limits of another tenant are other limits."""
        assert bench.reserve(limit_set(window("requests", 1))).verdict.granted
        assert bench.reserve(limit_set(window("requests", 1), tenant="other")).verdict.granted
        assert not bench.reserve(limit_set(window("requests", 1))).verdict.granted

    def test_settles_into_the_bucket_of_the_reservation(self, bench: StoreBench) -> None:
        """Less frees room at once; what remains leaves when the reservation would have."""
        limits = limit_set(window("tokens", 100))
        taken = bench.reserve(limits, 90)
        bench.clock.advance_ms(30_000)
        bench.settle(taken, 20)
        assert bench.used(limits) == (20,)
        bench.clock.advance_ms(30_999)
        assert bench.used(limits) == (20,)
        bench.clock.advance_ms(1)
        assert bench.used(limits) == (0,)

    def test_settles_more_than_reserved(self, bench: StoreBench) -> None:
        """Where the client set no maximum, an answer may be longer than assumed: it counts in full."""
        limits = limit_set(window("tokens", 100))
        taken = bench.reserve(limits, 50)
        bench.settle(taken, 130)
        refused = bench.reserve(limits, 1).verdict
        assert (refused.granted, refused.used) == (False, (130,))

    def test_settles_nothing_when_the_window_has_passed(self, bench: StoreBench) -> None:
        """What left the window can't be given back from what is in it now."""
        limits = limit_set(window("tokens", 100))
        taken = bench.reserve(limits, 90)
        bench.clock.advance_ms(61_000)
        bench.reserve(limits, 80)
        bench.settle(taken, 10)
        assert bench.used(limits) == (80,)
        bench.clock.advance_ms(600_000)
        bench.reserve(limits, 70)
        bench.settle(taken, 10)
        assert bench.used(limits) == (70,)

    def test_settles_nothing_when_the_bucket_has_left_a_busy_window(self, bench: StoreBench) -> None:
        """The window was never empty in between, but what was reserved isn't in it any more."""
        limits = limit_set(window("tokens", 100))
        taken = bench.reserve(limits, 50)
        for _ in range(2):
            bench.clock.advance_ms(40_000)
            bench.reserve(limits, 40)
        bench.settle(taken, 0)
        assert bench.used(limits) == (80,)
        bench.clock.advance_ms(30_000)
        assert bench.used(limits) == (40,)

    def test_gives_everything_back(self, bench: StoreBench) -> None:
        """Request, tokens and lease of a request that wasn't served."""
        limits = limit_set(window("requests", 1), window("tokens", 10), live=1)
        for _ in range(3):
            taken = bench.reserve(limits, 10)
            assert taken.verdict.granted
            bench.settle(taken, 0, requests=0)
        assert bench.used(limits) == (0, 0)

    def test_keeps_the_request_of_one_that_was_served(self, bench: StoreBench) -> None:
        """Settling replaces tokens, and frees the lease."""
        limits = limit_set(window("requests", 5), window("tokens", 10), live=1)
        bench.settle(bench.reserve(limits, 10), 4)
        assert bench.used(limits) == (1, 4)
        assert bench.reserve(limits, 6).verdict.granted

    def test_refuses_while_all_leases_are_held(self, bench: StoreBench) -> None:
        """And admits again when one is back."""
        limits = limit_set(live=2)
        first, second = bench.reserve(limits), bench.reserve(limits)
        refused = bench.reserve(limits).verdict
        assert (refused.granted, refused.held) == (False, (2,))
        bench.settle(first)
        assert bench.reserve(limits).verdict.granted
        assert second.verdict.held == (2,)

    def test_leases_lapse_unless_renewed(self, bench: StoreBench) -> None:
        """14 s after the last renewal, to the microsecond."""
        limits = limit_set(live=2)
        kept, _lost = bench.reserve(limits), bench.reserve(limits)
        bench.clock.advance_ms(10_000)
        bench.renew(kept)
        bench.clock.now_us += 4_000_000 - 1
        assert not bench.reserve(limits).verdict.granted
        bench.clock.now_us += 1
        assert bench.reserve(limits).verdict.granted
        assert not bench.reserve(limits).verdict.granted
        bench.clock.now_us += 10_000_000
        assert bench.reserve(limits).verdict.granted

    def test_renewing_makes_a_lost_lease_again(self, bench: StoreBench) -> None:
        """The request is still in flight, whatever the store has forgotten."""
        limits = limit_set(live=1)
        taken = bench.reserve(limits)
        bench.clock.advance_ms(20_000)
        bench.renew(taken)
        assert not bench.reserve(limits).verdict.granted

    def test_renews_many_leases_at_once(self, bench: StoreBench) -> None:
        """As many as a busy replica holds."""
        limits = limit_set(live=1_200)
        taken = [bench.reserve(limits) for _ in range(1_200)]
        bench.clock.advance_ms(13_000)
        bench.renew(*taken)
        bench.clock.advance_ms(13_000)
        assert bench.reserve(limits).verdict.held == (1_200,)

    def test_settling_twice_in_two_windows_counts_in_both(self, bench: StoreBench) -> None:
        """Tokens of a minute and of a day are settled together."""
        limits = limit_set(window("tokens", 1_000), window("tokens", 5_000, length_us=1440 * MINUTE_US))
        bench.settle(bench.reserve(limits, 700), 100)
        assert bench.used(limits) == (100, 100)
        bench.clock.advance_ms(70_000)
        assert bench.used(limits) == (0, 100)

    @pytest.mark.parametrize("length_us", [600_000, MINUTE_US, 60 * MINUTE_US, 1440 * MINUTE_US])
    def test_forgets_bucket_by_bucket(self, bench: StoreBench, length_us: int) -> None:
        """Over two windows with a request in each bucket, the sum is what the last 61 buckets hold."""
        limits = limit_set(window("requests", 1_000, length_us=length_us))
        for bucket in range(130):
            assert bench.reserve(limits).verdict.used == (min(bucket + 1, 61),)
            bench.clock.now_us += length_us // 60
