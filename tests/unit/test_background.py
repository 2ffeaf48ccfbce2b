"""Ending tasks that run beside requests."""

import asyncio

from gateway.background import end_task


def test_a_task_that_missed_one_cancel_still_ends() -> None:
    """Its first cancel comes together with a result that `asyncio.wait_for` prefers, as Python 3.11's does."""

    async def scenario() -> tuple[bool, int]:
        missed = 0
        waiting = asyncio.Event()

        async def watch() -> None:
            nonlocal missed
            while True:
                waiting.set()
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    missed += 1
                    if missed > 1:
                        raise

        task = asyncio.create_task(watch())
        await waiting.wait()
        await end_task(task)
        return task.cancelled(), missed

    assert asyncio.run(scenario()) == (True, 2)


def test_a_task_that_fails_while_it_ends_is_ended() -> None:
    """Whoever ends it isn't hit by its exception."""

    async def scenario() -> str:
        async def fail() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                raise RuntimeError("while it ended")

        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        await end_task(task)
        return str(task.exception())

    assert asyncio.run(scenario()) == "while it ended"
