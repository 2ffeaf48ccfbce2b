"""What becomes of tools on their way through the gateway into a real engine's prompt, and of a limit of one call."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from tests.engine.conftest import TIMEOUT_S, RealEngine
from tests.engine.test_enforced_calls import streamed, whole
from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_up
from tests.support.recording_proxy import RecordingProxy

CHAT = "/v1/chat/completions"
ASK: list[Any] = [{"role": "user", "content": "What is the weather in Oslo?"}]
WEATHER = {
    "name": "get_weather",
    "description": "Weather now",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}, "days": {"type": ["integer", "null"]}},
        "required": ["city"],
    },
}
TOOLS: list[Any] = [{"type": "function", "function": WEATHER}]


@dataclass(frozen=True, slots=True)
class Way:
    """A client, the gateway's model, and what the gateway sent to the engine."""

    client: OpenAI
    engine: RealEngine
    sent: RecordingProxy

    def ask(self, **fields: Any) -> int:
        """Ask through the gateway; return the tokens of the prompt that the engine read."""
        request = {"model": self.engine.model, "messages": ASK, "temperature": 1, "max_tokens": 8, **fields}
        answer = self.client.post("/chat/completions", body=request, cast_to=httpx2.Response)
        return int(answer.json()["usage"]["prompt_tokens"])

    def prompt(self) -> str:
        """The text of the prompt that the engine made of the last request, by its own token ids."""
        body = self.sent.bodies(CHAT)[-1]
        fields = ("messages", "tools", "chat_template_kwargs", "add_generation_prompt", "continue_final_message")
        asked = {"model": self.engine.model, **{name: body[name] for name in fields if name in body}}
        with self.engine_client() as engine:
            tokens = engine.post("/tokenize", json=asked).json()["tokens"]
            text = engine.post("/detokenize", json={"model": self.engine.model, "tokens": tokens}).json()["prompt"]
        return str(text)

    def engine_client(self) -> httpx2.Client:
        """The engine itself."""
        return httpx2.Client(base_url=self.engine.url, timeout=TIMEOUT_S)


@contextmanager
def way_to(engine: RealEngine) -> Generator[Way]:
    with RecordingProxy(engine.url) as proxy, GatewayProcess(gateway_config(proxy.url, model=engine.model)) as gateway:
        wait_until_up(gateway)
        with OpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
            yield Way(client, engine, proxy)
        gateway.close()


@pytest.fixture(scope="module")
def gemma3_way(gemma3: RealEngine) -> Iterator[Way]:
    with way_to(gemma3) as way:
        yield way


@pytest.fixture(scope="module")
def gemma4_way(gemma4_double: RealEngine) -> Iterator[Way]:
    with way_to(gemma4_double) as way:
        yield way


def test_declarations_reach_gemma3s_prompt(gemma3_way: Way) -> None:
    """Written into the user's turn, with the question behind them; what is charged is what was read."""
    tokens = gemma3_way.ask(tools=TOOLS)
    prompt = gemma3_way.prompt()
    assert prompt.startswith("<bos><start_of_turn>user\nYou have access to functions.")
    assert prompt.endswith("\n\nWhat is the weather in Oslo?<end_of_turn>\n<start_of_turn>model\n")
    declared = json.loads(prompt[prompt.index("\n[{") : prompt.rindex("]\n\n") + 1])
    assert [each["name"] for each in declared] == ["get_weather"]
    assert declared[0]["parameters"]["properties"]["city"]["enum"] == ["Oslo", "Rome"]
    assert 50 < tokens < 300


def test_declarations_reach_gemma4s_prompt(gemma4_way: Way) -> None:
    """In Gemma 4's own markers, by the checkpoint's template."""
    gemma4_way.ask(tools=TOOLS)
    prompt = gemma4_way.prompt()
    assert '<|tool>declaration:get_weather{description:<|"|>Weather now<|"|>' in prompt
    assert 'enum:[<|"|>Oslo<|"|>,<|"|>Rome<|"|>]' in prompt
    assert prompt.endswith(
        "<|turn>user\nWhat is the weather in Oslo?<turn|>\n<|turn>model\n<|channel>thought\n<channel|>"
    )


@pytest.mark.parametrize("engine", ["gemma3_way", "gemma4_way"])
def test_without_a_choice_no_declaration_reaches_the_prompt(engine: str, request: pytest.FixtureRequest) -> None:
    """`tool_choice: none` is a conversation without tools."""
    way: Way = request.getfixturevalue(engine)
    way.ask(tools=TOOLS, tool_choice="none")
    assert "get_weather" not in way.prompt()


@pytest.mark.parametrize("engine", ["gemma3_way", "gemma4_way"])
@pytest.mark.parametrize("read", [whole, streamed], ids=["whole", "streamed"])
def test_one_call_is_made_and_generating_stops(engine: str, read: Any, request: pytest.FixtureRequest) -> None:
    """A model that has to call, and may once only, ends with its first call, whatever room is left."""
    way: Way = request.getfixturevalue(engine)
    asked = {
        "model": way.engine.model,
        "messages": ASK,
        "tools": TOOLS,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": 900,
    }
    calls, reason = read(way.client, asked)
    assert [name for name, _ in calls] == ["get_weather"]
    assert json.loads(calls[0][1])["city"] in {"Oslo", "Rome"}
    assert reason == "tool_calls"
