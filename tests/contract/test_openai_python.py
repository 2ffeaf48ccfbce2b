"""openai-python, as it comes, against the gateway: answers in one piece. Run with openai 3.x and with openai 2.x."""

import base64
import math
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from tests.support.deployment import ALIAS, CHAT, EMBEDDING, ENGINE_NAME, FORBIDDEN, RENAMED, UNREACHABLE, Workers
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.sim_worker import Script, SimWorker


class Recipe(BaseModel):
    """A schema with what schemas have: nesting, lists, choices."""

    class Step(BaseModel):
        text: str
        minutes: int

    title: str
    steps: list[Step]
    vegetarian: bool


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


@pytest.fixture
async def async_client(gateway: GatewayProcess) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


def test_chat(client: OpenAI, worker: SimWorker) -> None:
    """A chat completion has text, finish reason, usage, and the name of the model."""
    worker.script(Script(text="Hello, world."))
    answer = client.chat.completions.create(
        model=CHAT, messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    )
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == CHAT
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == "Hello, world."
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_answers_carry_nothing_of_the_engine(client: OpenAI) -> None:
    """The keys that vLLM adds to a reply stay behind: a typed client sees OpenAI's fields only."""
    answer = client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Hello"}])
    assert not answer.model_extra
    assert not answer.choices[0].model_extra
    assert not answer.choices[0].message.model_extra


def test_every_answer_has_an_id_of_its_own(client: OpenAI) -> None:
    """Two answers never share an id, even when the client repeats its request id."""
    ids = {
        client.chat.completions.create(
            model=CHAT, messages=[{"role": "user", "content": "Hello"}], extra_headers={"x-request-id": "again"}
        ).id
        for _ in range(3)
    }
    assert len(ids) == 3


def test_request_id(client: OpenAI) -> None:
    """`_request_id` is the client's own id if it sent one, else one that the gateway made."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
    made = client.chat.completions.create(model=CHAT, messages=messages)
    sent = client.chat.completions.create(
        model=CHAT,
        messages=messages,
        extra_headers={"x-request-id": "order-66/a"},
    )
    assert made._request_id
    assert sent._request_id == "order-66/a"


def test_raw_response(client: OpenAI) -> None:
    """`with_raw_response` gives the headers beside the parsed answer."""
    raw = client.chat.completions.with_raw_response.create(model=CHAT, messages=[{"role": "user", "content": "Hello"}])
    assert raw.status_code == 200
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-gateway-worker"].startswith("127.0.0.1:")
    assert raw.parse().choices[0].message.content == "Hello"
    assert raw.parse()._request_id == raw.headers["x-request-id"]


def test_alias(client: OpenAI) -> None:
    """An alias reaches its model; the answer names the model that served."""
    answer = client.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": "Hello"}])
    assert answer.model == CHAT


def test_engines_own_name_stays_inside(client: OpenAI, workers: Workers) -> None:
    """Where the engine knows the model by another name, it is asked by that name and the client never sees it."""
    answer = client.chat.completions.create(model=RENAMED, messages=[{"role": "user", "content": "Hello"}])
    assert answer.model == RENAMED
    (seen,) = workers.renamed.generation_requests
    assert seen.body["model"] == ENGINE_NAME


def test_several_choices(client: OpenAI) -> None:
    """`n` gives that many choices, and usage counts the prompt once."""
    one = client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Hello"}])
    two = client.chat.completions.create(model=CHAT, n=2, messages=[{"role": "user", "content": "Hello"}])
    assert [choice.index for choice in two.choices] == [0, 1]
    assert one.usage is not None
    assert two.usage is not None
    assert two.usage.prompt_tokens == one.usage.prompt_tokens
    assert two.usage.completion_tokens == 2 * one.usage.completion_tokens


def test_stop(client: OpenAI, worker: SimWorker) -> None:
    """Text ends before a stop string."""
    worker.script(Script(text="one two STOP three"))
    answer = client.chat.completions.create(
        model=CHAT, stop=["STOP", "never"], messages=[{"role": "user", "content": "Count"}]
    )
    assert answer.choices[0].message.content == "one two "
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_length(client: OpenAI, worker: SimWorker, name: str) -> None:
    """The limit on tokens, by its new and its old name, ends the answer with `length`."""
    worker.script(Script(chunks=("a", "b", "c", "d")))
    answer = client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": "Count"}], extra_body={name: 2}
    )
    assert answer.choices[0].message.content == "ab"
    assert answer.choices[0].finish_reason == "length"


def test_log_probabilities(client: OpenAI, worker: SimWorker) -> None:
    """`logprobs` and `top_logprobs` come back per token."""
    worker.script(Script(chunks=("Hello", ",")))
    answer = client.chat.completions.create(
        model=CHAT, logprobs=True, top_logprobs=2, messages=[{"role": "user", "content": "Hello"}]
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [entry.token for entry in logprobs.content[:2]] == ["Hello", ","]
    assert all(entry.logprob < 0 and len(entry.top_logprobs) == 2 for entry in logprobs.content)


def test_sampling_reaches_the_worker(client: OpenAI, worker: SimWorker) -> None:
    """What the client says about sampling is what the worker is asked."""
    wanted = {
        "seed": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "frequency_penalty": 0.1,
        "presence_penalty": -0.1,
        "logit_bias": {"17": -5.0},
        "top_k": 40,
    }
    answer = client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": "Hello"}], extra_body=wanted
    )
    assert answer.choices[0].message.content == "Hello [seed 7]"
    (seen,) = worker.generation_requests
    assert {name: seen.body[name] for name in wanted} == wanted


def test_what_is_the_operators_never_reaches_the_worker(client: OpenAI, worker: SimWorker) -> None:
    """Fields that would reach past the model are dropped, and so are unknown ones."""
    sent = {"priority": -5, "cache_salt": "x", "chat_template": "{{ x }}", "kv_transfer_params": {}, "surprise": 1}
    client.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Hello"}], extra_body=sent)
    (seen,) = worker.generation_requests
    assert seen.body.pop("cache_salt") != sent.pop("cache_salt")  # the gateway's own, for the tenant
    assert not sent.keys() & seen.body.keys()


def test_parse(client: OpenAI) -> None:
    """`parse` with a pydantic schema returns an object of that class."""
    answer = client.chat.completions.parse(
        model=CHAT, messages=[{"role": "user", "content": "Soup"}], response_format=Recipe
    )
    assert isinstance(answer.choices[0].message.parsed, Recipe)


def test_json_object(client: OpenAI) -> None:
    """`json_object` gives JSON."""
    answer = client.chat.completions.create(
        model=CHAT, messages=[{"role": "user", "content": "JSON"}], response_format={"type": "json_object"}
    )
    assert answer.choices[0].message.content == "{}"


def test_completion(client: OpenAI, worker: SimWorker) -> None:
    """The older text completions: raw prompt in, text out."""
    worker.script(Script(text=" upon a time", path="/v1/completions"))
    answer = client.completions.create(model=ALIAS, prompt="Once", max_tokens=20, logprobs=1)
    assert answer.object == "text_completion"
    assert answer.model == CHAT
    assert answer.choices[0].text == " upon a time"
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.tokens
    assert answer.usage is not None
    assert answer._request_id
    (seen,) = worker.generation_requests
    assert seen.body["prompt"] == "Once"


def test_several_prompts(client: OpenAI) -> None:
    """A list of prompts is answered in its order."""
    answer = client.completions.create(model=CHAT, prompt=["one", "two"], max_tokens=20)
    assert [choice.text for choice in answer.choices] == ["one", "two"]
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_embedding(client: OpenAI, workers: Workers) -> None:
    """The SDK asks for base64 unless told otherwise, and hands out numbers; the worker is never asked for null."""
    answer = client.embeddings.create(model=EMBEDDING, input="Hello")
    assert answer.model == EMBEDDING
    assert len(answer.data[0].embedding) == 768
    assert math.isclose(math.hypot(*answer.data[0].embedding), 1, rel_tol=1e-5)
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens
    (seen,) = workers.embedding.generation_requests
    assert None not in seen.body.values()


def test_embedding_formats_agree(client: OpenAI) -> None:
    """base64 holds the same vector as float, as little-endian float32."""
    floats = client.embeddings.create(model=EMBEDDING, input="Hello", encoding_format="float").data[0].embedding
    packed: Any = client.embeddings.create(model=EMBEDDING, input="Hello", encoding_format="base64").data[0].embedding
    numbers = struct.unpack("<768f", base64.b64decode(packed))
    assert numbers == pytest.approx(floats, rel=1e-6)


def test_embedding_dimensions(client: OpenAI) -> None:
    """`dimensions` cuts the vector and makes it a unit vector again."""
    whole = client.embeddings.create(model=EMBEDDING, input="Hello", encoding_format="float").data[0].embedding
    short = client.embeddings.create(model=EMBEDDING, input="Hello", dimensions=128).data[0].embedding
    length = math.hypot(*whole[:128])
    assert short == pytest.approx([x / length for x in whole[:128]], rel=1e-5)


def test_several_embeddings(client: OpenAI) -> None:
    """Texts and token ids come one at a time or many at once, and are answered in their order."""
    answer = client.embeddings.create(model=EMBEDDING, input=["one", "two", "one"])
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert answer.data[0].embedding == answer.data[2].embedding != answer.data[1].embedding
    assert len(client.embeddings.create(model=EMBEDDING, input=[2, 105]).data) == 1
    assert len(client.embeddings.create(model=EMBEDDING, input=[[2, 105], [2, 106]]).data) == 2


def test_models(client: OpenAI) -> None:
    """The list holds the models that the key may use, by their own names."""
    models = client.models.list().data
    assert [model.id for model in models] == [CHAT, RENAMED, EMBEDDING, UNREACHABLE]
    assert FORBIDDEN not in {model.id for model in models}
    assert all(model.object == "model" and model.created > 0 and model.owned_by for model in models)


@pytest.mark.parametrize("name", [CHAT, ALIAS])
def test_retrieve_model(client: OpenAI, name: str) -> None:
    """One model can be asked for by its name, slash included, and by an alias."""
    model = client.models.retrieve(name)
    assert model.id == name
    assert model._request_id


@pytest.mark.anyio
async def test_async_chat(async_client: AsyncOpenAI) -> None:
    """The asynchronous client gets the same."""
    answer = await async_client.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": "Hello"}])
    assert answer.choices[0].message.content == "Hello"
    assert answer.model == CHAT
    parsed = await async_client.chat.completions.parse(
        model=CHAT, messages=[{"role": "user", "content": "Soup"}], response_format=Recipe
    )
    assert isinstance(parsed.choices[0].message.parsed, Recipe)


@pytest.mark.anyio
async def test_async_others(async_client: AsyncOpenAI) -> None:
    """Completions, embeddings and models from the asynchronous client."""
    completion = await async_client.completions.create(model=CHAT, prompt="Once")
    assert completion.choices[0].text == "Once"
    embedding = await async_client.embeddings.create(model=EMBEDDING, input="Hello", dimensions=64)
    assert len(embedding.data[0].embedding) == 64
    assert CHAT in [model.id async for model in async_client.models.list()]
    assert (await async_client.models.retrieve(EMBEDDING)).id == EMBEDDING
