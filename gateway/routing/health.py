"""Finding out whether workers answer, and what they are, with probes of their own.

Each worker has one task, from the moment it joins the fleet until it leaves. A worker is up when `/health` answers and
`/v1/models` lists the model, with its context length: both are asked each time, since it may have been restarted with
other flags between two probes. The ids of the family's end-of-turn markers are asked when it comes up. Probes never
touch the path of requests: routing reads the state they leave behind.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import httpx2
import msgspec

from gateway.background import end_task
from gateway.routing.fleet import Fleet, ServedModel
from gateway.routing.worker import Worker
from gateway.values import Family, WorkerFacts

PROBE_TIMEOUT_S = 5.0
UP_INTERVAL_S = 5.0
DOWN_INTERVAL_S = 1.0
USER_AGENT = "gemma-gateway-probe"

logger = logging.getLogger("gateway.health")

Markers = Callable[[Family], Sequence[str]]
"""Markers of a family."""


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None
    parent: str | None = None
    """The base model of a LoRA adapter, which has no length of its own (vLLM 0.32)."""


class _Models(msgspec.Struct):
    data: list[_Model]


class _Tokens(msgspec.Struct):
    tokens: list[int]


class HealthMonitor:
    """Keeps the state of every worker of a fleet; a context manager that owns its tasks."""

    def __init__(self, fleet: Fleet, stop_markers: Markers, call_markers: Markers, *, rng: random.Random) -> None:
        """`stop_markers`: those that end a turn, in the order in which their ids are sent."""
        self._fleet = fleet
        self._stop_markers = stop_markers
        self._call_markers = call_markers
        self._rng = rng
        self._tasks: dict[Worker, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._http = httpx2.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False, headers={"user-agent": USER_AGENT})

    async def __aenter__(self) -> Self:
        self._fleet.subscribe(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._fleet.unsubscribe(self)
        for worker in tuple(self._tasks):
            self._end(worker)
        for task in tuple(self._ending):
            await end_task(task)
        await self._http.aclose()

    def joined(self, model: ServedModel, worker: Worker) -> None:
        """Watch a worker."""
        self._tasks[worker] = asyncio.create_task(self._watch(model, worker), name=f"health {worker.id}")

    def left(self, model: ServedModel, worker: Worker) -> None:
        """Watch a worker no more."""
        del model
        self._end(worker)

    def _end(self, worker: Worker) -> None:
        task = self._tasks.pop(worker)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        task.cancel()

    async def _watch(self, model: ServedModel, worker: Worker) -> None:
        while True:
            before = worker.state
            await self.probe(model, worker)
            if worker.state != before:
                level = logging.INFO if worker.state == "up" else logging.WARNING
                logger.log(
                    level,
                    "worker %s of %s is %s%s",
                    worker.id,
                    model.name,
                    worker.state,
                    f": {worker.problem}" if worker.problem else "",
                )
            interval_s = UP_INTERVAL_S if worker.state == "up" else DOWN_INTERVAL_S
            await asyncio.sleep(interval_s * (0.9 + 0.2 * self._rng.random()))

    async def probe(self, model: ServedModel, worker: Worker) -> None:
        """Ask the worker how it is and note the answer on it; never raises."""
        try:
            reply = await self._http.get(f"{worker.url}/health")
            if reply.status_code != 200:
                worker.mark_down(f"/health answered {reply.status_code}")
            else:
                await self._join(model, worker)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            worker.mark_down(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            worker.mark_misconfigured("it doesn't answer like vLLM")

    async def _join(self, model: ServedModel, worker: Worker) -> None:
        headers = {"authorization": f"Bearer {worker.api_key.reveal()}"} if worker.api_key else {}
        reply = await self._http.get(f"{worker.url}/v1/models", headers=headers)
        if reply.status_code in (401, 403):
            worker.mark_misconfigured("it refuses the worker's api_key")
            return
        if reply.status_code != 200:
            worker.mark_misconfigured(f"/v1/models answered {reply.status_code}")
            return
        served = msgspec.json.decode(reply.content, type=_Models).data
        found = next((entry for entry in served if entry.id == model.served_name), None)
        if found is None:
            names = ", ".join(entry.id for entry in served[:5]) or "nothing"
            worker.mark_misconfigured(f"it serves {names}, not {model.served_name}")
            return
        known = worker.facts if worker.state == "up" else None
        marker_ids = known.marker_ids if known else await self._marker_ids(model, worker, headers)
        stop_ids = tuple(marker_ids[each] for each in self._stop_markers(model.variant.family) if each in marker_ids)
        parses = known.parses_calls if known else None
        if parses is None and model.variant.task == "chat" and model.dialect not in (None, "engine"):
            parses = await self._parses_calls(model, worker, headers)
        lengths = {entry.id: entry.max_model_len for entry in served}
        context_tokens = found.max_model_len or lengths.get(found.parent or "")
        worker.mark_up(WorkerFacts(context_tokens, stop_ids, marker_ids, parses))

    async def _parses_calls(self, model: ServedModel, worker: Worker, headers: dict[str, str]) -> bool | None:
        """Ask for one token with `tool_choice: "auto"`, which vLLM refuses unless it has a tool parser.

        None when the answer doesn't tell: it is asked again with the next probe.
        """
        body = {
            "model": model.served_name,
            "messages": [{"role": "user", "content": "."}],
            "tools": [{"type": "function", "function": {"name": "probe", "parameters": {"type": "object"}}}],
            "tool_choice": "auto",
            "max_tokens": 1,
        }
        try:
            reply = await self._http.post(f"{worker.url}/v1/chat/completions", json=body, headers=headers)
        except httpx2.TimeoutException:  # busy, not down
            return None
        if reply.status_code not in (200, 400):
            return None
        if reply.status_code == 200:
            logger.warning(
                "worker %s of %s was started with --enable-auto-tool-choice: its parser loses Gemma's calls. Requests "
                "with tools go around it, at the cost of one more round trip, and media with tools can't; start it "
                "without --enable-auto-tool-choice and --tool-call-parser",
                worker.id,
                model.name,
            )
        return reply.status_code == 200

    async def _marker_ids(self, model: ServedModel, worker: Worker, headers: dict[str, str]) -> Mapping[str, int]:
        """Resolve the family's markers with the worker's tokenizer; a marker that isn't one token is left out."""
        family = model.variant.family
        ids: dict[str, int] = {}
        for marker in dict.fromkeys((*self._stop_markers(family), *self._call_markers(family))):
            body = {"model": model.served_name, "prompt": marker, "add_special_tokens": False}
            reply = await self._http.post(f"{worker.url}/tokenize", json=body, headers=headers)
            if reply.status_code != 200:
                return {}
            tokens = msgspec.json.decode(reply.content, type=_Tokens).tokens
            if len(tokens) == 1:
                ids[marker] = tokens[0]
        return ids
