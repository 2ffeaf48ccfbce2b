"""Estimates of tokens before they are counted."""

from gateway.ratelimit.estimates import OutputEstimates, asked_output_tokens, estimate_prompt_tokens
from gateway.values import ModelName

MODEL = ModelName("gemma")


def test_takes_three_bytes_for_a_token_and_rounds_up() -> None:
    """An estimate is never below what the bytes give."""
    assert estimate_prompt_tokens(0) == 0
    assert estimate_prompt_tokens(10) == 4
    assert estimate_prompt_tokens(9, media_tokens=256) == 259


def test_takes_the_smaller_of_both_maxima() -> None:
    """The old and the new name of the field: sending both doesn't go round the smaller."""
    assert asked_output_tokens(None, None) is None
    assert asked_output_tokens(100, None) == 100
    assert asked_output_tokens(100, 7) == 7


def test_assumes_1024_before_anything_is_known() -> None:
    """A handful of answers don't move the estimate."""
    estimates = OutputEstimates()
    for _ in range(19):
        estimates.learn(MODEL, 5)
    assert estimates.estimate(MODEL) == 1024


def test_learns_what_nine_of_ten_answers_need() -> None:
    """Most answers stay under the estimate, and a single long one doesn't set it."""
    estimates = OutputEstimates()
    for size in [*range(1, 100), 8000]:
        estimates.learn(MODEL, size)
    assert 89 <= estimates.estimate(MODEL) <= 92
    assert estimates.estimate(ModelName("another")) == 1024


def test_follows_answers_that_become_longer() -> None:
    """Old answers are forgotten."""
    estimates = OutputEstimates()
    for size in (10,) * 200 + (500,) * 200:
        estimates.learn(MODEL, size)
    assert estimates.estimate(MODEL) == 500


def test_never_estimates_nothing() -> None:
    """A model whose answers were empty so far still gets a token."""
    estimates = OutputEstimates()
    for _ in range(20):
        estimates.learn(MODEL, 0)
    assert estimates.estimate(MODEL) == 1
