"""The retry budget: single failures are always retried, an outage isn't multiplied."""

from gateway.routing.retry_budget import CAPACITY, PER_REQUEST, PER_S, RetryBudget


def test_an_outage_adds_a_fifth_and_a_little() -> None:
    """When each of ten thousand requests fails at once, the workers see not much more than ten thousand."""
    budget = RetryBudget()
    retried = 0
    for _ in range(10_000):
        budget.request()
        retried += budget.take(1.0)
    assert retried <= CAPACITY + PER_REQUEST * 10_000
    assert budget.refused == 10_000 - retried


def test_time_fills_it_again() -> None:
    """A second gives ten retries, and no silence gives more than the capacity."""
    budget = RetryBudget()
    while budget.take(0.0):
        pass
    assert sum(budget.take(1.0) for _ in range(50)) == PER_S
    assert sum(budget.take(10_000.0) for _ in range(500)) == CAPACITY


def test_all_that_a_dead_worker_had_is_retried() -> None:
    """A thousand requests that lose their worker at once are more than the usual capacity; each is asked again."""
    budget = RetryBudget()
    assert all(budget.take(1.0, in_flight=5_000 - n) for n in range(1_000))
    assert budget.taken == 1_000


def test_a_clock_that_goes_back_takes_nothing() -> None:
    """Time is never negative."""
    budget = RetryBudget()
    assert budget.take(100.0)
    assert budget.take(50.0)
