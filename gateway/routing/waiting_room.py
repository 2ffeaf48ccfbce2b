"""Where requests wait for a place at a model's workers, when each of them has as many as it may.

A place that becomes free is given to the next one who waits at once, by the code that frees it: nobody who comes later
can take it first, and a place that its new owner no longer wants is passed on.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final

from gateway.config.model import QueueSettings
from gateway.routing.fair_queue import FairQueue
from gateway.routing.worker import Worker
from gateway.values import TenantId

MIN_RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 120.0
_SMOOTHING: Final = 0.1


class QueueFullError(Exception):
    """There is no place to wait, or waiting took too long; `retry_after_s` is when a place can be expected."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"no place for about {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class WaitingRoom:
    """The queue of one model in this process."""

    def __init__(self, settings: QueueSettings, clock: Callable[[], float]) -> None:
        """`clock`: monotonic seconds."""
        self._settings = settings
        self._clock = clock
        self._queue: FairQueue[asyncio.Future[Worker]] = FairQueue()
        self._freed_at: float | None = None
        self._interval_s = MIN_RETRY_S

    def __len__(self) -> int:
        return len(self._queue)

    def offer(self, worker: Worker) -> bool:
        """Give a free place at `worker` to the next one who waits; False when nobody does."""
        while len(self._queue):
            waiter = self._queue.pop()
            if not waiter.done():
                worker.take()
                waiter.set_result(worker)
                return True
        return False

    def freed(self) -> None:
        """Note that a request has ended: how often that happens is what a wait is estimated from."""
        now = self._clock()
        if self._freed_at is not None:
            self._interval_s += _SMOOTHING * (now - self._freed_at - self._interval_s)
        self._freed_at = now

    async def wait(self, tenant: TenantId, deadline: float) -> Worker:
        """Wait for a place and return its worker, already taken. Raises QueueFullError.

        `deadline` is the request's own, a time of the clock; the queue's is shorter as a rule.
        """
        if len(self._queue) >= self._settings.size:
            raise self._full()
        waiter: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        number = self._queue.put(tenant, self._settings.weights.get(tenant, 1.0), waiter)
        try:
            async with asyncio.timeout(min(self._settings.timeout_s, deadline - self._clock())):
                return await waiter
        except BaseException as error:  # cancellation too: the place may have come in the same turn
            if waiter.done() and not waiter.cancelled():
                waiter.result().release()
            else:
                waiter.cancel()
                self._queue.discard(number)
            if isinstance(error, TimeoutError):
                raise self._full() from None
            raise

    def _full(self) -> QueueFullError:
        expected_s = (len(self._queue) + 1) * self._interval_s
        return QueueFullError(float(math.ceil(min(MAX_RETRY_S, max(MIN_RETRY_S, expected_s)))))
