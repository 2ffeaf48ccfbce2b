"""Waiting for a place: no place is lost or given twice, whatever the waiting do."""

import asyncio
import random

import pytest

from gateway.config.model import QueueSettings
from gateway.routing.fleet import ServedModel
from gateway.routing.waiting_room import QueueFullError, WaitingRoom
from gateway.routing.worker import Worker
from gateway.values import TenantId
from tests.support.fleets import make_model, make_workers
from tests.support.on_loop import on_loop

A, B = TenantId("a"), TenantId("b")


def limited(workers: int, *, limit: int = 1, size: int = 10, timeout_s: float = 5.0) -> tuple[ServedModel, WaitingRoom]:
    """A model whose workers may have `limit` requests each."""
    model = make_model(make_workers(workers), queue=QueueSettings(limit, size, timeout_s))
    assert model.room is not None
    return model, model.room


def fill(model: ServedModel) -> list[Worker]:
    """Take every place."""
    taken: list[Worker] = []
    while (worker := model.pick((), random.Random(1))) is not None:
        worker.take()
        taken.append(worker)
    return taken


async def settle() -> None:
    """Let every task run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


@on_loop
async def test_a_free_place_goes_to_who_waits() -> None:
    """A newcomer can't take it, and the worker never has more than its limit."""
    model, room = limited(2, limit=2)
    taken = fill(model)
    assert [worker.in_flight for worker in model.workers] == [2, 2]
    assert model.full
    waiting = asyncio.create_task(room.wait(A, 1e12))
    await settle()
    assert len(room) == 1
    taken[0].release()
    assert model.pick((), random.Random(1)) is None
    assert await waiting is taken[0]
    assert [worker.in_flight for worker in model.workers] == [2, 2]


@on_loop
async def test_the_limit_grows_with_the_weight() -> None:
    """A worker of weight 2 may have twice as many, and other gateways' requests count."""
    model = make_model(make_workers(2, weights=(1, 2)), queue=QueueSettings(3))
    assert model.workers[1].hear_shared(2)
    model.choice.changed()
    fill(model)
    assert [worker.in_flight for worker in model.workers] == [3, 4]


@on_loop
async def test_who_comes_up_lets_the_waiting_in() -> None:
    """A worker that joins, recovers or is drained no more has places at once."""
    model, room = limited(2)
    model.workers[1].mark_down("gone")
    fill(model)
    waiting = asyncio.create_task(room.wait(A, 1e12))
    await settle()
    facts = model.workers[0].facts
    assert facts is not None
    model.workers[1].mark_up(facts)
    assert await waiting is model.workers[1]
    again = asyncio.create_task(room.wait(A, 1e12))
    await settle()
    (late,) = make_workers(1)
    model.use((*model.workers, late))
    assert await again is late


@on_loop
async def test_a_full_queue_refuses_at_once() -> None:
    """With a time to come back that is a guess, but never zero."""
    model, room = limited(1, size=1)
    fill(model)
    waiting = asyncio.create_task(room.wait(A, 1e12))
    await settle()
    with pytest.raises(QueueFullError) as refused:
        await room.wait(B, 1e12)
    assert 1 <= refused.value.retry_after_s <= 120
    waiting.cancel()


@on_loop
async def test_waiting_ends() -> None:
    """After the queue's time, or the request's own, whichever is first; nothing is left of it."""
    for timeout_s, deadline in ((0.001, 1e12), (5.0, 0.0)):
        model, room = limited(1, timeout_s=timeout_s)
        (taken,) = fill(model)
        with pytest.raises(QueueFullError):
            await room.wait(A, deadline)
        assert len(room) == 0
        taken.release()
        assert taken.in_flight == 0


@pytest.mark.parametrize("order", ["cancel first", "place first"])
@on_loop
async def test_a_client_that_leaves_loses_no_place(order: str) -> None:
    """Even when its place comes in the same turn of the loop, the next one gets it."""
    model, room = limited(1)
    (taken,) = fill(model)
    leaver = asyncio.create_task(room.wait(A, 1e12))
    await settle()
    patient = asyncio.create_task(room.wait(B, 1e12))
    await settle()
    if order == "cancel first":
        leaver.cancel()
        taken.release()
    else:
        taken.release()
        leaver.cancel()
    assert await patient is taken
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert taken.in_flight == 1
    taken.release()
    assert model.pick((), random.Random(1)) is taken


@on_loop
async def test_the_time_to_come_back_follows_the_pace() -> None:
    """A queue of ten, with a place every three seconds, asks for about half a minute."""
    now = 0.0
    room = WaitingRoom(QueueSettings(1, size=10), lambda: now)
    for _ in range(200):
        now += 3.0
        room.freed()
    waiting = [asyncio.create_task(room.wait(A, 1e12)) for _ in range(10)]
    await settle()
    with pytest.raises(QueueFullError) as refused:
        await room.wait(A, 1e12)
    assert refused.value.retry_after_s == pytest.approx(33, abs=1)
    for task in waiting:
        task.cancel()
