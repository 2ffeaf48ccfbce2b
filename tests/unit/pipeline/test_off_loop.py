"""Where large work is done."""

import threading

from gateway.pipeline.off_loop import MAX_ON_LOOP, off_loop
from tests.support.on_loop import on_loop


@on_loop
async def test_large_work_leaves_the_loop_free() -> None:
    """What is small is done at once, without a thread's price; what is large in a thread."""
    here = threading.get_ident()
    assert await off_loop(MAX_ON_LOOP, threading.get_ident) == here
    assert await off_loop(MAX_ON_LOOP + 1, threading.get_ident) != here
