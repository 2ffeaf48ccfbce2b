"""The models of the configuration and the workers behind them, which may come and go while requests are served.

Only the event loop's thread changes a fleet. A worker that joins or leaves makes a new set of workers for its model,
swapped in by one assignment: whoever is choosing sees the old set or the new one.
"""

import random
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from gateway.config.model import Balance, MediaSettings, ModelSettings, QueueSettings
from gateway.routing.retry_budget import RetryBudget
from gateway.routing.waiting_room import WaitingRoom
from gateway.routing.worker import Worker
from gateway.routing.worker_set import WorkerSet
from gateway.values import DialectName, ModelName, Variant, WorkerId


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
    """Changed by `Fleet.add` and `Fleet.remove` only; an adapter has its base's."""
    created: int
    """Unix seconds, for `/v1/models`."""
    context_length: int
    """Tokens, as configured; an engine may allow fewer."""
    queue: QueueSettings | None = None
    canary_s: float | None = None
    media: MediaSettings = field(default_factory=MediaSettings)
    base: "ServedModel | None" = None
    """Of a LoRA adapter: the model whose workers have it."""
    adapters: list["ServedModel"] = field(default_factory=list["ServedModel"], repr=False)
    room: WaitingRoom | None = field(init=False, repr=False)
    budget: RetryBudget = field(init=False, repr=False)
    choice: WorkerSet = field(init=False, repr=False)
    """Of the workers there are now; shared with the adapters."""

    def __post_init__(self) -> None:
        if self.base is not None:
            self.room, self.budget = self.base.room, self.base.budget
            self.workers, self.choice = self.base.workers, self.base.choice
            self.base.adapters.append(self)
            return
        self.room = WaitingRoom(self.queue, time.monotonic) if self.queue is not None else None
        self.budget = RetryBudget()
        self.use(self.workers)

    @property
    def context_tokens(self) -> int:
        """The longest context that every worker that is up can hold."""
        known = [w.facts.max_context_tokens for w in self.workers if w.facts and w.facts.max_context_tokens]
        return min([self.context_length, *known])

    @property
    def queue_length(self) -> int | None:
        """Requests that wait for a place; None without `queue`."""
        return None if self.room is None else len(self.room)

    @property
    def full(self) -> bool:
        """Whether its workers are usable, but have all they may have: then a place can be waited for in `room`.

        Never for an adapter that a worker lacks: the next place may be that worker's.
        """
        return self.choice.full and all(map(self.has_adapter, self.workers))

    def may_retry(self, tried: Collection[Worker], now: float) -> bool:
        """Take one retry out of the model's budget; False when there is none, or no worker that wasn't tried.

        `now`: monotonic seconds.
        """
        if all(worker in tried for worker in self.workers):
            return False
        return self.budget.take(now, sum(worker.in_flight for worker in self.workers))

    def use(self, workers: tuple[Worker, ...]) -> None:
        """Choose among these workers from now on."""
        limit = self.queue.max_in_flight if self.queue is not None else None
        chosen_from = WorkerSet(workers, self.balance, limit, self.room)
        for model in (self, *self.adapters):
            model.choice = chosen_from
            model.workers = workers
        chosen_from.welcome()

    def pick(self, tried: Collection[Worker], rng: random.Random, key: int | None = None) -> Worker | None:
        """Choose a worker that isn't in `tried`; None when none is left, or none has a place.

        `key`: of the conversation, for `balance: prefix`.
        """
        if self.base is not None:
            without = [worker for worker in self.workers if not self.has_adapter(worker)]
            if without:
                return self.choice.pick((*tried, *without), rng)
        return self.choice.pick(tried, rng, key)

    def has_adapter(self, worker: Worker) -> bool:
        """Whether the worker can serve this model: it has the adapter, if this is one."""
        return self.base is None or (worker.facts is not None and self.served_name in worker.facts.adapters)


class FleetListener(Protocol):
    """Is told which workers there are: first of those that are there already, then of each change."""

    def joined(self, model: ServedModel, worker: Worker) -> None:
        """Note a worker, before the first request may go there."""
        ...

    def left(self, model: ServedModel, worker: Worker) -> None:
        """Note that no request will go there any more; those under way may go on."""
        ...


class Fleet:
    """All models, found by name or alias."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self.models: tuple[ServedModel, ...] = tuple(models)
        by_name: dict[str, ServedModel] = {alias: model for model in self.models for alias in model.aliases}
        by_name.update({model.name: model for model in self.models})
        self._by_name: Mapping[str, ServedModel] = by_name
        self._listeners: list[FleetListener] = []

    def find(self, name: str) -> ServedModel | None:
        """Return the model of this name or alias."""
        return self._by_name.get(name)

    def workers(self) -> Iterable[tuple[ServedModel, Worker]]:
        """Yield every worker with its model; those of an adapter are its base's."""
        return ((model, worker) for model in self.bases for worker in model.workers)

    @property
    def bases(self) -> Iterable[ServedModel]:
        """The models that have workers of their own: all but adapters."""
        return (model for model in self.models if model.base is None)

    def find_workers(self, worker_id: str) -> list[tuple[ServedModel, Worker]]:
        """Return the workers of this id: one engine may serve several models."""
        return [(model, worker) for model, worker in self.workers() if worker.id == worker_id]

    def add(self, model: ServedModel, worker: Worker) -> bool:
        """Let a worker join a model; False, changing nothing, when the model has one of its id."""
        if any(known.id == worker.id for known in model.workers):
            return False
        for listener in self._listeners:
            listener.joined(model, worker)
        model.use((*model.workers, worker))
        return True

    def remove(self, model: ServedModel, worker: Worker) -> bool:
        """Let a worker leave; its requests go on to their end. False when it isn't one of the model's."""
        if worker not in model.workers:
            return False
        model.use(tuple(known for known in model.workers if known is not worker))
        worker.attach(None, 0)
        for listener in self._listeners:
            listener.left(model, worker)
        return True

    def subscribe(self, listener: FleetListener) -> None:
        """Tell `listener` of every worker there is, then of those that join and leave."""
        self._listeners.append(listener)
        for model, worker in self.workers():
            listener.joined(model, worker)

    def unsubscribe(self, listener: FleetListener) -> None:
        """Tell `listener` no more."""
        self._listeners.remove(listener)

    def problems(self) -> dict[str, str]:
        """Return, per model without a usable worker, why; empty when every model can be served, but for adapters."""
        return _problems(self.bases)

    def adapter_problems(self) -> dict[str, str]:
        """Return, per adapter that no usable worker has, why: it may be loaded, or was unloaded, at run time."""
        return _problems(model for model in self.models if model.base is not None)


def _problems(models: Iterable[ServedModel]) -> dict[str, str]:
    return {
        model.name: "; ".join(f"{w.id}: {_trouble(model, w)}" for w in model.workers) or "it has no workers"
        for model in models
        if not any(_serves(model, worker) for worker in model.workers)
    }


def _serves(model: ServedModel, worker: Worker) -> bool:
    return worker.state == "up" and not (worker.draining or worker.hangs) and model.has_adapter(worker)


def _trouble(model: ServedModel, worker: Worker) -> str:
    if worker.draining:
        return "draining"
    if worker.state != "up":
        return worker.problem or worker.state
    return "its engine hangs" if worker.hangs else f"it has not loaded {model.served_name}"


def worker_id(url: str) -> WorkerId:
    """Return the id of the worker at a URL: its `host:port`."""
    return WorkerId(urlsplit(url).netloc)


def build_fleet(models: Iterable[ModelSettings], *, created: int) -> Fleet:
    """Build the fleet of a configuration; nothing is contacted yet. Adapters come behind their bases."""
    built: dict[str, ServedModel] = {}
    for model in models:
        built[model.name] = ServedModel(
            name=model.name,
            variant=model.variant,
            served_name=model.served_name,
            dialect=model.dialect,
            aliases=model.aliases,
            balance=model.balance,
            workers=tuple(Worker(worker_id(w.url), w.url, w.api_key, float(w.weight)) for w in model.workers),
            created=created,
            context_length=model.context_length,
            queue=model.queue,
            canary_s=model.canary_s,
            media=model.media,
            base=built[model.adapter_of] if model.adapter_of is not None else None,
        )
    return Fleet(built.values())
