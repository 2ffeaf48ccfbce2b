"""Gateways that tell each other what they have at the workers."""

import random
from collections.abc import Mapping

from gateway.routing.fleet import Fleet
from gateway.routing.shared_load import SILENT_S, BoardUnavailableError, LoadExchange, Told
from tests.support.fleets import make_fleet, make_model, make_workers
from tests.support.on_loop import on_loop


class Board:
    """Implements the port in memory; `away` is Redis that can't be reached."""

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}
        self.away = False

    async def exchange(self, replica: str, told: Told) -> Mapping[str, Told]:
        if self.away:
            raise BoardUnavailableError("away")
        self.told[replica] = told
        return dict(self.told)

    async def leave(self, replica: str) -> None:
        if self.away:
            raise BoardUnavailableError("away")
        self.told.pop(replica, None)


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def replica(name: str, board: Board, clock: Clock) -> tuple[Fleet, LoadExchange]:
    """A gateway's view of the same model with three workers."""
    fleet = make_fleet(make_model(make_workers(3)))
    return fleet, LoadExchange(fleet, board, name, rng=random.Random(1), clock=clock)


def shared(fleet: Fleet) -> list[int]:
    return [worker.shared for worker in fleet.models[0].workers]


@on_loop
async def test_each_knows_what_the_others_have() -> None:
    """The sum of the others, never the own; the choice changes with it at once."""
    board, clock = Board(), Clock()
    (first, exchange), (second, another), (third, yet_another) = (replica(name, board, clock) for name in "abc")
    for _ in range(2):
        first.models[0].workers[0].take()
    second.models[0].workers[0].take()
    second.models[0].workers[1].take()
    for each in (exchange, another, yet_another, exchange):
        await each.exchange()
    assert shared(third) == [3, 1, 0]
    assert shared(first) == [1, 1, 0]
    assert third.models[0].pick((), random.Random(1)) is third.models[0].workers[2]


@on_loop
async def test_who_falls_silent_is_forgotten() -> None:
    """A gateway that was killed told its last number; its requests count for three seconds, then not for anybody."""
    board, clock = Board(), Clock()
    (first, killed), (second, exchange) = replica("a", board, clock), replica("b", board, clock)
    first.models[0].workers[0].take()
    await killed.exchange()
    await exchange.exchange()
    clock.now += SILENT_S
    await exchange.exchange()
    assert shared(second) == [1, 0, 0]
    clock.now += 0.1
    await exchange.exchange()
    assert shared(second) == [0, 0, 0]
    assert "a" not in board.told


@on_loop
async def test_without_the_board_only_the_own_counts() -> None:
    """What was heard before is not believed for ever; back again, it is heard again."""
    board, clock = Board(), Clock()
    (first, teller), (second, exchange) = replica("a", board, clock), replica("b", board, clock)
    first.models[0].workers[0].take()
    await teller.exchange()
    await exchange.exchange()
    board.away = True
    await exchange.exchange()
    assert shared(second) == [0, 0, 0]
    board.away = False
    await teller.exchange()
    await exchange.exchange()
    assert shared(second) == [1, 0, 0]


@on_loop
async def test_who_ends_takes_back_what_it_told() -> None:
    """At once, not after three seconds; a board that is away then is no trouble."""
    board, clock = Board(), Clock()
    _, exchange = replica("a", board, clock)
    async with exchange:
        await exchange.exchange()
        assert "a" in board.told
    assert board.told == {}
    _, exchange = replica("a", board, clock)
    async with exchange:
        await exchange.exchange()
        board.away = True
