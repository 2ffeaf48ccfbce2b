"""Providers stand in through the real LiteLLM: one that speaks OpenAI's API, and one that speaks Ollama's."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.admin_client import authorization, get_json
from tests.support.fake_provider import CALL, WORDS, FakeProvider
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.gateway_view import log_line, metric, wait_until_idle, wait_until_up
from tests.support.raw_http import RawAnswer, RawClient, ask, chat_body, request
from tests.support.sim_worker import Fault, Script, Settings, SimWorker

OPENAI, OLLAMA = "google/gemma-3-4b-it", "google/gemma-3-12b-it"
"""Models whose workers are busy, by who stands in for them."""
PROVIDERS = {OPENAI: "cloud", OLLAMA: "desk"}
PROVIDER_KEY = "provider-key-0123456789"
LIMITED_KEY = "limited-key-0123456789"
NARROW_KEY = "narrow-key-0123456789"
TEXT = "".join(WORDS)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]


@dataclass(frozen=True, slots=True)
class World:
    """A gateway whose only worker is busy, and what stands in."""

    gateway: GatewayProcess
    provider: FakeProvider


@pytest.fixture(scope="module")
def lasting_world() -> Iterator[World]:
    with FakeProvider() as provider, SimWorker(Settings(model=OPENAI)) as worker:
        worker.script(Script(fault=Fault(kind="status", status=503), times=None))
        workers = [{"url": worker.url}]
        config: dict[str, Any] = {
            "server": {"request_timeout_s": 20, "keepalive_s": 0.2},
            "models": [
                {"name": OPENAI, "workers": workers, "fallbacks": [PROVIDERS[OPENAI]]},
                {"name": OLLAMA, "served_name": OPENAI, "workers": workers, "fallbacks": [PROVIDERS[OLLAMA]]},
            ],
            "fallback_providers": {
                "cloud": {
                    "model": "openai/gemma-3-27b-it",
                    "api_base": f"{provider.url}/v1",
                    "api_key": "${PROVIDER_KEY}",
                },
                "desk": {
                    "model": "ollama_chat/gemma3:12b",
                    "variant": "gemma-3-12b-it",
                    "api_base": provider.url,
                },
            },
            "tenants": [
                {"id": "acme", "keys": [{"id": "acme-test", "secret": TEST_KEY}]},
                {"id": "narrow", "models": ["google/*"], "keys": [{"id": "narrow-test", "secret": NARROW_KEY}]},
                {
                    "id": "limited",
                    "keys": [{"id": "limited-test", "secret": LIMITED_KEY}],
                    "limits": {"tokens_per_minute": 100_000},
                    "model_limits": {"cloud": {"requests_per_hour": 1}},
                },
            ],
        }
        with GatewayProcess(config, environment={"PROVIDER_KEY": PROVIDER_KEY}) as gateway:
            wait_until_up(gateway, 2)
            yield World(gateway, provider)
            log = gateway.stderr
            assert PROVIDER_KEY not in log
            assert "colour has the sea" not in log
            assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:4000]


@pytest.fixture
def world(lasting_world: World) -> Iterator[World]:
    provider = lasting_world.provider
    provider.mode = "text"
    provider.journal.requests.clear()
    yield lasting_world
    wait_until_idle(lasting_world.gateway, 10)


def say(world: World, model: str, *, key: str = TEST_KEY, **fields: Any) -> RawAnswer:
    body = chat_body("Which colour has the sea?", model=model, **fields)
    return ask(world.gateway.port, request(body, key=authorization(key)), timeout_s=20)


def chunks_of(answer: RawAnswer) -> list[dict[str, Any]]:
    """The chunks of a stream that ended well."""
    assert answer.status == 200, answer
    frames = [frame for frame in answer.body.split(b"\n\n") if frame.startswith(b"data: ")]
    assert frames[-1] == b"data: [DONE]"
    return [json.loads(frame[6:]) for frame in frames[:-1]]


def gathered(chunks: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]], str]:
    """The text, the calls and the reason to finish of a stream's one choice."""
    text, reason = "", ""
    calls: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            delta = choice["delta"]
            text += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                kept = calls.setdefault(call["index"], {"id": None, "name": "", "arguments": ""})
                kept["id"] = kept["id"] or call.get("id")
                kept["name"] += call["function"].get("name") or ""
                kept["arguments"] += call["function"].get("arguments") or ""
            reason = choice["finish_reason"] or reason
    return text, list(calls.values()), reason


both = pytest.mark.parametrize("model", [OPENAI, OLLAMA], ids=["openai", "ollama"])


@both
def test_a_provider_answers(world: World, model: str) -> None:
    """With its name in the answer and the header, its usage counted, and the key sent where it belongs."""
    answer = say(world, model, max_tokens=20, temperature=0.5)
    assert answer.status == 200, answer
    reply = json.loads(answer.body)
    assert reply["choices"][0]["message"]["content"] == TEXT
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["total_tokens"] == 13
    name = PROVIDERS[model]
    assert (reply["model"], answer.headers["x-gateway-model"], answer.headers["x-gateway-worker"]) == (name,) * 3
    line = log_line(world.gateway, answer.headers["x-request-id"])
    assert (line["model"], line["fallback_from"], line["completion_tokens"]) == (name, model, 4)
    assert metric(world.gateway, "gateway_fallbacks_total", model=model, answered_by=name) >= 1
    ((path, headers, body),) = world.provider.journal.requests
    if model == OPENAI:
        assert path == "/v1/chat/completions"
        assert headers["authorization"] == f"Bearer {PROVIDER_KEY}"
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("gemma-3-27b-it", 20, 0.5)
        assert not body.keys() & {"cache_salt", "skip_special_tokens", "stop_token_ids", "return_token_ids"}
    else:
        assert path == "/api/chat"
        assert (body["model"], body["options"]["num_predict"]) == ("gemma3:12b", 20)
    assert PROVIDER_KEY not in answer.body.decode() + str(answer.headers)


@both
def test_a_provider_streams(world: World, model: str) -> None:
    """Chunk by chunk, under one id and name, with the usage where it was asked for."""
    chunks = chunks_of(say(world, model, stream=True, stream_options={"include_usage": True}))
    assert gathered(chunks) == (TEXT, [], "stop")
    assert {chunk["model"] for chunk in chunks} == {PROVIDERS[model]}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    assert chunks[-1]["choices"] == []
    plain = chunks_of(say(world, model, stream=True))
    assert not [chunk for chunk in plain if chunk.get("usage")]


@both
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_provider_calls_tools(world: World, model: str, stream: bool) -> None:
    """The tools go to it as they came, and its calls come back as OpenAI's."""
    world.provider.mode = "call"
    answer = say(world, model, tools=TOOLS, stream=stream)
    if stream:
        text, calls, reason = gathered(chunks_of(answer))
    else:
        choice = json.loads(answer.body)["choices"][0]
        text, reason = choice["message"]["content"] or "", choice["finish_reason"]
        calls = [{"id": call["id"], **call["function"]} for call in choice["message"]["tool_calls"]]
    assert (text, reason) == ("", "tool_calls")
    (call,) = calls
    assert call["id"]
    assert (call["name"], json.loads(call["arguments"])) == (CALL["name"], CALL["arguments"])
    _, _, body = world.provider.journal.requests[-1]
    assert body["tools"][0]["function"]["name"] == "get_weather"


@both
@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_what_a_provider_refuses_is_the_first_ones_error(world: World, model: str, status: int) -> None:
    """The client hears of the model it asked for; the log tells what the provider said, without its key."""
    world.provider.mode, world.provider.status = "status", status
    world.provider.message = f"broken {PROVIDER_KEY}"
    answer = say(world, model)
    assert (answer.status, answer.error["code"]) == (503, "no_worker_available")
    assert "broken" not in answer.error["message"]
    assert PROVIDER_KEY not in world.gateway.stderr


@both
def test_a_stream_that_a_provider_breaks_off_ends_in_an_error(world: World, model: str) -> None:
    """As one of a worker does: never in [DONE]."""
    world.provider.mode = "cut"
    answer = say(world, model, stream=True)
    assert answer.status == 200
    assert not answer.whole
    assert b"[DONE]" not in answer.body
    assert b'data: {"error":' in answer.body


@both
@pytest.mark.parametrize("mode", ["endless", "hang"])
def test_a_client_that_goes_away_ends_the_providers_work(world: World, model: str, mode: Any) -> None:
    """Before the first byte and in the middle of a stream."""
    world.provider.mode = mode
    aborted = world.provider.journal.aborted
    with RawClient(world.gateway.port) as client:
        client.send(request(chat_body("Go on", model=model, stream=True)))
        if mode == "endless":
            client.read_until(b"and ")
        world.provider.wait_until_running()
    world.provider.wait_until_aborted(aborted + 1)
    wait_until_idle(world.gateway, 10)


def test_a_silent_provider_is_bridged_by_comments(world: World) -> None:
    """As a silent worker is."""
    world.provider.mode = "hang"
    with RawClient(world.gateway.port) as client:
        client.send(request(chat_body("Wait", model=OPENAI, stream=True)))
        client.read_until(b": keep-alive")
    world.provider.wait_until_aborted()


def test_a_key_gets_no_provider_it_may_not_use(world: World) -> None:
    """Providers are named in `tenants[].models` like models: prompts go nowhere unasked."""
    answer = say(world, OPENAI, key=NARROW_KEY)
    assert answer.status == 503
    assert world.provider.journal.requests == []


def test_the_limits_of_a_provider_count(world: World) -> None:
    """`model_limits` may name it."""
    assert [say(world, OPENAI, key=LIMITED_KEY).status for _ in range(2)] == [200, 503]
    states = get_json(world.gateway, "/v1/usage", LIMITED_KEY)["limits"]
    used = {state["limit"]: state["used"] for state in states}
    assert (used["requests_per_hour"], used["tokens_per_minute"]) == (1, 13)


def test_providers_are_no_models_of_their_own(world: World) -> None:
    """They aren't listed, and can't be asked for by name."""
    names = [card["id"] for card in get_json(world.gateway, "/v1/models", TEST_KEY)["data"]]
    assert names == [OPENAI, OLLAMA]
    assert say(world, "cloud").status == 404


def test_raw_prompts_and_unfit_fields_do_not_go_to_providers(world: World) -> None:
    """A completion's prompt is for the model's own tokenizer."""
    body = json.dumps({"model": OPENAI, "prompt": "Hello", "max_tokens": 5}).encode()
    assert ask(world.gateway.port, request(body, path="/v1/completions")).status == 503
    assert world.provider.journal.requests == []


@pytest.mark.parametrize("named", [True, False], ids=["with providers", "without"])
def test_litellm_is_imported_for_providers_only(named: bool) -> None:
    """A gateway whose file names none serves without ever importing it, although it is installed."""
    with SimWorker(Settings(model=OPENAI)) as worker:
        config: dict[str, Any] = {
            "models": [{"name": OPENAI, "workers": [{"url": worker.url}]}],
            "tenants": [{"id": "acme", "keys": [{"id": "acme-test", "secret": TEST_KEY}]}],
        }
        if named:
            config["fallback_providers"] = {"cloud": {"model": "openai/gemma-3-27b-it"}}
        with GatewayProcess(config, program=("-X", "importtime", "-m", "gateway")) as gateway:
            wait_until_up(gateway)
            assert ask(gateway.port, request(chat_body("Hello", model=OPENAI))).status == 200
            names = {line.rpartition("|")[2].strip() for line in gateway.stderr.splitlines() if "|" in line}
    packages = {name.partition(".")[0] for name in names}
    assert ("litellm" in packages) == named
    assert "gateway" in packages
