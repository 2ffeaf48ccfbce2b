"""Work on large bodies, which would keep other requests waiting."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")
MAX_ON_LOOP: Final = 32_768
"""Characters that are worked on in the event loop: half a millisecond. More go to a thread."""


async def off_loop(size: int, work: Callable[[], T]) -> T:
    """Return what `work` makes of `size` characters, done in a thread where they are many."""
    return work() if size <= MAX_ON_LOOP else await asyncio.to_thread(work)
