"""The questions that a worker is asked beside its requests: whether it answers, what it serves, how loaded it is."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import httpx2
import msgspec

from gateway.routing.engine_metrics import parse_engine_load
from gateway.routing.fleet import ServedModel
from gateway.routing.served_entries import adapters_of, read_served
from gateway.routing.worker import EngineLoad, Worker
from gateway.values import Family, WorkerFacts

HEALTH_TIMEOUT_S: Final = 2.0
"""For `/health` and `/metrics`, which engines answer at once however busy they are."""
PROBE_TIMEOUT_S: Final = 5.0
USER_AGENT: Final = "gemma-gateway-probe"

logger = logging.getLogger("gateway.health")

Markers = Callable[[Family], Sequence[str]]
"""Markers of a family."""


class _Tokens(msgspec.Struct):
    tokens: list[int]


class WorkerSilentError(Exception):
    """A worker takes connections, or none, but says nothing."""


class EngineProbe:
    """Asks workers; whoever makes it closes it."""

    def __init__(self, stop_markers: Markers, call_markers: Markers) -> None:
        """`stop_markers`: those that end a turn, in the order in which their ids are sent."""
        self._stop_markers = stop_markers
        self._call_markers = call_markers
        self._http = httpx2.AsyncClient(timeout=PROBE_TIMEOUT_S, trust_env=False, headers={"user-agent": USER_AGENT})

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def probe(self, model: ServedModel, worker: Worker) -> bool:
        """Ask the worker how it is and note the answer on it; False when it says nothing at all. Never raises."""
        try:
            await self._ask(model, worker)
        except WorkerSilentError as silent:
            worker.mark_down(str(silent))
            return False
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            worker.mark_down(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            worker.mark_misconfigured("it doesn't answer like vLLM")
        return True

    async def _ask(self, model: ServedModel, worker: Worker) -> None:
        try:
            reply = await self._http.get(f"{worker.url}/health", timeout=HEALTH_TIMEOUT_S)
        except httpx2.TimeoutException as error:
            raise WorkerSilentError(f"/health didn't answer within {HEALTH_TIMEOUT_S:g} s") from error
        if reply.status_code != 200:
            worker.mark_down(f"/health answered {reply.status_code}")
        else:
            await self._join(model, worker)

    async def engine_load(self, worker: Worker) -> EngineLoad | None:
        """Return what the engine's metrics tell; None when they can't be had. Never raises."""
        try:
            reply = await self._http.get(f"{worker.url}/metrics", timeout=HEALTH_TIMEOUT_S)
        except (httpx2.HTTPError, httpx2.InvalidURL):
            return None
        return parse_engine_load(reply.content) if reply.status_code == 200 else None

    async def makes_a_token(self, model: ServedModel, worker: Worker, timeout_s: float) -> bool:
        """Have the engine make one token, or one embedding; False when it makes none, for this or any request, in time.

        An engine that is only busy makes tokens for others meanwhile. Cancelled, it is aborted at the engine.
        """
        before = await self.engine_load(worker)
        path, question = "/v1/completions", {"prompt": ".", "max_tokens": 1, "temperature": 0}
        if model.variant.task == "embedding":
            path, question = "/v1/embeddings", {"input": "."}
        body = {"model": model.served_name, **question}
        try:
            await self._http.post(f"{worker.url}{path}", json=body, headers=worker.authorization, timeout=timeout_s)
        except httpx2.TimeoutException:
            after = await self.engine_load(worker)
            return before is not None and after is not None and after.generated_tokens > before.generated_tokens
        except (httpx2.HTTPError, httpx2.InvalidURL):
            pass  # it doesn't hang; what it is instead the next probe finds out
        return True

    async def _join(self, model: ServedModel, worker: Worker) -> None:
        headers = worker.authorization
        reply = await self._http.get(f"{worker.url}/v1/models", headers=headers)
        if reply.status_code in (401, 403):
            worker.mark_misconfigured("it refuses the worker's api_key")
            return
        if reply.status_code != 200:
            worker.mark_misconfigured(f"/v1/models answered {reply.status_code}")
            return
        served = read_served(reply.content)
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
        worker.mark_up(WorkerFacts(context_tokens, stop_ids, marker_ids, adapters_of(served), parses))

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
