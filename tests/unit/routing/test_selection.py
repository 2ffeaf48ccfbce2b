"""Which model serves a request that leaves it open."""

from typing import get_args

import pytest

from gateway.routing.fleet import ServedModel
from gateway.routing.selection import AUTO_NAMES, AutoName, Needs, can_serve, choose_model
from gateway.values import Modality, WorkerFacts
from tests.support.fleets import make_model, make_workers


def model(name: str, **fields: object) -> ServedModel:
    """One with a worker that is up."""
    (worker,) = make_workers(1)
    worker.mark_up(WorkerFacts(None, ()))
    return make_model([worker], name=f"google/{name}", **fields)


FLEET = [
    model(name)
    for name in (
        "gemma-3-27b-it",
        "medgemma-4b-it",
        "gemma-3-1b-it",
        "functiongemma-270m-it",
        "gemma-3-4b-it",
        "gemma-3n-E2B-it",
        "embeddinggemma-300m",
    )
]
TEXT: frozenset[Modality] = frozenset({"text"})


def chosen(wish: AutoName, modalities: frozenset[Modality] = TEXT, *, tools: bool = False, tokens: int = 0) -> str:
    """The short name of the choice, or nothing."""
    found = choose_model(FLEET, Needs("chat", modalities, tools, tokens), wish)
    return "" if found is None else found.variant.name


def test_the_names_are_those_of_the_type() -> None:
    """What the type checker knows is what requests are looked at for."""
    assert frozenset(get_args(AutoName)) == AUTO_NAMES


@pytest.mark.parametrize(
    ("wish", "expected"),
    [("auto", "gemma-3-4b-it"), ("auto-small", "gemma-3-1b-it"), ("auto-large", "gemma-3-27b-it")],
)
def test_text_goes_by_size(wish: AutoName, expected: str) -> None:
    """General use begins with 4B; a special purpose is never guessed."""
    assert chosen(wish) == expected


def test_what_a_request_brings_decides_first() -> None:
    """Images exclude the smallest, sound all but one, a long prompt those with a short context."""
    assert chosen("auto-small", frozenset({"text", "image"})) in ("gemma-3-4b-it", "gemma-3n-E2B-it")
    assert chosen("auto-large", frozenset({"text", "audio"})) == "gemma-3n-E2B-it"
    assert chosen("auto-small", tokens=60_000) == "gemma-3-4b-it"
    assert chosen("auto", frozenset({"video"})) == ""
    assert chosen("auto", tokens=10_000_000) == ""
    assert chosen("auto", tools=True) == "gemma-3-4b-it"


def test_a_model_without_a_worker_comes_last() -> None:
    """A larger one that can answer now is better than the right one that can't; the right one is better than none."""
    small, large = model("gemma-3-4b-it"), model("gemma-3-27b-it")
    small.workers[0].mark_down("gone")
    assert choose_model([small, large], Needs("chat"), "auto") is large
    assert choose_model([small], Needs("chat"), "auto") is small


def test_only_small_ones_are_chosen_from_when_there_are_no_others() -> None:
    """The largest of them comes nearest to what the guide recommends."""
    models = [model("gemma-3-270m-it"), model("gemma-3-1b-it")]
    found = choose_model(models, Needs("chat"), "auto")
    assert found is models[1]


def test_an_adapter_is_never_guessed() -> None:
    """Whoever wants it names it."""
    base = model("gemma-3-4b-it")
    adapter = model("gemma-3-4b-it", base=base)
    assert choose_model([adapter], Needs("chat"), "auto") is None


def test_a_task_of_another_kind_is_not_served() -> None:
    """An embedding model doesn't chat."""
    assert not can_serve(FLEET[-1], Needs("chat"))
    assert can_serve(FLEET[-1], Needs("embedding"))
