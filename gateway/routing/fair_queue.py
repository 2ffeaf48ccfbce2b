"""A queue that is fair among tenants, whatever each of them puts in. Pure.

Start-time fair queueing: each tenant has a clock of its own that goes on by 1/weight with each item; the item with the
earliest time is next. A tenant with a thousand waiting items delays another's first one by one item, not a thousand; a
tenant of weight 2 gets two places for each one of weight 1. A tenant that was away has no credit from then.
"""

from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar

T = TypeVar("T")
MAX_GONE: Final = 64
"""Items that were discarded and are still kept, before they are cleared away."""


class FairQueue(Generic[T]):
    """Items of tenants; the items of one tenant keep their order."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str, T]] = []
        self._live: set[int] = set()
        self._numbers = count()
        self._now = 0.0
        self._finish: dict[str, float] = {}
        self._waiting: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._live)

    def put(self, tenant: str, weight: float, item: T) -> int:
        """Put an item in; return the number by which it can be taken out again."""
        start = max(self._now, self._finish.get(tenant, 0.0))
        finish = self._finish[tenant] = start + 1 / weight
        number = next(self._numbers)
        heappush(self._heap, (finish, number, tenant, item))
        self._live.add(number)
        self._waiting[tenant] = self._waiting.get(tenant, 0) + 1
        return number

    def pop(self) -> T:
        """Take out the next item. Raises IndexError when there is none."""
        while True:
            finish, number, tenant, item = heappop(self._heap)
            self._leave(tenant)
            if number in self._live:
                self._live.discard(number)
                self._now = max(self._now, finish)
                return item

    def discard(self, number: int) -> None:
        """Forget an item, if it is still in the queue."""
        self._live.discard(number)
        if len(self._heap) - len(self._live) > max(MAX_GONE, len(self._live)):
            self._forget_gone()

    def _forget_gone(self) -> None:
        for _, number, tenant, _ in self._heap:
            if number not in self._live:
                self._leave(tenant)
        self._heap = [entry for entry in self._heap if entry[1] in self._live]
        heapify(self._heap)

    def _leave(self, tenant: str) -> None:
        left = self._waiting[tenant] - 1
        if left:
            self._waiting[tenant] = left
        else:
            del self._waiting[tenant]
            if self._finish[tenant] <= self._now:
                del self._finish[tenant]
