"""The choice among a model's workers."""

import random
from collections import Counter

import pytest

from gateway.config.model import Balance
from gateway.routing.hash_ring import ring_key
from gateway.routing.worker import EngineLoad, Worker
from gateway.routing.worker_set import ALWAYS_ROOM, WorkerSet
from tests.support.fleets import FACTS, make_workers


def spread(workers: tuple[Worker, ...], balance: Balance, count: int, *, held: bool = True) -> Counter[str]:
    """How many of so many requests each worker gets, none of which ends when `held`."""
    chosen: Counter[str] = Counter()
    workers_set, rng = WorkerSet(workers, balance), random.Random(7)
    for _ in range(count):
        worker = workers_set.pick((), rng)
        assert worker is not None
        chosen[worker.id] += 1
        if held:
            worker.take()
    return chosen


def test_the_least_loaded_one_is_chosen() -> None:
    """Requests that don't end are spread evenly."""
    assert set(spread(make_workers(7), "least-load", 70).values()) == {10}


def test_load_is_seen_for_a_workers_weight() -> None:
    """A worker of weight 3 has three times the requests in flight."""
    chosen = spread(make_workers(2, weights=(1, 3)), "least-load", 400)
    assert chosen == {"w0": 100, "w1": 300}


def test_ties_are_broken_at_random() -> None:
    """Several gateways with the same view don't all choose the same worker."""
    chosen = spread(make_workers(10), "least-load", 5_000, held=False)
    assert len(chosen) == 10
    assert min(chosen.values()) > 400


def test_turns_follow_weights() -> None:
    """Round-robin gives each its share, whatever is in flight."""
    chosen = spread(make_workers(3, weights=(1, 1, 2)), "round-robin", 4_000)
    assert chosen["w2"] == pytest.approx(2_000, abs=5)
    assert chosen["w0"] == pytest.approx(1_000, abs=5)


def test_the_turn_of_a_worker_that_is_down_goes_to_all_others() -> None:
    """Its neighbour doesn't get its share on top."""
    workers = make_workers(4)
    workers[1].mark_down("gone")
    chosen = spread(workers, "round-robin", 3_000)
    assert "w1" not in chosen
    assert all(count == pytest.approx(1_000, abs=5) for count in chosen.values())


@pytest.mark.parametrize("balance", ["least-load", "round-robin"])
def test_states_change_the_choice_at_once(balance: Balance) -> None:
    """What goes down is avoided, what comes up is used, and only an up or unknown worker is."""
    workers = make_workers(3, up=False)
    workers_set, rng = WorkerSet(workers, balance), random.Random(3)
    workers[0].mark_down("refused")
    workers[1].mark_misconfigured("another model")
    assert {workers_set.pick((), rng) for _ in range(20)} == {workers[2]}
    workers[0].mark_up(FACTS)
    assert {workers_set.pick((), rng) for _ in range(20)} == {workers[0], workers[2]}


def test_a_retry_goes_to_another() -> None:
    """Whoever was tried isn't asked again, even when nobody else is up."""
    workers = make_workers(3)
    workers_set, rng = WorkerSet(workers, "least-load"), random.Random(3)
    assert workers_set.pick(workers[:2], rng) is workers[2]
    assert workers_set.pick(workers, rng) is None
    workers[2].mark_down("refused")
    assert workers_set.pick(workers[:2], rng) is workers[2]


@pytest.mark.parametrize("count", [1, 2])
def test_the_last_worker_is_never_given_up(count: int) -> None:
    """One that is down is asked when no other is left; one that serves something else never."""
    workers = make_workers(count)
    workers_set, rng = WorkerSet(workers, "least-load"), random.Random(3)
    for worker in workers:
        worker.mark_down("refused")
    assert workers_set.pick((), rng) in workers
    for worker in workers:
        worker.mark_misconfigured("another model")
    assert workers_set.pick((), rng) is None


def test_what_has_ended_makes_room() -> None:
    """A worker whose requests have ended is the least loaded again."""
    workers = make_workers(2)
    workers_set, rng = WorkerSet(workers, "least-load"), random.Random(3)
    for _ in range(5):
        workers[0].take()
    assert {workers_set.pick((), rng) for _ in range(10)} == {workers[1]}
    for _ in range(5):
        workers[0].release()
    workers[1].take()
    assert {workers_set.pick((), rng) for _ in range(10)} == {workers[0]}


def load(running: float, waiting: float, kv_use: float = 0.0) -> EngineLoad:
    return EngineLoad(running, waiting, kv_use, 0)


def test_what_others_have_there_counts() -> None:
    """Requests that an engine has from elsewhere are load, those from here are counted once."""
    workers = make_workers(2)
    workers_set, rng = WorkerSet(workers, "least-load"), random.Random(3)
    for _ in range(3):
        workers[0].take()
    workers[0].see_engine(load(3, 0))
    workers[1].see_engine(load(5, 0))
    assert {workers_set.pick((), rng) for _ in range(10)} == {workers[0]}
    for _ in range(3):
        workers[0].take()
    assert {workers_set.pick((), rng) for _ in range(10)} == {workers[1]}


def test_waiting_and_a_full_cache_count_more() -> None:
    """An engine with a queue, or without room for conversations, is passed over for one that only runs."""
    workers = make_workers(3)
    workers_set, rng = WorkerSet(workers, "least-load"), random.Random(3)
    workers[0].see_engine(load(4, 4))
    workers[1].see_engine(load(8, 0, 0.95))
    workers[2].see_engine(load(9, 0))
    assert {workers_set.pick((), rng) for _ in range(10)} == {workers[2]}


def test_one_silent_engine_makes_all_numbers_local() -> None:
    """Numbers are compared with their like: without those of one engine only requests from here count."""
    workers = make_workers(2)
    workers_set, rng = WorkerSet(workers, "least-load"), random.Random(3)
    workers[0].see_engine(load(50, 50))
    workers[1].take()
    assert {workers_set.pick((), rng) for _ in range(10)} == {workers[0]}
    workers[1].see_engine(load(1, 0))
    assert {workers_set.pick((), rng) for _ in range(10)} == {workers[1]}
    workers[1].see_engine(None)
    assert {workers_set.pick((), rng) for _ in range(10)} == {workers[0]}


def test_other_gateways_requests_count() -> None:
    """What they share of their own counts is load too."""
    workers = make_workers(2)
    workers_set, rng = WorkerSet(workers, "least-load"), random.Random(3)
    assert workers[0].hear_shared(4)
    assert not workers[0].hear_shared(4)
    workers_set.changed()
    for _ in range(4):
        worker = workers_set.pick((), rng)
        assert worker is workers[1]
        worker.take()


def test_a_conversation_stays_where_it_was() -> None:
    """With `prefix` a key's worker is the same until it has more than its share; then it is the next one's."""
    workers = make_workers(4)
    workers_set, rng = WorkerSet(workers, "prefix"), random.Random(3)
    key = ring_key("conversation")
    home = workers_set.pick((), rng, key)
    assert home is not None
    assert {workers_set.pick((), rng, key) for _ in range(20)} == {home}
    for _ in range(ALWAYS_ROOM):
        home.take()
    second = workers_set.pick((), rng, key)
    assert second not in (home, None)
    assert {workers_set.pick((), rng, key) for _ in range(20)} == {second}
    home.release()
    assert workers_set.pick((), rng, key) is home


def test_no_conversation_overloads_a_worker() -> None:
    """However many requests share a key, no worker has more than 1.25 times the mean."""
    workers = make_workers(8)
    workers_set, rng = WorkerSet(workers, "prefix"), random.Random(3)
    for _ in range(800):
        worker = workers_set.pick((), rng, 42)
        assert worker is not None
        worker.take()
    assert max(worker.in_flight for worker in workers) <= 126


def test_what_a_worker_cannot_serve_its_neighbour_does() -> None:
    """A key of a worker that is down goes on along the ring, and comes back."""
    workers = make_workers(3)
    workers_set, rng = WorkerSet(workers, "prefix"), random.Random(3)
    home = workers_set.pick((), rng, 42)
    assert home is not None
    home.mark_down("gone")
    assert workers_set.pick((), rng, 42) not in (home, None)
    home.mark_up(FACTS)
    assert workers_set.pick((), rng, 42) is home


@pytest.mark.parametrize("balance", ["least-load", "round-robin", "prefix"])
def test_nobody_gets_more_than_the_limit(balance: Balance) -> None:
    """With a limit every place is used and none twice; without one free, none is chosen."""
    workers = make_workers(3, weights=(1, 2, 1))
    workers_set, rng = WorkerSet(workers, balance, 5), random.Random(3)
    for _ in range(20):
        worker = workers_set.pick((), rng, 42)
        assert worker is not None
        worker.take()
    assert workers_set.pick((), rng, 42) is None
    assert workers_set.full
    assert [worker.in_flight for worker in workers] == [5, 10, 5]
    workers[1].release()
    assert workers_set.pick((), rng, 42) is workers[1]


def test_an_open_breaker_is_avoided_and_tried_again() -> None:
    """Half open a worker gets one request; its success brings the others back."""
    workers = make_workers(2)
    workers_set, rng = WorkerSet(workers, "least-load"), random.Random(3)
    for _ in range(5):
        workers[0].failed(0.0, 1.0)
    assert {workers_set.pick((), rng) for _ in range(10)} == {workers[1]}
    workers[1].take()
    workers[0].tick(5.0)
    assert workers_set.pick((), rng) is workers[0]
    workers[0].take()
    workers[1].take()
    assert workers_set.pick((), rng) is workers[1]
    workers[0].succeeded()
    assert workers_set.pick((), rng) is workers[0]


def test_a_full_worker_rests() -> None:
    """Who says it is full gets nothing for a second, then its share again; half of the workers never rest."""
    workers = make_workers(4)
    workers_set, rng = WorkerSet(workers, "least-load"), random.Random(3)
    for worker in workers:
        worker.rest(10.0)
    assert [worker.resting for worker in workers] == [True, True, False, False]
    assert {workers_set.pick((), rng) for _ in range(40)} == {workers[2], workers[3]}
    for worker in workers:
        worker.tick(10.5)
    assert workers[0].resting
    for worker in workers:
        worker.tick(11.1)
    assert {workers_set.pick((), rng) for _ in range(40)} == set(workers)


def test_a_lone_worker_never_rests() -> None:
    """There is nobody else to ask."""
    (worker,) = make_workers(1)
    workers_set = WorkerSet((worker,), "least-load")
    worker.rest(1.0)
    assert workers_set.pick((), random.Random(1)) is worker
    assert worker.usable
