"""What limits mean, without any cleverness: lists of what was granted, looked through every time."""

from dataclasses import dataclass, field

from gateway.ratelimit.policy import LimitSet

LEASE_US = 14_000_000
BUCKETS = 60


@dataclass(eq=False)
class Granted:
    """One reservation that was granted."""

    at_us: int
    limits: LimitSet
    requests: int
    tokens: int
    lapse_us: int
    held: bool = True


@dataclass
class NaiveLimits:
    """Grants, settles and renews."""

    granted: list[Granted] = field(default_factory=list)

    def reserve(self, now_us: int, limits: LimitSet, tokens: int) -> Granted | None:
        for window in limits.windows:
            cost = tokens if window.unit == "tokens" else 1
            if self.used(now_us, window.key) + cost > window.amount:
                return None
        for lease in limits.leases:
            if self.held(now_us, lease.key) >= lease.amount:
                return None
        grant = Granted(now_us, limits, 1, tokens, now_us + LEASE_US)
        self.granted.append(grant)
        return grant

    def used(self, now_us: int, key: str) -> int:
        """Everything whose bucket is the running one or one of the 60 before it."""
        total = 0
        for grant in self.granted:
            for window in grant.limits.windows:
                width = window.length_us // BUCKETS
                if window.key == key and grant.at_us // width >= now_us // width - BUCKETS:
                    total += grant.tokens if window.unit == "tokens" else grant.requests
        return total

    def reset_us(self, now_us: int, key: str) -> int:
        """How long until no bucket with anything in it counts any more."""
        ends: dict[int, int] = {}
        for grant in self.granted:
            for window in grant.limits.windows:
                width = window.length_us // BUCKETS
                if window.key == key and grant.at_us // width >= now_us // width - BUCKETS:
                    end_us = (grant.at_us // width + BUCKETS + 1) * width
                    amount = grant.tokens if window.unit == "tokens" else grant.requests
                    ends[end_us] = ends.get(end_us, 0) + amount
        return max((end_us - now_us for end_us, amount in ends.items() if amount), default=0)

    def really_used(self, now_us: int, key: str) -> int:
        """What was granted within the window's length before now, to the microsecond."""
        total = 0
        for grant in self.granted:
            for window in grant.limits.windows:
                if window.key == key and grant.at_us > now_us - window.length_us:
                    total += grant.tokens if window.unit == "tokens" else grant.requests
        return total

    def held(self, now_us: int, key: str) -> int:
        return sum(
            grant.held and grant.lapse_us > now_us and any(lease.key == key for lease in grant.limits.leases)
            for grant in self.granted
        )
