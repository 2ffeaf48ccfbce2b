"""Fleets without workers behind them, for tests of the choice among them."""

from collections.abc import Sequence
from typing import Any

from gateway.routing.catalog import VARIANTS
from gateway.routing.fleet import Fleet, ServedModel
from gateway.routing.worker import Worker
from gateway.values import ModelName, WorkerFacts, WorkerId

FACTS = WorkerFacts(32_768, (1, 106))


def make_workers(count: int, *, weights: Sequence[float] = (), up: bool = True) -> tuple[Worker, ...]:
    """Workers w0, w1, … of weight 1 unless told."""
    workers = tuple(
        Worker(WorkerId(f"w{n}"), f"http://w{n}", None, weight=weights[n] if weights else 1.0) for n in range(count)
    )
    for worker in workers if up else ():
        worker.mark_up(FACTS)
    return workers


def make_model(workers: Sequence[Worker], *, name: str = "google/gemma-3-270m-it", **fields: Any) -> ServedModel:
    """A model whose variant is the name's."""
    variant = VARIANTS[name.rpartition("/")[2]]
    given: dict[str, Any] = {
        "variant": variant,
        "served_name": name,
        "dialect": variant.dialect,
        "aliases": (),
        "balance": "least-load",
        "created": 0,
        "context_length": variant.context_tokens,
    }
    return ServedModel(name=ModelName(name), workers=tuple(workers), **{**given, **fields})


def make_fleet(*models: ServedModel) -> Fleet:
    return Fleet(models)
