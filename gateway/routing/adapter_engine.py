"""LoRA adapters loaded and unloaded at a worker, by vLLM's two routes for it.

vLLM 0.32 has `/v1/load_lora_adapter` and `/v1/unload_lora_adapter` when it was started with `--enable-lora` and
`VLLM_ALLOW_RUNTIME_LORA_UPDATING=1`, and answers them with 404 `{"detail"}` otherwise. It refuses what is done already
(400, 404): so what `/v1/models` lists decides, before and after, and asking twice, or by several gateways, is no error.
"""

from typing import Final, NamedTuple

import httpx2
import msgspec

from gateway.routing.discovery.overrides import AdapterWish
from gateway.routing.served_entries import adapters_of, read_served
from gateway.routing.worker import Worker

LIST_TIMEOUT_S: Final = 5.0
LOAD_TIMEOUT_S: Final = 60.0
"""Weights may come from a slow disk, or a hub."""
MAX_PROBLEM_CHARS: Final = 300
USER_AGENT: Final = "gemma-gateway-probe"
_NO_ROUTES: Final = (
    "it loads no adapters at run time: start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"
)


class AdapterOutcome(NamedTuple):
    """How a wish stands at a worker."""

    fulfilled: bool
    problem: str | None = None
    refused: bool = False
    """The engine was asked and said no; False: it couldn't be asked, or its answer was lost."""


class _Said(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Said | str | None = None


def is_fulfilled(worker: Worker, wish: AdapterWish) -> bool:
    """Whether the worker, as it was last seen, has the adapter from where it is to be, or hasn't it."""
    held = worker.adapters
    return wish.adapter not in held if wish.path is None else held.get(wish.adapter) == wish.path


class AdapterEngine:
    """Asks workers; whoever makes it closes it."""

    def __init__(self, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        headers = {"user-agent": USER_AGENT}
        self._http = httpx2.AsyncClient(timeout=LIST_TIMEOUT_S, trust_env=False, headers=headers, transport=transport)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def fulfil(self, worker: Worker, wish: AdapterWish) -> AdapterOutcome:
        """Do what is wished at one worker, unless it is done already; notes on it what it has now. Never raises.

        An adapter that is loaded from another path is replaced in place.
        """
        try:
            return await self._fulfil(worker, wish)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return AdapterOutcome(False, f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return AdapterOutcome(False, "it doesn't answer like vLLM")

    async def _fulfil(self, worker: Worker, wish: AdapterWish) -> AdapterOutcome:
        await self._look(worker)
        if is_fulfilled(worker, wish):
            return AdapterOutcome(True)
        held = dict(worker.adapters)
        body: dict[str, object] = {"lora_name": wish.adapter}
        if wish.path is None:
            held.pop(wish.adapter, None)
            worker.note_adapters(held)  # before it is gone: nobody is sent there in vain
            route = "unload_lora_adapter"
        else:
            body |= {"lora_path": wish.path, "load_inplace": wish.adapter in held}
            route = "load_lora_adapter"
        url = f"{worker.url}/v1/{route}"
        reply = await self._http.post(url, json=body, headers=worker.authorization, timeout=LOAD_TIMEOUT_S)
        await self._look(worker)
        if is_fulfilled(worker, wish):
            return AdapterOutcome(True)
        return AdapterOutcome(False, _problem_of(reply.status_code, reply.content), refused=True)

    async def _look(self, worker: Worker) -> None:
        reply = await self._http.get(f"{worker.url}/v1/models", headers=worker.authorization)
        if reply.status_code == 200:
            worker.note_adapters(adapters_of(read_served(reply.content)))


def _problem_of(status: int, body: bytes) -> str:
    if status == 200:
        return "it said it was done, but /v1/models doesn't show it"
    if status in (401, 403):
        return "it refuses the worker's api_key"
    try:
        error = msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        error = None
    if status == 404 and error is None:
        return _NO_ROUTES
    said = error.message if isinstance(error, _Said) else error
    return (said or f"it answered {status}")[:MAX_PROBLEM_CHARS]
