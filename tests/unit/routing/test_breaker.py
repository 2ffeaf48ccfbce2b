"""The circuit breaker: opens for a worker's own failures, tries again soon, closes with the first success."""

from gateway.routing.breaker import FIRST_OPEN_S, MAX_OPEN_S, MIN_FAILURES, OBSERVE_S, TRIAL_S, Breaker
from tests.support.fleets import make_model, make_workers


def passes(breaker: Breaker) -> bool:
    return breaker.passes


def opened(at: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker()
    for _ in range(MIN_FAILURES):
        breaker.failed(at)
    breaker.open(at, 1.0)
    return breaker


def test_a_row_of_failures_opens_it() -> None:
    """Not the first few: a worker may be unlucky."""
    breaker = Breaker()
    assert [breaker.failed(0.0) for _ in range(MIN_FAILURES)] == [False] * (MIN_FAILURES - 1) + [True]


def test_failures_among_more_successes_do_not() -> None:
    """Below half of the outcomes the worker is worth asking."""
    breaker = Breaker()
    breaker.failed(0.0)
    for _ in range(2 * MIN_FAILURES):
        breaker.succeeded()
    assert not any(breaker.failed(1.0) for _ in range(MIN_FAILURES))
    assert any(breaker.failed(1.0) for _ in range(2 * MIN_FAILURES))


def test_old_failures_are_forgotten() -> None:
    """One failure every few seconds never adds up, and successes need not be told then."""
    breaker = Breaker()
    assert not any(breaker.failed(n * (OBSERVE_S + 1)) for n in range(50))
    troubled = [breaker.troubled]
    breaker.tick(50 * (OBSERVE_S + 1))
    assert [*troubled, breaker.troubled] == [True, False]


def test_half_open_it_lets_one_through() -> None:
    """After its time one request tries, the others go elsewhere until it is decided."""
    breaker = opened()
    assert not passes(breaker)
    assert not breaker.tick(FIRST_OPEN_S - 0.01)
    assert breaker.tick(FIRST_OPEN_S)
    assert passes(breaker)
    breaker.begin_trial()
    assert not passes(breaker)
    assert breaker.succeeded()
    assert (breaker.state, passes(breaker), breaker.troubled) == ("closed", True, False)


def test_a_trial_that_fails_opens_it_for_longer_and_never_for_long() -> None:
    """A worker that recovers is tried within a few seconds, however long it was broken."""
    breaker, now, waits = opened(), 0.0, list[float]()
    for _ in range(6):
        began = now
        while not breaker.tick(now):
            now += 0.125
        waits.append(now - began)
        breaker.begin_trial()
        assert breaker.failed(now)
        breaker.open(now, 1.0)
    assert waits == [FIRST_OPEN_S, 2 * FIRST_OPEN_S, *[MAX_OPEN_S] * 4]


def test_a_trial_without_an_outcome_makes_room_for_another() -> None:
    """The client that went away decides nothing."""
    breaker = opened()
    breaker.tick(FIRST_OPEN_S)
    breaker.begin_trial()
    assert not breaker.tick(FIRST_OPEN_S + TRIAL_S - 0.1)
    assert breaker.tick(FIRST_OPEN_S + TRIAL_S)
    assert passes(breaker)


def test_a_late_success_does_not_close_it() -> None:
    """What was asked before it opened says nothing of now."""
    breaker = opened()
    assert not breaker.succeeded()
    assert breaker.state == "open"


def test_at_most_half_of_the_workers_are_cut_off() -> None:
    """When all fail, all but half go on being asked; a lone worker always does."""
    for count, most in ((1, 0), (2, 1), (3, 1), (6, 3)):
        workers = make_workers(count)
        model = make_model(workers)
        for _ in range(MIN_FAILURES):
            for worker in workers:
                worker.failed(0.0, 1.0)
        assert sum(worker.breaker.state == "open" for worker in model.workers) == most, count
        assert sum(worker.usable for worker in workers) == count - most
