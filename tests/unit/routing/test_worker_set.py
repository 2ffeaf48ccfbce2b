"""The choice among a model's workers."""

import random
from collections import Counter

import pytest

from gateway.config.model import Balance
from gateway.routing.worker import Worker
from gateway.routing.worker_set import WorkerSet
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
