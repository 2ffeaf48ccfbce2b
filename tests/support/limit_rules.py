"""A state machine for Hypothesis: a store and the naive model do the same, and must agree."""

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from gateway.ratelimit.policy import LimitSet, WindowLimit
from gateway.ratelimit.store import Taken
from tests.support.limit_store_suite import StoreBench, limit_set, window
from tests.support.naive_limits import BUCKETS, LEASE_US, Granted, NaiveLimits

SECOND_US = 1_000_000
REQUESTS = window("requests", 6)
TOKENS = window("tokens", 100)
HOUR = window("requests", 15, length_us=3_600 * SECOND_US)
SHORT = window("tokens", 60, length_us=6 * SECOND_US)
LIMITS = (
    limit_set(REQUESTS),
    limit_set(TOKENS),
    limit_set(REQUESTS, TOKENS, live=3),
    limit_set(HOUR, SHORT, TOKENS),
    limit_set(REQUESTS, HOUR, live=2),
)
"""They share windows, as limits of a tenant and of its keys do."""


@dataclass(eq=False)
class Pair:
    """The same reservation in both."""

    taken: Taken
    granted: Granted


class StoreRules(RuleBasedStateMachine):
    """Subclasses make the store."""

    open_pairs = Bundle("open_pairs")

    def __init__(self) -> None:
        super().__init__()
        self.bench = self.make_bench()
        self.naive = NaiveLimits()
        self.overdrawn = False

    def make_bench(self) -> StoreBench:
        """The store under test, empty."""
        raise NotImplementedError

    @rule(time_us=st.integers(0, 3 * SECOND_US))
    def wait_a_little(self, time_us: int) -> None:
        self.bench.clock.now_us += time_us

    @rule(time_us=st.integers(0, 2 * 3_600 * SECOND_US))
    def wait_long(self, time_us: int) -> None:
        self.bench.clock.now_us += time_us

    @rule(
        which=st.integers(0, 5),
        limit=st.sampled_from((REQUESTS, HOUR, SHORT)),
        buckets=st.sampled_from((1, 60, 61)),
        early_us=st.sampled_from((0, 1)),
    )
    def wait_until_a_bucket_ends(self, which: int, limit: WindowLimit, buckets: int, early_us: int) -> None:
        """Go to where something recent changes its bucket's place in a window, or to just before."""
        if which < len(self.naive.granted):
            width = limit.length_us // BUCKETS
            end_us = (self.naive.granted[-1 - which].at_us // width + buckets) * width - early_us
            self.bench.clock.now_us = max(self.bench.clock.now_us, end_us)

    @rule(target=open_pairs, limits=st.sampled_from(LIMITS), tokens=st.integers(0, 70))
    def reserve(self, limits: LimitSet, tokens: int) -> Pair | None:
        """Both grant it or neither; the verdict's numbers are those that hold afterwards."""
        now_us = self.bench.clock.now_us
        really_used = [self.naive.really_used(now_us, limit.key) for limit in limits.windows]
        taken = self.bench.reserve(limits, tokens)
        granted = self.naive.reserve(now_us, limits, tokens)
        verdict = taken.verdict
        assert verdict.granted == (granted is not None)
        assert verdict.used == tuple(self.naive.used(now_us, limit.key) for limit in limits.windows)
        assert verdict.held == tuple(self.naive.held(now_us, limit.key) for limit in limits.leases)
        for limit, before, wait in zip(limits.windows, really_used, verdict.wait_us, strict=True):
            cost = tokens if limit.unit == "tokens" else 1
            if granted is not None and not self.overdrawn:
                assert before + cost <= limit.amount
            if wait > 0:
                self._has_room_exactly_then(limit.key, limit.amount - cost, now_us, wait)
            assert (wait == -1) == (cost > limit.amount)
        return Pair(taken, granted) if granted is not None else None

    def _has_room_exactly_then(self, key: str, most: int, now_us: int, wait_us: int) -> None:
        assert self.naive.used(now_us + wait_us, key) <= most
        assert self.naive.used(now_us + wait_us - 1, key) > most

    @rule(pair=consumes(open_pairs), tokens=st.integers(0, 90))
    def settle(self, pair: Pair | None, tokens: int) -> None:
        if pair is not None:
            self.bench.settle(pair.taken, tokens)
            self.overdrawn |= tokens > pair.granted.tokens
            pair.granted.tokens = tokens
            pair.granted.held = False

    @rule(pair=consumes(open_pairs))
    def abandon(self, pair: Pair | None) -> None:
        if pair is not None:
            self.bench.settle(pair.taken, 0, requests=0)
            pair.granted.requests = pair.granted.tokens = 0
            pair.granted.held = False

    @rule(pair=open_pairs)
    def renew(self, pair: Pair | None) -> None:
        if pair is not None:
            self.bench.renew(pair.taken)
            pair.granted.lapse_us = self.bench.clock.now_us + LEASE_US

    @rule(limits=st.sampled_from(LIMITS))
    def look(self, limits: LimitSet) -> None:
        """It tells what counts, and when nothing of that will."""
        now_us = self.bench.clock.now_us
        count = self.bench.look(limits)
        assert count.used == tuple(self.naive.used(now_us, limit.key) for limit in limits.windows)
        assert count.held == tuple(self.naive.held(now_us, limit.key) for limit in limits.leases)
        assert count.reset_us == tuple(self.naive.reset_us(now_us, limit.key) for limit in limits.windows)

    @invariant()
    def agree(self) -> None:
        """What counts is the same in both, in every window."""
        now_us = self.bench.clock.now_us
        every = limit_set(REQUESTS, TOKENS, HOUR, SHORT)
        assert self.bench.used(every) == tuple(self.naive.used(now_us, limit.key) for limit in every.windows)
