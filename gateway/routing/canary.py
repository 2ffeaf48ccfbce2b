"""One token, asked of an engine that has been silent: vLLM's server answers `/health` while its engine hangs.

    silent ──(canary_s)──► canary under way ──(a token, or a byte of another answer)──► silent
                             ▲          │
                  (a second) │          └──(canary_s without)──► hangs ──(a canary's token)──► used again
                             └──────────────────────────────────────┘

Silent is a worker of which no byte of an answer has come, whether it has requests or none: a long prompt before its
first token and an idle engine look alike from here, and an engine that answers anybody is asked nothing. The canary is
cancelled by the first such byte, which aborts it at the engine, when the worker drains and when it leaves. It isn't
sent to a worker that is down, which its probes watch. It goes past queues, limits and load: it is nobody's request.

What hangs is cut off by its breaker, held open until a canary's token, or a byte for a request that it still has: a
client's new request is never the trial.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.background import end_task
from gateway.routing.fleet import ServedModel
from gateway.routing.worker import Worker

PARTS: Final = 4
"""Silence is looked at so many times in `canary_s`."""
AGAIN_S: Final = 1.0
_JITTER: Final = 0.2

logger = logging.getLogger("gateway.health")

AskToken = Callable[[ServedModel, Worker, float], Awaitable[bool]]
"""Asks for one token within so many seconds; False when none was made."""
Sleep = Callable[[float], Awaitable[object]]


class Canary:
    """Watches one worker of a model that has `canary_s`."""

    def __init__(
        self,
        model: ServedModel,
        worker: Worker,
        canary_s: float,
        ask: AskToken,
        *,
        on_hang: Callable[[Worker], None],
        rng: random.Random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`on_hang` is told after each canary that failed: requests may have come to wait there since the last."""
        self._model = model
        self._worker = worker
        self._canary_s = canary_s
        self._ask = ask
        self._on_hang = on_hang
        self._rng = rng
        self._sleep = sleep

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            if self._worker.hangs:
                await self._sleep(AGAIN_S)
            else:
                await self._be_silent()
            if self._may_ask:
                await self._send()

    @property
    def _may_ask(self) -> bool:
        return self._worker.state == "up" and not self._worker.draining

    async def _be_silent(self) -> None:
        """Return when no byte has come for `canary_s`, give or take the jitter that spreads several gateways'."""
        pulse = self._worker.pulse
        silences, beats = 0, pulse.beats
        while silences < PARTS:
            await self._sleep(self._canary_s / PARTS * (1 - _JITTER / 2 + _JITTER * self._rng.random()))
            silences = silences + 1 if beats == pulse.beats and self._may_ask else 0
            beats = pulse.beats

    async def _send(self) -> None:
        worker, pulse = self._worker, self._worker.pulse
        asking = asyncio.ensure_future(self._ask(self._model, worker, self._canary_s))
        pulse.on_beat = asking.cancel
        try:
            await asyncio.wait((asking,))
        finally:
            pulse.on_beat = None
            await end_task(asking)
        if asking.cancelled():
            pulse.canaries["needless"] += 1
            if not worker.draining:  # a byte came: the engine is at work
                self._note(hangs=False)
        elif asking.result():
            pulse.canaries["answered"] += 1
            self._note(hangs=False)
        else:
            pulse.canaries["failed"] += 1
            self._note(hangs=True)
            self._on_hang(worker)

    def _note(self, *, hangs: bool) -> None:
        worker = self._worker
        if hangs == worker.hangs:
            return
        worker.hang(on=hangs)
        if hangs:
            message = "worker %s of %s hangs: it answers /health, but made no token in %g s"
            logger.warning(message, worker.id, self._model.name, self._canary_s)
        else:
            logger.info("worker %s of %s makes tokens again", worker.id, self._model.name)
