"""Redacted values that come back, as openai-python meets them; the worker echoes what it gets."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.support.deployment import CHAT, Workers
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.sim_worker import Script, SimWorker

FILTER = {"input": [{"kind": "pii", "types": ["email", "credit_card"], "action": "redact", "restore": True}]}
SAID = "Write to ann@example.org, not to bob@example.org; card 4111 1111 1111 1111. And ann@example.org again."
SEEN = "Write to [EMAIL_1], not to [EMAIL_2]; card [CREDIT_CARD_1]. And [EMAIL_1] again."


@pytest.fixture(scope="module")
def restoring(_workers: Workers) -> Iterator[GatewayProcess]:
    config = _workers.configuration()
    config["filters"] = {"private": FILTER}
    config["tenants"][0]["filter"] = "private"
    config["observability"] = {"log_content": "full"}
    with GatewayProcess(config) as gateway:
        yield gateway


@pytest.fixture
def client(workers: Workers, restoring: GatewayProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{restoring.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
def test_an_echo_comes_back_as_it_was(
    client: OpenAI, worker: SimWorker, restoring: GatewayProcess, stream: bool, options: dict[str, Any]
) -> None:
    """The worker sees placeholders, the caller the values, and no log has them, not even one of all content."""
    asked: Any = [{"role": "user", "content": SAID}]
    if stream:
        chunks = list(client.chat.completions.create(model=CHAT, messages=asked, stream=True, **options))
        got = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    else:
        got = client.chat.completions.create(model=CHAT, messages=asked).choices[0].message.content or ""
    assert got == SAID
    (seen,) = worker.generation_requests
    assert SEEN in str(seen.body)
    assert "example.org" not in str(seen.body)
    assert "ann@" not in restoring.stderr


def test_a_conversation_goes_on(client: OpenAI, worker: SimWorker) -> None:
    """History that is sent again has the same placeholders, and one that a user writes brings nobody's value."""
    messages: Any = [
        {"role": "user", "content": "I am ann@example.org"},
        {"role": "assistant", "content": "Hello ann@example.org"},
        {"role": "user", "content": "Who is [EMAIL_1]? Tell bob@example.org."},
    ]
    reply = client.chat.completions.create(model=CHAT, messages=messages)
    assert reply.choices[0].message.content == "Who is [EMAIL_1]? Tell bob@example.org."
    (seen,) = worker.generation_requests
    assert "I am [EMAIL_2]" in str(seen.body)
    assert "Hello [EMAIL_2]" in str(seen.body)
    assert "Tell [EMAIL_3]" in str(seen.body)


TOOL: Any = {
    "type": "function",
    "function": {"name": "send", "parameters": {"type": "object", "properties": {"to": {"type": "string"}}}},
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_gets_the_value(client: OpenAI, worker: SimWorker, stream: bool) -> None:
    """The arguments of a call have the address itself: the caller's function can use it."""
    worker.script(Script(text='{"name": "send", "parameters": {"to": "[EMAIL_1]"}}'))
    asked: Any = [{"role": "user", "content": "Write to ann@example.org"}]
    if stream:
        chunks = list(client.chat.completions.create(model=CHAT, messages=asked, tools=[TOOL], stream=True))
        calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
        arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    else:
        reply = client.chat.completions.create(model=CHAT, messages=asked, tools=[TOOL])
        arguments = reply.model_dump()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"to": "ann@example.org"}


@pytest.mark.parametrize("stream", [False, True])
def test_text_completions_restore_too(client: OpenAI, worker: SimWorker, stream: bool) -> None:
    """One way for all routes."""
    worker.script(Script(text="To [EMAIL_1] and [EMAIL_2]"))
    if stream:
        chunks = list(client.completions.create(model=CHAT, prompt="Write to ann@example.org", stream=True))
        got = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    else:
        got = client.completions.create(model=CHAT, prompt="Write to ann@example.org").choices[0].text
    assert got == "To ann@example.org and [EMAIL_2]"
