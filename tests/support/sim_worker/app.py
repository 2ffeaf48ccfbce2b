"""The ASGI application: routes, the worker's key, the control API under /sim, and the watch for clients that leave."""

import asyncio
import contextlib
import time
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from .adapters import Adapters
from .endpoints import Handler, Worker
from .errors import WorkerError, framework_error, unauthorized
from .exchange import Exchange
from .faults import break_reply
from .journal import Journal
from .script import Script, ScriptBook
from .settings import Settings

GUARDED = ("/v1", "/v2", "/inference", "/cohere")
"""The paths that ``--api-key`` protects; the others stay open in vLLM."""


class App:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.journal = Journal()
        self.scripts = ScriptBook()
        self.adapters = Adapters(settings)
        worker = Worker(settings, self.scripts, self.journal, int(time.time()), self.adapters)
        self._routes: dict[str, tuple[str, Handler]] = {
            "/v1/chat/completions": ("POST", worker.chat),
            "/v1/completions": ("POST", worker.completion),
            "/v1/embeddings": ("POST", worker.embeddings),
            "/v1/models": ("GET", worker.models),
            "/tokenize": ("POST", worker.tokenize),
            "/detokenize": ("POST", worker.detokenize),
            "/health": ("GET", worker.health),
            "/metrics": ("GET", worker.metrics),
            "/version": ("GET", worker.version),
        }
        if settings.runtime_lora:
            self._routes["/v1/load_lora_adapter"] = ("POST", self.adapters.load)
            self._routes["/v1/unload_lora_adapter"] = ("POST", self.adapters.unload)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        path = scope["path"]
        if path.startswith("/sim/"):
            seen = Journal().open(0, scope["method"], path, headers)
            exchange = Exchange(scope, receive, send, Journal(), seen)
            await exchange.read_body()
            await self._control(exchange)
            return
        seen = self.journal.open(scope["sim.connection"], scope["method"], path, headers)
        exchange = Exchange(scope, receive, send, self.journal, seen)
        try:
            await self._serve(exchange)
        finally:
            self.journal.close(seen, "aborted")

    async def _serve(self, exchange: Exchange) -> None:
        """Answers, unless the client leaves first: then the work is cancelled, as vLLM aborts the sequence."""
        try:
            await exchange.read_body()
        except ConnectionAbortedError:
            return
        work = asyncio.create_task(self._answer(exchange), name="answer")
        watch = asyncio.create_task(exchange.wait_disconnect(), name="watch")
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            if not work.done():
                work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._route(exchange)
        except WorkerError as exc:
            await exchange.reply_json(exc.status, exc.body)

    async def _route(self, exchange: Exchange) -> None:
        seen = exchange.seen
        if self.settings.api_key is not None and seen.path.startswith(GUARDED):
            scheme, _, key = (seen.header("authorization") or "").partition(" ")
            if scheme.lower() != "bearer" or key != self.settings.api_key:
                raise unauthorized()
        if seen.path not in self._routes or (seen.path == "/v1/embeddings" and not self.settings.embeddings):
            raise framework_error(404, "Not Found")
        method, handler = self._routes[seen.path]
        if seen.method != method:
            raise framework_error(405, "Method Not Allowed")
        if method == "GET":
            script = self.scripts.take(seen.path, "")
            await asyncio.sleep(script.first_delay_s)
            if script.fault is not None:
                await break_reply(exchange, script.fault, b"{}")
                return
        await handler(exchange)

    async def _control(self, exchange: Exchange) -> None:
        seen = exchange.seen
        match seen.method, seen.path:
            case "POST", "/sim/script":
                try:
                    self.scripts.add(msgspec.json.decode(exchange.raw_body, type=Script))
                except msgspec.DecodeError as exc:
                    await exchange.reply_json(400, {"error": str(exc)})
                    return
                await exchange.reply_json(200, {})
            case "DELETE", "/sim/script":
                self.scripts.clear()
                await exchange.reply_json(200, {})
            case "GET", "/sim/requests":
                await exchange.reply_json(200, self.journal.as_json())
            case "DELETE", "/sim/requests":
                self.journal.clear()
                await exchange.reply_json(200, {})
            case "GET", "/sim/stats":
                await exchange.reply_json(200, self.stats())
            case _:
                await exchange.reply_json(
                    404, {"error": "POST/DELETE /sim/script, GET/DELETE /sim/requests, GET /sim/stats"}
                )

    def stats(self) -> dict[str, Any]:
        return self.journal.stats()
