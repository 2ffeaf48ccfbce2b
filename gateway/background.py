"""Tasks that run beside requests until their owner ends them."""

import asyncio
from typing import Any, Final

_ASK_AGAIN_S: Final = 0.2


async def end_task(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait until it has ended, however it ends; its exception is for who awaits the task itself.

    One `cancel` may get lost: `asyncio.wait_for` of Python 3.11 returns its result instead when both come at the same
    time, and redis-py sends every command under one. A loop would then go on forever.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=_ASK_AGAIN_S)
