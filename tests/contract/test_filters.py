"""Content filters as openai-python meets them, with a tenant that has one; the worker's side is looked at too."""

from collections.abc import Iterator
from typing import Any

import pytest
from openai import BadRequestError, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.support.deployment import CHAT, EMBEDDING, Workers
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.sim_worker import Script, SimWorker

FILTER = {
    "input": [
        {"kind": "keywords", "words": ["violence"], "action": "block"},
        {"kind": "pii", "types": ["email", "credit_card"], "action": "redact"},
        {"kind": "patterns", "set": "injection", "action": "flag"},
    ],
    "output": [
        {"kind": "keywords", "words": ["hate", "kill yourself"], "action": "block"},
        {"kind": "pii", "types": ["email"], "action": "redact"},
    ],
    "limits": {"max_messages": 3, "max_chars": 1000, "over": "truncate"},
}


@pytest.fixture(scope="module")
def _filtering(_workers: Workers) -> Iterator[GatewayProcess]:
    config = _workers.configuration()
    config["filters"] = {"strict": FILTER}
    config["tenants"][0]["filter"] = "strict"
    config["tenants"][0]["limits"] = {"requests_per_minute": 1000, "tokens_per_minute": 1_000_000}
    with GatewayProcess(config) as gateway:
        yield gateway


@pytest.fixture
def client(workers: Workers, _filtering: GatewayProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{_filtering.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


def ask(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("stream", [False, True])
def test_blocked_input_reaches_no_worker(client: OpenAI, worker: SimWorker, stream: bool) -> None:
    """It is a 400 with its own code, counts as a request and costs no tokens; the header names the rule."""
    before = client.get("/usage", cast_to=object)
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(model=CHAT, messages=ask("Tell me of v\u200biol\u0435nce"), stream=stream)
    assert refused.value.code == "content_filter"
    assert refused.value.response.headers["x-gateway-filters"] == "strict; input=keywords block 1; output=screened"
    assert worker.generation_requests == []
    used = {line["limit"]: line["used"] for line in usage_limits(client.get("/usage", cast_to=object))}
    was = {line["limit"]: line["used"] for line in usage_limits(before)}
    assert used["requests_per_minute"] == was["requests_per_minute"] + 1
    assert used["tokens_per_minute"] == was["tokens_per_minute"]


TOOL: Any = {
    "type": "function",
    "function": {"name": "send", "parameters": {"type": "object", "properties": {"to": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    "function",
    [
        {"name": "send", "description": "for violence"},
        {"name": "send", "parameters": {"type": "object", "properties": {"to": {"enum": ["violence"]}}}},
    ],
)
def test_declarations_are_screened(client: OpenAI, worker: SimWorker, function: Any) -> None:
    """A model reads what tools are for, so a rule does too."""
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(
            model=CHAT, messages=ask("go"), tools=[{"type": "function", "function": function}]
        )
    assert refused.value.code == "content_filter"
    assert worker.generation_requests == []


def test_blocked_arguments_are_no_fault_of_form(client: OpenAI) -> None:
    """What is cut off by a block isn't taken for bad JSON: the refusal says why."""
    call: Any = {"id": "c1", "type": "function", "function": {"name": "send", "arguments": '{"to": "viol\\u0065nce"}'}}
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(
            model=CHAT,
            messages=[
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "done"},
            ],
            tools=[TOOL],
        )
    assert refused.value.code == "content_filter"


def usage_limits(usage: object) -> list[dict[str, Any]]:
    assert isinstance(usage, dict)
    limits: list[dict[str, Any]] = usage["limits"]
    return limits


def test_redacted_input_is_what_the_worker_gets(client: OpenAI, worker: SimWorker) -> None:
    """Every text part is screened, and the oldest turn beyond the limit is left out with the system prompt kept."""
    raw = client.chat.completions.with_raw_response.create(
        model=CHAT,
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "oldest"},
            {"role": "assistant", "content": "old"},
            {"role": "user", "content": [{"type": "text", "text": "Write to ann@example.org, 4111 1111 1111 1111"}]},
        ],
    )
    assert raw.headers["x-gateway-filters"].startswith("strict; input=pii.email redact 1, pii.credit_card redact 1")
    (seen,) = worker.generation_requests
    said = str(seen.body)
    assert "[EMAIL], [CREDIT_CARD]" in said
    assert "example.org" not in said
    assert "4111" not in said
    assert "oldest" not in said
    assert "Be kind." in said


def test_embeddings_and_prompts_are_screened(client: OpenAI, workers: Workers) -> None:
    """Token ids can't be screened, so they are refused."""
    client.embeddings.create(model=EMBEDDING, input=["ann@example.org"], encoding_format="float")
    (seen,) = workers.embedding.requests[-1:]
    assert "example.org" not in str(seen.body)
    with pytest.raises(BadRequestError) as refused:
        client.completions.create(model=CHAT, prompt="violence")
    assert refused.value.code == "content_filter"
    with pytest.raises(BadRequestError, match="Token ids"):
        client.completions.create(model=CHAT, prompt=[1, 2, 3])


@pytest.mark.parametrize("chunks", [("I h", "a", "t", "e you"), ("I ", "hate", " you"), tuple("I hate you")])
def test_a_blocked_stream_ends_in_content_filter(client: OpenAI, worker: SimWorker, chunks: tuple[str, ...]) -> None:
    """What was cleared comes, not one character of the match, and a finish reason that the SDK knows."""
    worker.script(Script(chunks=(*chunks, " and much more")))
    got = list(client.chat.completions.create(model=CHAT, messages=ask("Hello"), stream=True))
    assert "".join(choice.delta.content or "" for chunk in got for choice in chunk.choices) == "I "
    assert [c.finish_reason for chunk in got for c in chunk.choices if c.finish_reason] == ["content_filter"]
    assert {chunk.model for chunk in got} == {CHAT}
    worker.wait_until(lambda w: w.running == 0)


def test_a_stream_is_redacted_across_chunks(client: OpenAI, worker: SimWorker) -> None:
    """The placeholder stands where the address was; usage still comes last."""
    worker.script(Script(chunks=("Write to an", "n@exam", "ple.or", "g, please", ".")))
    got = list(
        client.chat.completions.create(
            model=CHAT, messages=ask("Hello"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.delta.content or "" for chunk in got for c in chunk.choices) == "Write to [EMAIL], please."
    assert [c.finish_reason for chunk in got for c in chunk.choices if c.finish_reason] == ["stop"]
    assert got[-1].usage is not None


def test_text_completions_are_screened_too(client: OpenAI, worker: SimWorker) -> None:
    """Streaming and not, one way for all routes."""
    worker.script(Script(chunks=("You: ann@", "example.org. Kill ", "yourself", " now")))
    got = list(client.completions.create(model=CHAT, prompt="Hello", stream=True))
    assert "".join(c.text for chunk in got for c in chunk.choices) == "You: [EMAIL]. "
    assert [c.finish_reason for chunk in got for c in chunk.choices if c.finish_reason] == ["content_filter"]
    worker.script(Script(text="You: ann@example.org. Kill yourself now"))
    reply = client.completions.create(model=CHAT, prompt="Hello")
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == ("You: [EMAIL]. ", "content_filter")


def test_a_whole_answer_is_screened(client: OpenAI, worker: SimWorker) -> None:
    """Without a stream the same text comes out, the header tells what was done, and no content is in the log."""
    worker.script(Script(text="Write to ann@example.org. I hate you."))
    raw = client.chat.completions.with_raw_response.create(model=CHAT, messages=ask("Hello"))
    choice = raw.parse().choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Write to [EMAIL]. I ", "content_filter")
    assert "output=pii.email redact 1, keywords block 1" in raw.headers["x-gateway-filters"]
