"""One token asked of a silent engine: when, what ends it early, and what becomes of an engine that makes none."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from gateway.routing.canary import AGAIN_S, PARTS, Canary
from gateway.routing.fleet import ServedModel
from gateway.routing.worker import Worker
from tests.support.fleets import FACTS, make_fleet, make_model, make_workers

CANARY_S = 8.0


class World:
    """A worker of two, its canary, and a clock that a test drives: each step is one sleep of the canary's."""

    def __init__(self, workers: int = 2) -> None:
        self.workers = make_workers(workers)
        self.worker = self.workers[0]
        self.model = make_model(self.workers, canary_s=CANARY_S)
        self.slept: list[float] = []
        self.hung: list[Worker] = []
        self.asked: list[asyncio.Future[bool]] = []
        self._woken: asyncio.Queue[None] = asyncio.Queue()
        self._canary = Canary(
            self.model,
            self.worker,
            CANARY_S,
            self._ask,
            on_hang=self.hung.append,
            rng=random.Random(1),
            sleep=self._sleep,
        )

    async def _sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        await self._woken.get()

    async def _ask(self, model: ServedModel, worker: Worker, timeout_s: float) -> bool:
        assert (model, worker, timeout_s) == (self.model, self.worker, CANARY_S)
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def sleep_on(self, times: int = PARTS) -> None:
        """Let so many sleeps pass, and what follows them."""
        for _ in range(times):
            self._woken.put_nowait(None)
            await settle()

    async def be_answered(self, made: bool) -> None:
        """Let the canary under way have this outcome."""
        self.asked[-1].set_result(made)
        await settle()

    def play(self, scenario: Callable[[], Awaitable[None]]) -> None:
        """Run a scenario beside the canary, which ends after it as its owner would end it."""

        async def main() -> None:
            task = asyncio.create_task(self._canary.run())
            await settle()
            await scenario()
            assert not task.done()
            task.cancel()
            await asyncio.wait((task,))

        asyncio.run(main())


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_silent_worker_is_asked_for_a_token() -> None:
    """After `canary_s`, not before; a token changes nothing, and the next silence is asked about again."""
    world = World()

    async def scenario() -> None:
        await world.sleep_on(PARTS - 1)
        assert not world.asked
        await world.sleep_on(1)
        assert len(world.asked) == 1
        await world.be_answered(True)
        assert world.worker.usable
        await world.sleep_on()
        assert len(world.asked) == 2
        assert 0.8 * CANARY_S <= sum(world.slept[:PARTS]) <= 1.2 * CANARY_S

    world.play(scenario)
    assert world.worker.pulse.canaries["answered"] == 1
    assert world.worker.pulse.on_beat is None


def test_a_worker_that_answers_anybody_is_asked_nothing() -> None:
    """A byte now and then is enough, whoever gets it."""
    world = World()

    async def scenario() -> None:
        for _ in range(5):
            await world.sleep_on(PARTS - 1)
            world.worker.pulse.beat()
        await world.sleep_on(PARTS - 1)

    world.play(scenario)
    assert not world.asked


def test_a_byte_of_another_answer_cancels_the_canary() -> None:
    """At once: the engine shall not work for it."""
    world = World()

    async def scenario() -> None:
        await world.sleep_on()
        world.worker.pulse.beat()
        await settle()
        assert world.asked[0].cancelled()

    world.play(scenario)
    assert world.worker.usable
    assert world.worker.pulse.canaries == {"answered": 0, "needless": 1, "failed": 0}


def test_a_worker_that_drains_or_is_down_is_left_alone() -> None:
    """A canary under way is cancelled, and none is begun until the worker is used again."""
    world = World()

    async def scenario() -> None:
        await world.sleep_on()
        world.worker.drain()
        await settle()
        assert world.asked[0].cancelled()
        await world.sleep_on(2 * PARTS)
        world.worker.drain(on=False)
        world.worker.mark_down("/health didn't answer")
        await world.sleep_on(2 * PARTS)
        assert len(world.asked) == 1
        world.worker.mark_up(FACTS)
        await world.sleep_on()
        assert len(world.asked) == 2

    world.play(scenario)


def test_the_end_of_the_watch_ends_the_canary() -> None:
    """A worker that leaves, and a gateway that ends, leave no request behind."""
    world = World()
    world.play(world.sleep_on)
    assert world.asked[0].cancelled()
    assert world.worker.pulse.on_beat is None


def test_a_worker_without_a_token_is_cut_off_until_it_makes_one() -> None:
    """Its breaker opens and no time closes it; who waits is told after each canary that failed."""
    world = World()

    async def scenario() -> None:
        await world.sleep_on()
        await world.be_answered(False)
        assert world.hung == [world.worker]
        assert (world.worker.breaker.state, world.worker.usable) == ("open", False)
        assert world.model.pick((), random.Random(1)) is world.workers[1]
        world.worker.tick(1e9)
        assert not world.worker.usable
        await world.sleep_on(1)
        assert world.slept[-1] == AGAIN_S
        await world.be_answered(False)
        assert world.hung == [world.worker] * 2
        await world.sleep_on(1)
        await world.be_answered(True)
        assert (world.worker.breaker.state, world.worker.usable) == ("closed", True)

    world.play(scenario)
    assert world.worker.pulse.canaries == {"answered": 1, "needless": 0, "failed": 2}


def test_a_byte_from_a_hung_worker_is_as_good_as_a_token() -> None:
    """A stream that goes on shows that the engine does."""
    world = World()

    async def scenario() -> None:
        await world.sleep_on()
        await world.be_answered(False)
        await world.sleep_on(1)
        world.worker.pulse.beat()
        await settle()
        assert world.worker.usable

    world.play(scenario)


def test_a_drained_worker_that_hung_still_hangs() -> None:
    """To drain says nothing of its engine."""
    world = World()

    async def scenario() -> None:
        await world.sleep_on()
        await world.be_answered(False)
        await world.sleep_on(1)
        world.worker.drain()
        await settle()
        assert world.worker.hangs

    world.play(scenario)


def test_the_only_worker_is_cut_off_too_and_told_of() -> None:
    """It's still tried when a request comes, because what is known may be wrong; `/readyz` says what is the matter."""
    world = World(workers=1)

    async def scenario() -> None:
        await world.sleep_on()
        await world.be_answered(False)
        assert not world.worker.usable
        assert world.model.pick((), random.Random(1)) is world.worker
        assert "hangs" in make_fleet(world.model).problems()[world.model.name]

    world.play(scenario)
