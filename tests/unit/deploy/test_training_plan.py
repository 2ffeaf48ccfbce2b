"""How far a training is, and which learning rate goes with it."""

import pytest

from deploy.local.training_plan import LEAST, WARM_UP_STEPS, Pace


def test_a_training_without_limit_is_done_after_its_steps() -> None:
    """Seconds count for nothing."""
    pace = Pace(steps=200)
    assert [pace.done(steps, 9e9) for steps in (0, 50, 200)] == [0.0, 0.25, 1.0]
    assert pace.left_s(50, 100.0) == 300.0


def test_a_limit_ends_a_training_before_its_steps() -> None:
    """And steps that are used up end it before the limit."""
    pace = Pace(steps=200, limit_s=100.0)
    assert pace.done(10, 50.0) == 0.5
    assert pace.done(10, 100.0) == 1.0
    assert pace.done(200, 50.0) == 1.0


@pytest.mark.parametrize(("steps", "spent_s", "left_s"), [(10, 50.0, 50.0), (150, 50.0, 50 / 3), (10, 101.0, 0.0)])
def test_what_is_left_is_the_shorter_of_steps_and_limit(steps: int, spent_s: float, left_s: float) -> None:
    """Never less than nothing."""
    assert Pace(steps=200, limit_s=100.0).left_s(steps, spent_s) == pytest.approx(left_s)


def test_the_rate_warms_up_and_falls_to_its_least() -> None:
    """In a line from the highest, by the part that is done."""
    pace = Pace(steps=1000)
    rates = [pace.rate(step, pace.done(step - 1, 0.0)) for step in range(1, 1001)]
    assert rates[0] == pytest.approx(1 / WARM_UP_STEPS)
    assert max(rates) == rates[WARM_UP_STEPS - 1] < 1
    assert rates[WARM_UP_STEPS - 1 :] == sorted(rates[WARM_UP_STEPS - 1 :], reverse=True)
    assert pace.rate(500, 0.5) == 0.5
    assert rates[-1] == LEAST
