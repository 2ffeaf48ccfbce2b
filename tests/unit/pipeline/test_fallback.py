"""Who may stand in, and when nobody may."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.errors import GatewayError, InvalidRequest, NoWorkerAvailable, RateLimited, WorkerError, WorkerTimeout
from gateway.observability.record import RequestRecord
from gateway.pipeline.fallback import serve_or_fall_back
from gateway.pipeline.services import Inbound, Services
from gateway.routing.fleet import ServedModel
from gateway.values import ModelName, RequestId, Usage
from tests.support.fleets import make_model, make_workers

BUSY = NoWorkerAvailable("busy", retry_after_s=1.0)
BROKEN = WorkerError("broken")


class World:
    """Three models, each of which answers or raises what it is told to; the first falls back to the others."""

    def __init__(self, **outcomes: GatewayError | None) -> None:
        self.outcomes = outcomes
        self.models = {name: make_model(make_workers(1)) for name in ("a", "b", "c")}
        for name, model in self.models.items():
            model.name = ModelName(name)
        self.now_s = 0.0
        self.forbidden: set[str] = set()
        self.asked: list[str] = []
        self.sent = False
        """Whether a worker had begun to work when a model fails."""
        self.record = RequestRecord(RequestId("r"), "chat", 0.0)
        self.record.model = ModelName("a")

    def serve_all(self, fits: Callable[[ServedModel], bool] = lambda _: True) -> None:
        services = SimpleNamespace(
            fallbacks={"a": (self.models["b"], self.models["c"])},
            clock=lambda: self.now_s,
            server=SimpleNamespace(request_timeout_s=60),
        )
        key = SimpleNamespace(may_use=lambda name: name not in self.forbidden)
        inbound = SimpleNamespace(record=self.record, key=key)
        model = self.models["a"]
        asyncio.run(serve_or_fall_back(cast("Services", services), cast("Inbound", inbound), model, self._serve, fits))

    async def _serve(self, model: ServedModel) -> None:
        self.asked.append(model.name)
        self.record.sent_at = 1.0
        self.record.refused = not self.sent
        outcome = self.outcomes.get(model.name)
        if outcome is not None:
            raise outcome
        self.record.begun = True


def test_the_first_that_can_answers() -> None:
    """The record tells who it was, and for whom."""
    world = World(a=BUSY, b=BROKEN)
    world.serve_all()
    assert world.asked == ["a", "b", "c"]
    assert (world.record.model, world.record.fallback_from) == ("c", "a")


@pytest.mark.parametrize("error", [InvalidRequest("wrong"), RateLimited("limit")])
def test_other_errors_are_the_clients(error: GatewayError) -> None:
    """A 4xx asks nobody else."""
    world = World(a=error)
    with pytest.raises(type(error)):
        world.serve_all()
    assert world.asked == ["a"]


@pytest.mark.parametrize("error", [InvalidRequest("too long"), RateLimited("limit"), WorkerTimeout("late")])
def test_a_stand_in_that_refuses_is_passed_over(error: GatewayError) -> None:
    """Whatever it says is not the client's: it asked for another model."""
    world = World(a=BUSY, b=error)
    world.serve_all()
    assert world.record.model == "c"


def test_when_none_can_the_error_is_the_first_ones() -> None:
    """The record is the first one's, too."""
    world = World(a=BUSY, b=BROKEN, c=BROKEN)
    with pytest.raises(NoWorkerAvailable) as caught:
        world.serve_all()
    assert caught.value is BUSY
    assert (world.record.model, world.record.fallback_from) == ("a", None)


def test_who_may_not_or_cannot_stand_in_is_not_asked() -> None:
    """Forbidden to the key, or of no use to the endpoint."""
    world = World(a=BUSY)
    world.forbidden = {"b"}
    with pytest.raises(NoWorkerAvailable):
        world.serve_all(lambda model: model.name != "c")
    assert world.asked == ["a"]


def test_what_has_begun_stays_with_who_began() -> None:
    """The first's answer that breaks, and a stand-in's."""

    class Broken(World):
        async def _serve(self, model: ServedModel) -> None:
            self.asked.append(model.name)
            self.record.begun = model.name == self.outcomes_from
            raise BROKEN

        outcomes_from = "a"

    for name, asked in (("a", ["a"]), ("b", ["a", "b"])):
        world = Broken()
        world.outcomes_from = name
        with pytest.raises(WorkerError):
            world.serve_all()
        assert world.asked == asked


def test_no_time_left_asks_nobody() -> None:
    """The deadline is the request's, not each model's."""
    world = World(a=BUSY)
    world.now_s = 60.0
    with pytest.raises(NoWorkerAvailable):
        world.serve_all()
    assert world.asked == ["a"]


def test_work_that_was_begun_is_done_again_within_the_budget() -> None:
    """An outage can't double the load: when the model's retry budget is used up, its error comes at once."""
    world = World(a=BROKEN)
    world.sent = True
    world.serve_all()
    assert world.record.model == "b"
    budget = world.models["a"].budget
    while budget.take(0.0):
        pass
    again = World(a=BROKEN)
    again.sent, again.models = True, world.models
    with pytest.raises(WorkerError):
        again.serve_all()
    assert again.asked == ["a"]
    free = World(a=BUSY)
    free.models = world.models
    free.serve_all()
    assert free.record.model == "b"


def test_what_one_model_was_asked_is_not_charged_to_the_next() -> None:
    """The record begins anew for each: usage, frames, whether a worker was asked, and where limits stand."""
    world = World(a=BUSY)
    seen: list[Any] = []
    serve = world._serve

    async def note(model: ServedModel) -> None:
        record = world.record
        seen.append((record.sent_at, record.usage, record.frames, record.limit_lines, record.refused))
        record.usage, record.frames, record.limit_lines = Usage(1, 1), 3, b"x: 1\r\n"
        await serve(model)

    world._serve = note  # type: ignore[method-assign]  # the same with a look at the record
    world.serve_all()
    assert seen == [(None, None, 0, b"", False)] * 2
