"""A model provider on loopback that speaks OpenAI's API and Ollama's, as far as LiteLLM asks for it."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Mode = Literal["text", "call", "status", "cut", "endless", "hang"]
WORDS = ("The ", "sea ", "is ", "blue.")
CALL = {"name": "get_weather", "arguments": {"city": "Oslo"}}
_CREATED = 1_795_000_000
_OLLAMA_TIME = "2026-11-24T09:00:00.000000Z"


@dataclass
class Journal:
    """What the provider was asked, and how it ended."""

    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    """Path, headers and body of each chat."""
    running: int = 0
    aborted: int = 0


class FakeProvider:
    """``with FakeProvider() as provider: … provider.url``; `mode` decides how the next requests are answered."""

    def __init__(self) -> None:
        self.mode: Mode = "text"
        self.status = 500
        self.message = "broken"
        self.journal = Journal()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        routes = [
            Route("/v1/chat/completions", self._openai, methods=["POST"]),
            Route("/api/chat", self._ollama, methods=["POST"]),
            Route("/api/show", self._show, methods=["POST"]),
        ]
        config = uvicorn.Config(Starlette(routes=routes), log_config=None, log_level="critical", lifespan="off")
        config.timeout_graceful_shutdown = 1
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._wait(lambda: self._server.started, "started")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.force_exit = self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def wait_until_aborted(self, count: int = 1) -> None:
        """Returns when so many requests were left by their client."""
        self._wait(lambda: self.journal.aborted >= count and self.journal.running == 0, f"{count} aborted")

    def wait_until_running(self) -> None:
        """Returns when a request is being answered."""
        self._wait(lambda: self.journal.running > 0, "running")

    @staticmethod
    def _wait(condition: Any, what: str) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the provider is not {what}")
            time.sleep(0.005)

    async def _show(self, _request: Request) -> Response:
        return JSONResponse({"template": "{{ .Tools }}", "capabilities": ["completion", "tools"], "model_info": {}})

    async def _openai(self, request: Request) -> Response:
        body = await self._noted(request)
        if self.mode == "status":
            error = {"message": self.message, "type": "server_error", "code": None}
            return JSONResponse({"error": error}, self.status)
        if self.mode == "hang":
            return await self._hang(request)
        if body.get("stream"):
            return StreamingResponse(self._watched(self._openai_stream(body)), media_type="text/event-stream")
        message: dict[str, Any] = {"role": "assistant", "content": "".join(WORDS)}
        if self.mode == "call":
            function = {"name": CALL["name"], "arguments": json.dumps(CALL["arguments"])}
            message = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
            }
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if self.mode == "call" else "stop"}
        return JSONResponse(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": _CREATED,
                "model": body["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
            }
        )

    async def _openai_stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        def frame(delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> bytes:
            choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
            head = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "created": _CREATED, "model": body["model"]}
            return b"data: " + json.dumps(head | {"choices": choices} | more).encode() + b"\n\n"

        yield frame({"role": "assistant", "content": ""})
        if self.mode == "call":
            arguments = json.dumps(CALL["arguments"])
            function = {"name": CALL["name"], "arguments": ""}
            yield frame({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})
            for at in range(0, len(arguments), 5):
                yield frame({"tool_calls": [{"index": 0, "function": {"arguments": arguments[at : at + 5]}}]})
            yield frame({}, "tool_calls")
        else:
            async for word in self._words():
                yield frame({"content": word})
            yield frame({}, "stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            yield frame(None, usage={"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13})
        yield b"data: [DONE]\n\n"

    async def _ollama(self, request: Request) -> Response:
        body = await self._noted(request)
        if self.mode == "status":
            return JSONResponse({"error": self.message}, self.status)
        if self.mode == "hang":
            return await self._hang(request)
        if body.get("stream"):
            return StreamingResponse(self._watched(self._ollama_stream(body)), media_type="application/x-ndjson")
        message: dict[str, Any] = {"role": "assistant", "content": "".join(WORDS)}
        if self.mode == "call":
            message = {"role": "assistant", "content": "", "tool_calls": [{"function": CALL}]}
        return JSONResponse({"model": body["model"], "created_at": _OLLAMA_TIME, "message": message} | _OLLAMA_END)

    async def _ollama_stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        head = {"model": body["model"], "created_at": _OLLAMA_TIME}

        def line(message: dict[str, Any], **more: Any) -> bytes:
            return (
                json.dumps(head | {"message": {"role": "assistant"} | message, "done": False} | more).encode() + b"\n"
            )

        if self.mode == "call":
            yield line({"content": "", "tool_calls": [{"function": CALL}]})
        else:
            async for word in self._words():
                yield line({"content": word})
        yield line({"content": ""}, **_OLLAMA_END)

    async def _words(self) -> AsyncIterator[str]:
        for word in WORDS:
            yield word
            if self.mode == "cut":
                raise ConnectionAbortedError
        while self.mode == "endless":
            yield "and "
            await asyncio.sleep(0.01)

    async def _watched(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self.journal.running += 1
        try:
            async for piece in pieces:
                yield piece
        except asyncio.CancelledError:
            self.journal.aborted += 1
            raise
        finally:
            self.journal.running -= 1

    async def _hang(self, request: Request) -> Response:
        self.journal.running += 1
        while (await request.receive())["type"] != "http.disconnect":
            continue
        self.journal.running -= 1
        self.journal.aborted += 1
        return Response()

    async def _noted(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self.journal.requests.append((request.url.path, dict(request.headers), body))
        return body


_OLLAMA_END = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 1,
    "load_duration": 1,
    "prompt_eval_count": 9,
    "prompt_eval_duration": 1,
    "eval_count": 4,
    "eval_duration": 1,
}
