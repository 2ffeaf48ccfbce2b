"""How long something took, without the pauses in which a busy machine let others run."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

TICK_S = 0.001
_USUAL_LATENESS_S = 0.001
T = TypeVar("T")


async def with_own_time(awaitable: Awaitable[T]) -> tuple[T, float]:
    """The result, and the seconds it took; how much later than asked for this loop's ticks came isn't counted.

    Bounds on waiting can be asserted with it on any machine: a timer of the product is as late as a tick is.
    """
    pauses_s = 0.0

    async def tick() -> None:
        nonlocal pauses_s
        while True:
            began = time.monotonic()
            await asyncio.sleep(TICK_S)
            pauses_s += max(0.0, time.monotonic() - began - TICK_S - _USUAL_LATENESS_S)

    ticker = asyncio.ensure_future(tick())
    await asyncio.sleep(0)
    pauses_s = 0.0
    began = time.monotonic()
    try:
        result = await awaitable
        took_s = time.monotonic() - began
        await asyncio.sleep(2 * TICK_S)  # the tick that was late for the same reason comes first
        return result, took_s - pauses_s
    finally:
        ticker.cancel()
