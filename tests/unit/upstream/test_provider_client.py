"""The client of a provider, with a stand-in for LiteLLM: patience, refusals, aborts, and what is never told."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config.model import ProviderSettings, Secret
from gateway.routing.catalog import VARIANTS
from gateway.upstream.failures import ConnectionLost, DeadlineExceeded, ProtocolViolation
from gateway.upstream.provider_shapes import DONE
from gateway.upstream.providers import CHAT_PATH, MAX_AHEAD, ProviderClient, ProviderReply
from gateway.values import ModelName, RequestId

KEY = "provider-key-0123456789"
SETTINGS = ProviderSettings(
    ModelName("cloud"),
    "openai/gemma-3-27b-it",
    VARIANTS["gemma-3-27b-it"],
    8_192,
    {"api_key": Secret(KEY), "api_base": "http://127.0.0.1:9"},
)
MESSAGES = [{"role": "user", "content": "Hello"}]


class Answer:
    """What LiteLLM returns: something with `model_dump`."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def model_dump(self, *, exclude_none: bool) -> dict[str, Any]:
        assert exclude_none
        return self._fields


def text(content: str) -> Answer:
    return Answer(choices=[{"delta": {"content": content}, "message": {"content": content}}])


class Stream:
    """Chunks that come one by one; notes how far it was read and whether it was closed."""

    def __init__(self, count: int, error: Exception | None = None, hang: bool = False) -> None:
        self.taken = 0
        self.closed = asyncio.Event()
        self._count = count
        self._error = error
        self._hang = hang
        self._chunks = self._all()

    def __aiter__(self) -> AsyncGenerator[Answer]:
        return self._chunks

    async def _all(self) -> AsyncGenerator[Answer]:
        for number in range(self._count):
            self.taken += 1
            yield text(f"w{number} ")
        if self._error is not None:
            raise self._error
        if self._hang:
            await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed.set()


class World:
    """A client, the calls that LiteLLM got, and the answer to the next one."""

    def __init__(self, known: tuple[str, ...] = ("tools", "tool_choice", "response_format")) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answer: Callable[[], Coroutine[Any, Any, Any]] = self._hello
        litellm = SimpleNamespace(
            acompletion=self._complete,
            get_llm_provider=lambda model, api_base: (model.partition("/")[2], "openai", None, api_base),
            get_supported_openai_params=lambda model, custom_llm_provider: list(known),
        )
        self.loop = asyncio.get_running_loop()
        self.client = ProviderClient(SETTINGS, litellm, self.loop)

    async def _hello(self) -> Answer:
        return text("Hello")

    async def _complete(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        return await self.answer()

    def answers(self, value: object) -> None:
        """The next calls return this, or raise it."""

        async def answer() -> object:
            if isinstance(value, Exception):
                raise value
            return value

        self.answer = answer

    async def post(self, *, path: str = CHAT_PATH, within_s: float = 5.0, **fields: Any) -> ProviderReply:
        body = json.dumps({"model": "x", "messages": MESSAGES, **fields}).encode()
        return await self.client.post(path, body, request_id=RequestId("r1"), deadline=self.loop.time() + within_s)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_only_what_openai_has_is_asked() -> None:
    """vLLM's own fields stay here, and LiteLLM's own retries are off: the gateway decides who is asked next."""

    async def test() -> None:
        world = World()
        reply = await world.post(temperature=0.5, skip_special_tokens=False, cache_salt="s", stop_token_ids=[1], n=None)
        assert (reply.status, reply.exhausted) == (200, False)
        body = json.loads(await reply.read())
        assert (body["model"], body["id"]) == ("cloud", "chatcmpl-r1")
        (call,) = world.calls
        assert 0 < call.pop("timeout") <= 5
        assert call == {
            "model": "openai/gemma-3-27b-it",
            "messages": MESSAGES,
            "temperature": 0.5,
            "api_key": KEY,
            "api_base": "http://127.0.0.1:9",
            "max_retries": 0,
            "num_retries": 0,
        }
        assert reply.exhausted

    run(test)


def test_other_paths_are_not_served() -> None:
    """A provider takes chats; LiteLLM isn't even asked."""

    async def test() -> None:
        world = World()
        assert (await world.post(path="/v1/completions")).status == 404
        assert (await world.post(path="/tokenize")).status == 404
        assert world.calls == []

    run(test)


@pytest.mark.parametrize("field", [{"tools": [{}]}, {"tool_choice": "required"}, {"response_format": {"type": "x"}}])
def test_a_field_that_matters_is_not_dropped(field: dict[str, Any]) -> None:
    """LiteLLM would leave it out where the provider doesn't know it: the answer would be wrong."""

    async def test() -> None:
        world = World(known=())
        reply = await world.post(**field)
        assert reply.status == 400
        assert next(iter(field)).encode() in await reply.read()
        assert world.calls == []
        assert (await world.post(tool_choice="auto")).status == 200

    run(test)


@pytest.mark.parametrize(("status", "told"), [(429, 429), (503, 503), (200, 502), (None, 502), ("x", 502)])
def test_what_litellm_raises_is_a_status(status: object, told: int) -> None:
    """With what it says, but never a key."""

    async def test() -> None:
        world = World()
        error = RuntimeError(f"no luck with {KEY}")
        error.status_code = status  # type: ignore[attr-defined]  # as LiteLLM's errors have one
        world.answers(error)
        reply = await world.post()
        assert reply.status == told
        said = json.loads(await reply.read())["error"]["message"]
        assert said == "RuntimeError: no luck with ***"

    run(test)


def test_the_deadline_ends_a_call() -> None:
    """Nothing goes on at the provider."""

    async def test() -> None:
        world = World()
        ended = asyncio.Event()

        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        world.answer = hang
        with pytest.raises(DeadlineExceeded):
            await world.post(within_s=0.01)
        await ended.wait()

    run(test)


def test_a_cancelled_call_is_cancelled_there() -> None:
    """Also when its answer comes at that very moment: then it is closed."""

    async def test() -> None:
        world = World()
        began, stream = asyncio.Event(), Stream(1, hang=True)

        async def late() -> Stream:
            began.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return stream
            raise AssertionError

        world.answer = late
        task = asyncio.create_task(world.post(stream=True))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(stream.closed.wait(), 5)

    run(test)


def test_a_heartbeat_goes_on_while_the_provider_thinks() -> None:
    """Until there is an answer."""

    class Beats:
        interval_s = 0.001

        def __init__(self) -> None:
            self.enough = asyncio.Event()
            self.count = 0

        async def beat(self) -> None:
            self.count += 1
            if self.count == 3:
                self.enough.set()

    async def test() -> None:
        world, beats = World(), Beats()

        async def slow() -> Answer:
            await beats.enough.wait()
            return text("at last")

        world.answer = slow
        body = json.dumps({"messages": MESSAGES}).encode()
        reply = await world.client.post(
            CHAT_PATH, body, request_id=RequestId("r"), deadline=world.loop.time() + 5, heartbeat=beats
        )
        assert b"at last" in await reply.read()
        assert beats.count >= 3

    run(test)


def test_a_stream_is_read_ahead_within_bounds() -> None:
    """A client that takes nothing doesn't fill the memory."""

    async def test() -> None:
        world, stream = World(), Stream(10 * MAX_AHEAD)
        world.answers(stream)
        reply = await world.post(stream=True)
        for _ in range(5 * MAX_AHEAD):
            await asyncio.sleep(0)
        assert stream.taken <= MAX_AHEAD + 2
        taken: list[bytes] = []

        def sink(data: bytes) -> bool:
            taken.append(data)
            return len(taken) % 7 != 0

        while not reply.exhausted:
            assert await reply.forward(sink, 5.0)
        assert stream.taken == 10 * MAX_AHEAD
        assert taken[-1] == DONE
        assert len(taken) == 10 * MAX_AHEAD + 1
        assert stream.closed.is_set()
        assert world.calls[0]["stream_options"] == {"include_usage": True}
        assert await reply.next_chunk() == b""

    run(test)


def test_a_stream_that_fails_before_its_first_chunk_is_a_status() -> None:
    """Another may be asked then."""

    async def test() -> None:
        world, stream = World(), Stream(0, error=RuntimeError("empty"))
        world.answers(stream)
        assert (await world.post(stream=True)).status == 502
        assert stream.closed.is_set()

    run(test)


def test_a_stream_that_breaks_off_is_lost() -> None:
    """After what came before."""

    async def test() -> None:
        world = World()
        world.answers(Stream(2, error=RuntimeError(f"gone {KEY}")))
        reply = await world.post(stream=True)
        got = [await reply.next_chunk() for _ in range(2)]
        assert all(got)
        with pytest.raises(ConnectionLost, match=r"gone \*\*\*"):
            await reply.next_chunk()

    run(test)


def test_a_silent_stream_is_told_and_its_deadline_too() -> None:
    """None after silence; an error when the time of the request is over."""

    async def test() -> None:
        world = World()
        world.answers(Stream(1, hang=True))
        reply = await world.post(stream=True, within_s=0.05)
        assert await reply.next_chunk()
        assert await reply.next_chunk(0.001) is None
        assert not await reply.forward(lambda _: True, 0.001)
        with pytest.raises(DeadlineExceeded):
            await reply.next_chunk()
        reply.close()

    run(test)


def test_leaving_a_stream_closes_it() -> None:
    """A client that went away costs the provider nothing more."""

    async def test() -> None:
        world, stream = World(), Stream(1, hang=True)
        world.answers(stream)
        with await world.post(stream=True):
            pass
        await asyncio.wait_for(stream.closed.wait(), 5)

    run(test)


def test_a_whole_answer_is_bounded() -> None:
    """More than the caller takes is refused."""

    async def test() -> None:
        world = World()
        world.answers(text("x" * 1_000))
        with pytest.raises(ProtocolViolation):
            await (await world.post()).read(100)

    run(test)
