"""openai-python, as it comes, against the gateway: streams. Run with openai 3.x and with openai 2.x."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from openai import APIError, APIStatusError, AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from tests.support.deployment import ALIAS, CHAT, RENAMED, Workers
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.sim_worker import Fault, FaultKind, Script, SimWorker

ABORT_DEADLINE_S = 1.0
"""Within this time after a client left, its request must be gone from the worker."""


class Weather(BaseModel):
    city: str
    degrees: float


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


@pytest.fixture
async def async_client(gateway: GatewayProcess) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == index)


def test_stream(client: OpenAI, worker: SimWorker) -> None:
    """A stream begins with the role, carries the text, ends with one finish reason; all chunks are of one answer."""
    worker.script(Script(text="Hello, wide world."))
    chunks = list(
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Hello"}], stream=True)
    )
    assert text_of(chunks) == "Hello, wide world."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    assert {(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks} == {
        (chunks[0].id, chunks[0].created, CHAT, "chat.completion.chunk")
    }
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_usage_comes_last_when_asked_for(client: OpenAI) -> None:
    """With `include_usage` one more chunk, without choices, brings the usage; every other chunk has none."""
    *chunks, last = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens > 0
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_no_usage_unasked(client: OpenAI, worker: SimWorker) -> None:
    """The worker is always asked for usage; a client that didn't ask gets no chunk without choices."""
    chunks = list(
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Hello"}], stream=True)
    )
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    (seen,) = worker.generation_requests
    assert seen.body["stream_options"] == {"include_usage": True}


def test_several_choices(client: OpenAI, worker: SimWorker) -> None:
    """The chunks of `n` choices come mixed, each with its index, each choice with its own end."""
    worker.script(Script(text="one two three"))
    chunks = list(
        client.chat.completions.create(model=CHAT, n=2, messages=[{"role": "user", "content": "Go"}], stream=True)
    )
    assert text_of(chunks, 0) == text_of(chunks, 1) == "one two three"
    assert sum(choice.finish_reason == "stop" for chunk in chunks for choice in chunk.choices) == 2


def test_log_probabilities(client: OpenAI, worker: SimWorker) -> None:
    """Each chunk of text has the log probabilities of its tokens."""
    worker.script(Script(chunks=("Hello", " you")))
    chunks = client.chat.completions.create(
        model=CHAT, logprobs=True, top_logprobs=1, messages=[{"role": "user", "content": "Go"}], stream=True
    )
    tokens = [
        entry.token
        for chunk in chunks
        for choice in chunk.choices
        if choice.logprobs is not None
        for entry in choice.logprobs.content or []
    ]
    assert tokens[:2] == ["Hello", " you"]


@pytest.mark.parametrize(("asked", "served"), [(ALIAS, CHAT), (RENAMED, RENAMED)])
@pytest.mark.parametrize("include_usage", [True, False])
def test_model_in_chunks(client: OpenAI, asked: str, served: str, include_usage: bool) -> None:
    """Every chunk names the model as it is configured: no alias, no name that only the engine knows."""
    chunks = client.chat.completions.create(
        model=asked,
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        stream_options={"include_usage": include_usage},
    )
    assert {chunk.model for chunk in chunks} == {served}


def test_renaming_spares_the_text(client: OpenAI, workers: Workers) -> None:
    """The engine's name inside the text stays there, even written as JSON."""
    said = 'I am "model":"gemma-private".'
    workers.renamed.script(Script(chunks=(said,)))
    chunks = list(
        client.chat.completions.create(model=RENAMED, messages=[{"role": "user", "content": "Who?"}], stream=True)
    )
    assert text_of(chunks) == said


def test_markers_of_the_stream_are_text(client: OpenAI, worker: SimWorker) -> None:
    """What looks like SSE inside the text is text: `[DONE]`, frames, errors and usage end and change nothing."""
    pieces = ("[DONE]", "data: [DONE]\n\n", 'data: {"error":{}}\n\n', '"usage"', '"error"', "\r\n\r\n", "end")
    worker.script(Script(chunks=pieces))
    chunks = list(
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Say it"}], stream=True)
    )
    assert text_of(chunks) == "".join(pieces)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_unicode_at_every_byte(client: OpenAI, worker: SimWorker) -> None:
    """A worker's stream that arrives byte by byte gives the same text."""
    said = "Grüße, 世界 👋🏽"
    worker.script(Script(chunks=(said,), fault=Fault(kind="slow_drip", delay_s=0)))
    chunks = list(
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Hello"}], stream=True)
    )
    assert text_of(chunks) == said


def test_control_tokens_come_back_as_written(client: OpenAI, worker: SimWorker) -> None:
    """The model's control tokens in a client's text are kept from the model and given back as they were."""
    said = "Explain <end_of_turn> and <start_of_turn>model please"
    chunks = list(client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": said}], stream=True))
    assert text_of(chunks) == said
    (seen,) = worker.generation_requests
    assert "<end_of_turn>" not in seen.body["messages"][-1]["content"]


def test_raw_response(client: OpenAI) -> None:
    """`with_raw_response` gives the headers of a stream, and then the stream."""
    raw = client.chat.completions.with_raw_response.create(
        model=CHAT, messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    assert raw.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert raw.headers["x-request-id"]
    assert text_of(list(raw.parse())) == "Hello"


def test_streaming_response(client: OpenAI) -> None:
    """`with_streaming_response` gives the lines as they are on the wire."""
    with client.chat.completions.with_streaming_response.create(
        model=CHAT, messages=[{"role": "user", "content": "Hello"}], stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


def test_stream_helper(client: OpenAI, worker: SimWorker) -> None:
    """The SDK's own stream helper gathers events into a whole answer, usage included."""
    worker.script(Script(text="Hello, world."))
    with client.chat.completions.stream(
        model=CHAT, messages=[{"role": "user", "content": "Hello"}], stream_options={"include_usage": True}
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == "Hello, world."
    assert final.choices[0].finish_reason == "stop"
    assert final.usage is not None
    assert final.usage.completion_tokens > 0


def test_stream_helper_with_schema(client: OpenAI) -> None:
    """The stream helper parses JSON as it comes and ends with an object of the class asked for."""
    with client.chat.completions.stream(
        model=CHAT, messages=[{"role": "user", "content": "Weather"}], response_format=Weather
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Weather)


def test_completion_stream(client: OpenAI, worker: SimWorker) -> None:
    """Text completions stream too, with usage when asked for."""
    worker.script(Script(text=" upon a time"))
    *chunks, last = client.completions.create(
        model=CHAT, prompt="Once", stream=True, max_tokens=20, stream_options={"include_usage": True}
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == " upon a time"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.object == "text_completion" and chunk.model == CHAT for chunk in (*chunks, last))
    assert last.choices == []
    assert last.usage is not None


def test_completion_stream_of_a_renamed_model(client: OpenAI) -> None:
    """The engine's own name does not show in text completions either."""
    chunks = client.completions.create(model=RENAMED, prompt="Once", stream=True)
    assert {chunk.model for chunk in chunks} == {RENAMED}


BREAKS: list[FaultKind] = ["error_mid_stream", "cut_mid_stream", "end_without_done"]


@pytest.mark.parametrize("kind", BREAKS)
def test_broken_stream_is_an_error(client: OpenAI, worker: SimWorker, kind: FaultKind) -> None:
    """However a worker's stream breaks, the client gets the text so far and then an error, never a clean end."""
    worker.script(Script(chunks=("a", "b", "c"), fault=Fault(kind=kind, at_chunk=2, message="CUDA: out of memory")))
    stream = client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Go"}], stream=True)
    chunks: list[ChatCompletionChunk] = []
    with pytest.raises(APIError) as caught:
        chunks.extend(stream)  # keeps what came before the error
    assert text_of(chunks) == "ab"
    assert not isinstance(caught.value, APIStatusError)
    assert caught.value.code == "worker_error"
    assert caught.value.type == "server_error"
    assert "CUDA" not in caught.value.message


@pytest.mark.parametrize("kind", BREAKS)
def test_broken_completion_stream_is_an_error(client: OpenAI, worker: SimWorker, kind: FaultKind) -> None:
    """The same for text completions."""
    worker.script(Script(chunks=("a", "b", "c"), fault=Fault(kind=kind, at_chunk=2)))
    with pytest.raises(APIError, match="worker"):
        list(client.completions.create(model=CHAT, prompt="Go", stream=True))


def test_frame_that_is_no_chunk_is_an_error(client: OpenAI, worker: SimWorker) -> None:
    """Where chunks are looked into, as for usage, one that isn't JSON ends the stream in an error."""
    worker.script(Script(chunks=("a", "b", "c"), fault=Fault(kind="garbage_frame", at_chunk=2)))
    stream = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Go"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    with pytest.raises(APIError, match="worker"):
        list(stream)


def test_broken_stream_in_the_helper(client: OpenAI, worker: SimWorker) -> None:
    """The SDK's stream helper raises too, and has no final answer to show."""
    worker.script(Script(chunks=("a", "b"), fault=Fault(kind="cut_mid_stream", at_chunk=1)))
    with (
        client.chat.completions.stream(model=CHAT, messages=[{"role": "user", "content": "Go"}]) as stream,
        pytest.raises(APIError, match="worker"),
    ):
        stream.until_done()


def test_error_before_the_first_chunk_is_a_status(client: OpenAI, worker: SimWorker) -> None:
    """A worker that fails before it said anything is answered with a status, though a stream was asked for."""
    worker.script(Script(fault=Fault(kind="error_first")))
    with pytest.raises(APIStatusError) as caught:
        client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Go"}], stream=True)
    assert caught.value.status_code == 502
    assert caught.value.code == "worker_error"


def test_closing_the_stream_aborts_the_worker(client: OpenAI, worker: SimWorker) -> None:
    """A client that closes its stream in the middle stops the worker's generation."""
    worker.script(Script(chunks=("x",), repeat=100_000, delay_s=0.01))
    stream = client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Go"}], stream=True)
    next(iter(stream))
    stream.close()
    worker.wait_until(lambda w: w.aborted == 1, ABORT_DEADLINE_S)
    assert worker.running == 0


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_before_the_first_byte_aborts_the_worker(
    async_client: AsyncOpenAI, worker: SimWorker, stream: bool
) -> None:
    """A client that gives up while the model still reads the prompt stops the worker, streaming or not."""
    worker.script(Script(first_delay_s=60))
    task = asyncio.create_task(
        async_client.chat.completions.create(
            model=CHAT,
            messages=[{"role": "user", "content": "Go"}],
            stream=stream,
        )
    )
    await asyncio.to_thread(worker.wait_until, lambda w: len(w.generation_requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(worker.wait_until, lambda w: w.aborted == 1, ABORT_DEADLINE_S)


@pytest.mark.anyio
async def test_async_stream(async_client: AsyncOpenAI, worker: SimWorker) -> None:
    """The asynchronous client streams the same."""
    worker.script(Script(text="Hello, world."))
    stream = await async_client.chat.completions.create(
        model=ALIAS, messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    chunks = [chunk async for chunk in stream]
    assert text_of(chunks) == "Hello, world."
    assert {chunk.model for chunk in chunks} == {CHAT}


@pytest.mark.anyio
async def test_async_raw_and_streaming_responses(async_client: AsyncOpenAI) -> None:
    """Headers, stream and lines from the asynchronous client."""
    raw = await async_client.chat.completions.with_raw_response.create(
        model=CHAT, messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    assert raw.headers["x-request-id"]
    assert text_of([chunk async for chunk in raw.parse()]) == "Hello"
    async with async_client.chat.completions.with_streaming_response.create(
        model=CHAT, messages=[{"role": "user", "content": "Hello"}], stream=True
    ) as response:
        lines = [line async for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


@pytest.mark.anyio
async def test_async_stream_helper(async_client: AsyncOpenAI) -> None:
    """The asynchronous stream helper ends with a parsed object."""
    async with async_client.chat.completions.stream(
        model=CHAT, messages=[{"role": "user", "content": "Weather"}], response_format=Weather
    ) as stream:
        final = await stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Weather)


@pytest.mark.anyio
async def test_async_completion_stream(async_client: AsyncOpenAI) -> None:
    """Text completions from the asynchronous client."""
    stream = await async_client.completions.create(model=CHAT, prompt="Once", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "Once"


@pytest.mark.anyio
async def test_async_broken_stream(async_client: AsyncOpenAI, worker: SimWorker) -> None:
    """A broken stream raises in the asynchronous client."""
    worker.script(Script(chunks=("a", "b"), fault=Fault(kind="cut_mid_stream", at_chunk=1)))
    stream = await async_client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": "Go"}], stream=True
    )
    with pytest.raises(APIError, match="worker"):
        async for _ in stream:
            pass


@pytest.mark.anyio
async def test_async_many_streams_at_once(async_client: AsyncOpenAI) -> None:
    """Streams that run side by side don't mix."""

    async def said(text: str) -> str:
        stream = await async_client.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": text}], stream=True
        )
        return text_of([chunk async for chunk in stream])

    texts = [f"caller {number} says {number * number}" for number in range(40)]
    assert await asyncio.gather(*map(said, texts)) == texts
