"""The models of the configuration and the workers behind them.

Mutable state of a worker (what is in flight, whether it answers, what it told when it joined) is owned here and changed
through the worker's own methods; everything else is fixed when the fleet is built.
"""

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from gateway.config.model import Balance, ModelSettings, Secret
from gateway.routing.balance import least_loaded, next_in_turn
from gateway.values import DialectName, ModelName, Variant, WorkerFacts, WorkerId

WorkerState = Literal["unknown", "up", "down", "misconfigured"]
"""unknown: not probed yet. misconfigured: it answers, but doesn't serve the model."""


@dataclass(slots=True, eq=False)
class Worker:
    """One vLLM server of one model."""

    id: WorkerId
    url: str
    api_key: Secret | None
    weight: float = 1.0
    in_flight: int = 0
    """Requests of this gateway that the worker has and that have not ended."""
    state: WorkerState = "unknown"
    problem: str = ""
    """Why it isn't up; for operators."""
    facts: WorkerFacts | None = None

    @property
    def usable(self) -> bool:
        """Whether requests may go there: not before it is known to be down, never when it serves another model."""
        return self.state in ("up", "unknown")

    def mark_up(self, facts: WorkerFacts) -> None:
        """It answers and serves the model."""
        self.state, self.problem, self.facts = "up", "", facts

    def mark_down(self, problem: str) -> None:
        """It does not answer."""
        self.state, self.problem = "down", problem

    def mark_misconfigured(self, problem: str) -> None:
        """It answers, but requests would go wrong."""
        self.state, self.problem = "misconfigured", problem


@dataclass(slots=True, eq=False)
class ServedModel:
    """A model of the configuration with its workers."""

    name: ModelName
    variant: Variant
    served_name: str
    """The engine's name for it."""
    dialect: DialectName | None
    aliases: tuple[str, ...]
    balance: Balance
    workers: tuple[Worker, ...]
    created: int
    """Unix seconds, for `/v1/models`."""
    context_length: int
    """Tokens, as configured; an engine may allow fewer."""
    _turn: int = field(default=0, repr=False)

    @property
    def context_tokens(self) -> int:
        """The longest context that every worker that is up can hold."""
        known = [w.facts.max_context_tokens for w in self.workers if w.facts and w.facts.max_context_tokens]
        return min([self.context_length, *known])

    def pick(self, tried: Collection[Worker], rng: random.Random) -> Worker | None:
        """Choose a worker that isn't in `tried`; None when none is left.

        When no worker is known to be usable, one that is down is tried all the same: the probe may be wrong, and the
        last worker is never given up.
        """
        if len(self.workers) == 1 and not tried and self.workers[0].state == "up":
            return self.workers[0]
        candidates = [w for w in self.workers if w.usable and w not in tried]
        if not candidates:
            candidates = [w for w in self.workers if w.state == "down" and w not in tried]
        if not candidates:
            return None
        if len(candidates) == 1:
            return candidates[0]
        if self.balance == "round-robin":
            self._turn += 1
            return next_in_turn(candidates, self._turn)
        return least_loaded(candidates, rng)


class Fleet:
    """All models, found by name or alias."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self.models: tuple[ServedModel, ...] = tuple(models)
        by_name: dict[str, ServedModel] = {alias: model for model in self.models for alias in model.aliases}
        by_name.update({model.name: model for model in self.models})
        self._by_name: Mapping[str, ServedModel] = by_name

    def find(self, name: str) -> ServedModel | None:
        """Return the model of this name or alias."""
        return self._by_name.get(name)

    def workers(self) -> Iterable[tuple[ServedModel, Worker]]:
        """Yield every worker with its model."""
        return ((model, worker) for model in self.models for worker in model.workers)

    def problems(self) -> dict[str, str]:
        """Return, per model without a usable worker, why; empty when every model can be served."""
        return {
            model.name: "; ".join(f"{w.id}: {w.problem or w.state}" for w in model.workers)
            for model in self.models
            if not any(w.state == "up" for w in model.workers)
        }


def build_fleet(models: Iterable[ModelSettings], *, created: int) -> Fleet:
    """Build the fleet of a configuration; nothing is contacted yet."""
    return Fleet(
        ServedModel(
            name=model.name,
            variant=model.variant,
            served_name=model.served_name,
            dialect=model.dialect,
            aliases=model.aliases,
            balance=model.balance,
            workers=tuple(
                Worker(WorkerId(urlsplit(w.url).netloc), w.url, w.api_key, float(w.weight)) for w in model.workers
            ),
            created=created,
            context_length=model.context_length,
        )
        for model in models
    )
