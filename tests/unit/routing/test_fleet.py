"""Workers come and go while the fleet is used."""

import random

from gateway.config.model import QueueSettings
from gateway.routing.fleet import ServedModel, build_fleet, worker_id
from gateway.routing.worker import Worker
from gateway.values import WorkerId
from tests.support.fleets import FACTS, make_fleet, make_model, make_workers


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def joined(self, model: ServedModel, worker: Worker) -> None:
        self.told.append(("joined" if worker in model.workers else "joins", worker.id))

    def left(self, model: ServedModel, worker: Worker) -> None:
        self.told.append(("left", worker.id))
        assert worker not in model.workers


def test_listeners_hear_of_those_there_and_of_each_change() -> None:
    """Whoever subscribes learns of the workers there are, then of those that join, before they can be chosen."""
    model = make_model(make_workers(2))
    fleet, listener = make_fleet(model), Listener()
    fleet.subscribe(listener)
    late = Worker(WorkerId("late"), "http://late", None)
    assert fleet.add(model, late)
    assert fleet.remove(model, model.workers[0])
    fleet.unsubscribe(listener)
    assert fleet.remove(model, late)
    assert listener.told == [("joined", "w0"), ("joined", "w1"), ("joins", "late"), ("left", "w0")]
    assert [worker.id for _, worker in fleet.workers()] == ["w1"]


def test_a_worker_joins_once_and_leaves_once() -> None:
    """A second worker of the same id changes nothing, as does the end of one that isn't there."""
    model = make_model(make_workers(1))
    fleet = make_fleet(model)
    assert not fleet.add(model, Worker(WorkerId("w0"), "http://w0", None))
    stranger = Worker(WorkerId("w1"), "http://w1", None)
    assert not fleet.remove(model, stranger)
    assert len(model.workers) == 1


def test_a_worker_that_left_is_never_chosen_and_keeps_its_requests() -> None:
    """What is in flight at a worker that leaves ends by its own, and counts for nobody else."""
    model = make_model(make_workers(3))
    fleet, rng = make_fleet(model), random.Random(1)
    leaving = model.workers[1]
    leaving.take()
    fleet.remove(model, leaving)
    for _ in range(20):
        chosen = model.pick((), rng)
        assert chosen is not None
        assert chosen is not leaving
        chosen.take()
    leaving.release()
    assert leaving.in_flight == 0
    assert sum(worker.in_flight for worker in model.workers) == 20


def test_a_draining_worker_gets_nothing_new_until_it_is_used_again() -> None:
    """Draining goes before everything: even as the last one a draining worker is not asked."""
    first, second = make_workers(2)
    model = make_model((first, second))
    fleet, rng = make_fleet(model), random.Random(1)
    first.drain()
    assert {model.pick((), rng) for _ in range(10)} == {second}
    second.drain()
    assert model.pick((), rng) is None
    assert fleet.problems() == {model.name: "w0: draining; w1: draining"}
    first.drain(on=False)
    assert model.pick((), rng) is first
    assert not fleet.problems()


def test_a_model_may_lose_all_workers_and_get_others() -> None:
    """Without workers nothing is chosen and the model isn't ready; one that joins serves."""
    (only,) = make_workers(1)
    model = make_model((only,))
    fleet, rng = make_fleet(model), random.Random(1)
    fleet.remove(model, only)
    assert model.pick((), rng) is None
    assert fleet.problems() == {model.name: "it has no workers"}
    (other,) = make_workers(1)
    fleet.add(model, other)
    assert model.pick((), rng) is other


def test_workers_are_found_by_their_id_in_every_model() -> None:
    """One engine serves a base model and its adapters: draining it concerns all of them."""
    base = make_model(make_workers(2))
    adapter = make_model(make_workers(1), name="google/gemma-3-1b-it")
    fleet = make_fleet(base, adapter)
    assert fleet.find_workers("w0") == [(base, base.workers[0]), (adapter, adapter.workers[0])]
    assert fleet.find_workers("w9") == []


def test_the_id_is_the_host_and_port() -> None:
    """What headers and metrics show holds no scheme and no path."""
    assert worker_id("http://10.0.0.1:8000") == "10.0.0.1:8000"
    assert worker_id("https://[::1]:8000") == "[::1]:8000"


def test_a_fleet_without_models() -> None:
    """Nothing to serve is nothing to find."""
    fleet = build_fleet([], created=0)
    assert fleet.find("x") is None
    assert not fleet.problems()


def test_the_context_is_the_smallest_of_those_known() -> None:
    """A worker started with less context lowers the model's."""
    workers = make_workers(2, up=False)
    model = make_model(workers)
    assert model.context_tokens == model.context_length
    workers[0].mark_up(FACTS)
    workers[1].mark_up(type(FACTS)(4_096, ()))
    assert model.context_tokens == 4_096


def test_a_worker_that_joins_shows_first_what_it_is() -> None:
    """One that the file doesn't list gets nothing before a probe has found that it serves the model."""
    (listed,) = make_workers(1)
    model = make_model((listed,))
    fleet, rng = make_fleet(model), random.Random(1)
    added = Worker(WorkerId("late"), "http://late", None, source="admin")
    fleet.add(model, added)
    assert {model.pick((), rng) for _ in range(20)} == {listed}
    added.mark_misconfigured("it serves another model")
    assert {model.pick((), rng) for _ in range(20)} == {listed}
    added.mark_up(FACTS)
    assert {model.pick((), rng) for _ in range(40)} == {listed, added}


def test_nobody_waits_for_a_place_at_a_worker_without_the_adapter() -> None:
    """The next place that gets free may be at that one: the request is refused, or retried, but not queued."""
    (worker,) = make_workers(1)
    base = make_model([worker], queue=QueueSettings(max_in_flight=1))
    adapter = make_model([], served_name="support", base=base)
    worker.take()
    assert base.full
    assert not adapter.full
    worker.note_adapters({"support": "/a"})
    assert adapter.full


def test_an_adapter_that_nobody_has_is_no_models_problem() -> None:
    """It is told of by itself: it may be loaded later."""
    base = make_model(make_workers(1))
    adapter = make_model([], name="google/gemma-3-1b-it", served_name="support", base=base)
    fleet = make_fleet(base, adapter)
    assert fleet.problems() == {}
    assert fleet.adapter_problems() == {adapter.name: "w0: it has not loaded support"}
    base.workers[0].note_adapters({"support": "/a"})
    assert fleet.adapter_problems() == {}
