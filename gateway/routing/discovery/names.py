"""What the answers of DNS mean for the set of workers. No I/O.

A name that can't be looked up says nothing about the workers: those known stay. A name that has no addresses may mean
that there are none, and may mean that a name server has just been restarted: it is believed when it was said
`EMPTY_ANSWERS` times in a row.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.routing.discovery.endpoint import Endpoint

EMPTY_ANSWERS: Final = 3
SHORTEST_S: Final = 1.0
LONGEST_S: Final = 30.0
"""Between two look-ups, whatever the records' time to live says."""


class Service(NamedTuple):
    """An SRV record."""

    priority: int
    target: str
    port: int


class NameHistory:
    """Turns look-ups of one name into the endpoints to use."""

    def __init__(self) -> None:
        self.endpoints: frozenset[Endpoint] | None = None
        """None: not known yet."""
        self._empty = 0

    def take(self, found: frozenset[Endpoint]) -> bool:
        """Take what a look-up found; True when `endpoints` has changed."""
        self._empty = 0 if found else self._empty + 1
        believed = bool(found) or self.endpoints is None or self._empty >= EMPTY_ANSWERS
        if not believed or found == self.endpoints:
            return False
        self.endpoints = found
        return True


def preferred(services: Iterable[Service]) -> list[Service]:
    """Return the records of the lowest priority number, which clients must try first (RFC 2782)."""
    listed = [each for each in services if each.target not in ("", ".")]
    lowest = min((each.priority for each in listed), default=0)
    return [each for each in listed if each.priority == lowest]


def pause_after(ttl_s: float | None) -> float:
    """Return the seconds until the next look-up; without a time to live, as after a failure, the shortest."""
    return SHORTEST_S if ttl_s is None else min(max(ttl_s, SHORTEST_S), LONGEST_S)
