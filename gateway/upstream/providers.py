"""Gemma elsewhere, reached through LiteLLM: what stands in when no worker of ours can serve.

A provider takes the request that a vLLM worker would get and gives an answer of the same shape, so everything around it
(limits, filters, streams, aborts) is what it is for workers. LiteLLM is imported here and only when the file names a
provider; it is told to fetch nothing, read no `.env` and log nothing, as its messages may hold prompts and keys.

LiteLLM's streams can't be awaited for a while and then left: a task of each exchange reads ahead, as far as its queue
lets it.
"""

import asyncio
import contextlib
import importlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from gateway.config.model import ProviderSettings, Secret
from gateway.upstream.client import Heartbeat, Sink
from gateway.upstream.failures import ConnectionLost, DeadlineExceeded, ProtocolViolation
from gateway.upstream.provider_shapes import DONE, ReplyName, chunk_frame, whole_reply
from gateway.values import RequestId

CHAT_PATH: Final = "/v1/chat/completions"
MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
MAX_AHEAD: Final = 64
"""Chunks that are read ahead of a slow client."""
MAX_CAUSE_CHARS: Final = 200
FORWARDED: Final = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "messages",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "response_format",
    "seed",
    "stop",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
)
"""OpenAI's fields; what only vLLM knows stays here."""
MUST_BE_KNOWN: Final = ("tools", "tool_choice", "response_format")
"""A provider that would drop one of these can't serve the request."""
_TOO_LATE: Final = "the request's deadline passed"

_T = TypeVar("_T")
_ENCODER: Final = msgspec.json.Encoder()


def load_litellm() -> Any:
    """Import LiteLLM, which takes seconds, and make it quiet. Raises ModuleNotFoundError without the extra."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else the import fetches a price list
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")  # else it reads .env
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.telemetry = False
    litellm.drop_params = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        log = logging.getLogger(name)
        log.handlers.clear()
        log.setLevel(logging.CRITICAL)
        log.addHandler(logging.NullHandler())
        log.propagate = False
    return litellm


class ProviderClient:
    """Implements `client.InferenceClient` for one provider."""

    def __init__(self, settings: ProviderSettings, litellm: Any, loop: asyncio.AbstractEventLoop) -> None:
        """`litellm` is the module, as `load_litellm` returns it."""
        self._settings = settings
        self._litellm = litellm
        self._loop = loop
        self._options = {
            name: value.reveal() if isinstance(value, Secret) else value for name, value in settings.options.items()
        }
        self._secrets = [value.reveal() for value in settings.options.values() if isinstance(value, Secret)]
        self._tasks: set[asyncio.Task[Any]] = set()

    async def post(
        self, path: str, body: bytes, *, request_id: RequestId, deadline: float, heartbeat: Heartbeat | None = None
    ) -> "ProviderReply":
        """Ask the provider; every path but that of chats is answered 404. Raises DeadlineExceeded."""
        if path != CHAT_PATH:
            return ProviderReply(404, _error(404, "providers serve chats only"))
        task = self._spawn(self._ask(msgspec.json.decode(body), request_id, deadline))
        try:
            while not task.done():
                left_s = deadline - self._loop.time()
                if left_s <= 0:
                    raise DeadlineExceeded(_TOO_LATE)
                await asyncio.wait({task}, timeout=left_s if heartbeat is None else min(left_s, heartbeat.interval_s))
                if heartbeat is not None and not task.done():
                    await heartbeat.beat()
            return task.result()
        except BaseException:  # cancellation too: nothing may go on at the provider
            task.add_done_callback(_close_result)
            task.cancel()
            raise

    def give_up_waiting(self) -> None:
        """Do nothing: nobody probes a provider, so nobody finds that it hangs."""

    def close(self) -> None:
        """Do nothing: LiteLLM owns the connections, and an exchange under way goes on."""

    async def _ask(self, request: dict[str, Any], request_id: RequestId, deadline: float) -> "ProviderReply":
        name = ReplyName(f"chatcmpl-{request_id}", self._settings.name)
        arguments = {name: request[name] for name in FORWARDED if request.get(name) is not None}
        try:
            unknown = self._unknown(arguments)
            if unknown is not None:
                return ProviderReply(400, _error(400, f"the provider knows no '{unknown}'"))
            if arguments.get("stream"):
                arguments["stream_options"] = {"include_usage": True}
            answer = await self._litellm.acompletion(
                **arguments,
                **self._options,
                model=self._settings.model,
                timeout=max(0.001, deadline - self._loop.time()),
                max_retries=0,
                num_retries=0,
            )
            if not arguments.get("stream"):
                return ProviderReply(200, whole_reply(answer.model_dump(exclude_none=True), name))
            return await self._begin_stream(_frames(answer, name), deadline)
        except Exception as error:  # noqa: BLE001  # whatever its many clients raise; told as a status
            return self._refusal(error)

    async def _begin_stream(self, frames: AsyncGenerator[bytes, None], deadline: float) -> "ProviderReply":
        """Wait for the first chunk: until it has come another may be asked."""
        try:
            first = await anext(frames)
        except BaseException:
            await frames.aclose()
            raise
        ahead = _ReadAhead(first, deadline, self._loop)
        ahead.task = self._spawn(ahead.run(frames, self._shown))
        return ProviderReply(200, ahead=ahead)

    def _unknown(self, arguments: Mapping[str, Any]) -> str | None:
        """Return a field that matters and that the provider would drop."""
        wanted = [name for name in MUST_BE_KNOWN if arguments.get(name) not in (None, "auto", "none")]
        if not wanted:
            return None
        model, provider, _, _ = self._litellm.get_llm_provider(
            model=self._settings.model, api_base=self._options.get("api_base")
        )
        known = self._litellm.get_supported_openai_params(model=model, custom_llm_provider=provider) or ()
        return next((name for name in wanted if name not in known), None)

    def _refusal(self, error: Exception) -> "ProviderReply":
        status = getattr(error, "status_code", None)
        if not isinstance(status, int) or not 400 <= status <= 599:
            status = 502
        return ProviderReply(status, _error(status, self._shown(error)))

    def _shown(self, error: BaseException) -> str:
        """Return an error for the operator's log, without what is secret."""
        text = " ".join(str(error).split())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return f"{type(error).__name__}: {text}"[:MAX_CAUSE_CHARS]

    def _spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = self._loop.create_task(work, name=f"provider {self._settings.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _frames(answer: Any, name: ReplyName) -> AsyncGenerator[bytes, None]:
    """Yield the frames of a stream of LiteLLM's; closing it ends the exchange with the provider."""
    try:
        async for chunk in answer:
            frame = chunk_frame(chunk.model_dump(exclude_none=True), name)
            if frame:
                yield frame
        yield DONE
    finally:
        await answer.aclose()


class _ReadAhead:
    """Reads a stream in a task of its own, up to `MAX_AHEAD` chunks ahead."""

    def __init__(self, first: bytes, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        self.task: asyncio.Task[None] | None = None
        self.exhausted = False
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(MAX_AHEAD)
        self._queue.put_nowait(first)
        self._failure: ConnectionLost | None = None
        self._deadline = deadline
        self._loop = loop

    async def run(self, frames: AsyncGenerator[bytes, None], shown: Callable[[BaseException], str]) -> None:
        """Read to the end, which an empty chunk tells."""
        try:
            async with contextlib.aclosing(frames):
                async for frame in frames:
                    await self._queue.put(frame)
        except Exception as error:  # noqa: BLE001  # whatever LiteLLM's clients raise ends the stream
            self._failure = ConnectionLost(f"the provider broke off: {shown(error)}", bytes_received=True)
        await self._queue.put(b"")

    async def next(self, silence_s: float | None) -> bytes | None:
        """Return all that has come, b"" at the end, None after silence. Raises ConnectionLost, DeadlineExceeded."""
        if self.exhausted:
            return b""
        until = self._deadline if silence_s is None else min(self._deadline, self._loop.time() + silence_s)
        try:
            async with asyncio.timeout_at(until):
                data = await self._queue.get()
        except TimeoutError:
            if self._loop.time() >= self._deadline:
                raise DeadlineExceeded(_TOO_LATE) from None
            return None
        if not data:
            if self._failure is not None:
                raise self._failure
            self.exhausted = True
        return data

    def cancel(self) -> None:
        """End the exchange."""
        if self.task is not None:
            self.task.cancel()


class ProviderReply:
    """Implements `client.Reply`: a body that is here, or one that is read ahead."""

    __slots__ = ("_ahead", "_body", "status")

    def __init__(self, status: int, body: bytes = b"", ahead: _ReadAhead | None = None) -> None:
        self.status = status
        self._body = body
        self._ahead = ahead

    @property
    def exhausted(self) -> bool:
        """Whether the whole body has come and been taken."""
        return not self._body and (self._ahead is None or self._ahead.exhausted)

    async def next_chunk(self, silence_s: float | None = None) -> bytes | None:
        """Return body bytes, b"" at the end, None after `silence_s` of silence. Raises an `UpstreamFailure`."""
        if self._ahead is not None:
            return await self._ahead.next(silence_s)
        body, self._body = self._body, b""
        return body

    async def forward(self, sink: Sink, silence_s: float) -> bool:
        """Pass body bytes on. Raises an `UpstreamFailure`."""
        while chunk := await self.next_chunk(silence_s):
            if not sink(chunk):
                return True
        return chunk is not None

    async def read(self, max_bytes: int = MAX_REPLY_BYTES) -> bytes:
        """Return the whole body. Raises an `UpstreamFailure`."""
        body = b"".join([chunk async for chunk in self._chunks()])
        if len(body) > max_bytes:
            raise ProtocolViolation(f"answer over {max_bytes} bytes")
        return body

    async def _chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self.next_chunk():
            yield chunk

    def close(self) -> None:
        """End the exchange, and abort it at the provider if it isn't complete."""
        if self._ahead is not None:
            self._ahead.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _close_result(task: asyncio.Task[ProviderReply]) -> None:
    """Close an answer that nobody waits for any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _error(status: int, message: str) -> bytes:
    return _ENCODER.encode({"error": {"message": message, "type": "provider_error", "code": status}})
