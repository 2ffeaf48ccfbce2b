"""`dialect: engine` with openai-python: the worker parses, in vLLM's words, and the client gets OpenAI's."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.gateway_view import wait_until_up
from tests.support.sim_worker import Fault, Script, Settings, SimWorker
from tests.support.tool_chat import EITHER_WAY, ask
from tests.support.tool_task import ANSWER, QUESTION, TOOLS

Json = Any
MODEL = "google/gemma-4-E4B-it"
USER = [{"role": "user", "content": QUESTION}]
FUNCTIONS = [tool["function"] for tool in TOOLS]
ARGUMENTS = '{"city": "Paris", "days": 2}'


@dataclass(frozen=True, slots=True)
class Engine:
    """A worker that was started with a tool parser, and a client of the gateway before it."""

    worker: SimWorker
    client: OpenAI

    def will_answer(self, message: Json, finish_reason: str, *, stream: bool) -> None:
        """The next answer, whole or in vLLM's frames."""
        common = {"id": "chatcmpl-x", "created": 1, "model": MODEL, "kv_transfer_params": None}
        whole = {"index": 0, "message": message, "finish_reason": finish_reason, "stop_reason": 50}
        body, kind = json.dumps({**common, "object": "chat.completion", "choices": [whole]}), "application/json"
        if stream:
            ends: list[tuple[Json, str | None]] = [({"content": ""}, finish_reason)]
            deltas = [({"role": "assistant", "content": ""}, None), *((each, None) for each in pieces(message)), *ends]
            chunks = [
                {**common, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, **end(reason)}]}
                for delta, reason in deltas
            ]
            body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
            kind = "text/event-stream"
        self.worker.script(Script(fault=Fault(kind="raw_body", status=200, body=body, content_type=kind)))


def end(reason: str | None) -> Json:
    return {"logprobs": None, "finish_reason": reason}


def pieces(message: Json) -> Iterator[Json]:
    """A message as vLLM streams it: a call's name without arguments first."""
    if message.get("reasoning"):
        yield {"reasoning": message["reasoning"]}
    if message.get("content"):
        yield {"content": message["content"]}
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        yield {"tool_calls": [{**call, "index": index, "function": {"name": function["name"]}}]}
        for piece in (function["arguments"][:9], function["arguments"][9:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
    if message.get("tool_calls") == []:
        yield {"tool_calls": []}


def call(name: str, arguments: str) -> Json:
    return {"id": f"chatcmpl-tool-{name}", "type": "function", "function": {"name": name, "arguments": arguments}}


CALLS = [call("get_weather", ARGUMENTS), call("get_time", '{"zone": "Asia/Tokyo"}')]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with ExitStack() as stack:
        worker = stack.enter_context(SimWorker(Settings(model=MODEL, template="gemma4", tool_parser=True)))
        models = [{"name": MODEL, "dialect": "engine", "workers": [{"url": worker.url}]}]
        tenants = [{"id": "acme", "keys": [{"id": "acme-test", "secret": TEST_KEY}]}]
        gateway = stack.enter_context(GatewayProcess({"models": models, "tenants": tenants}))
        wait_until_up(gateway, 1)
        client = OpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=15)
        yield Engine(worker, stack.enter_context(client))


@pytest.fixture(autouse=True)
def _fresh(engine: Engine) -> None:
    engine.worker.reset()


@EITHER_WAY
def test_calls_and_thoughts(engine: Engine, *, stream: bool) -> None:
    """The worker is told of the tools and the choice as the client put them; all of its answer arrives."""
    message = {"role": "assistant", "content": "", "reasoning": "Paris first.", "tool_calls": CALLS}
    engine.will_answer(message, "tool_calls", stream=stream)
    turn = ask(engine.client, MODEL, USER, stream=stream, tool_choice="auto")
    assert (turn.content, turn.reasoning, turn.finish_reason) == (None, "Paris first.", "tool_calls")
    assert turn.calls == CALLS
    (seen,) = engine.worker.generation_requests
    assert [tool["function"]["name"] for tool in seen.body["tools"]] == ["get_weather", "get_time"]
    assert (seen.body["tool_choice"], seen.body["parallel_tool_calls"]) == ("auto", True)


@EITHER_WAY
def test_no_calls_after_all(engine: Engine, *, stream: bool) -> None:
    """vLLM may say `tool_calls` with an empty list of them."""
    engine.will_answer({"role": "assistant", "content": ANSWER, "tool_calls": []}, "tool_calls", stream=stream)
    turn = ask(engine.client, MODEL, USER, stream=stream)
    assert (turn.content, turn.calls, turn.finish_reason) == (ANSWER, [], "stop")


@EITHER_WAY
def test_functions(engine: Engine, *, stream: bool) -> None:
    """vLLM knows no `functions`: it is told of tools, and its call is the client's `function_call`."""
    engine.will_answer({"role": "assistant", "content": None, "tool_calls": CALLS}, "tool_calls", stream=stream)
    turn = ask(engine.client, MODEL, USER, stream=stream, tools=openai.omit, functions=FUNCTIONS)
    assert turn.function_call == {"name": "get_weather", "arguments": ARGUMENTS}
    assert (turn.calls, turn.finish_reason) == ([], "function_call")
    (seen,) = engine.worker.generation_requests
    assert "functions" not in seen.body


@EITHER_WAY
def test_a_required_call_that_never_comes(engine: Engine, *, stream: bool) -> None:
    """Prose is none: a whole answer is asked for once more, then there is an error."""
    for _ in range(2):
        engine.will_answer({"role": "assistant", "content": "I'd rather not."}, "stop", stream=stream)
    with pytest.raises(openai.APIError, match="tool_choice"):
        ask(engine.client, MODEL, USER, stream=stream, tool_choice="required")
    if not stream:
        assert len(engine.worker.generation_requests) == 2
        engine.will_answer({"role": "assistant", "content": "No."}, "stop", stream=False)
        engine.will_answer({"role": "assistant", "content": None, "tool_calls": CALLS}, "tool_calls", stream=False)
        assert ask(engine.client, MODEL, USER, stream=False, tool_choice="required").calls == CALLS
