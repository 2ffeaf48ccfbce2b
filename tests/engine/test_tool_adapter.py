"""A real Gemma that really calls tools: the adapter of `deploy/local/adapters`, by the OpenAI SDK through the gateway.

TESTS_FULL=1 asks all prompts; otherwise a fixed sample keeps the ring quick.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from openai import OpenAI

from tests.engine.conftest import TIMEOUT_S, RealEngine
from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_up

FULL = bool(os.environ.get("TESTS_FULL"))
PROMPTS = yaml.safe_load((Path(__file__).parents[1] / "data" / "tool_adapter_prompts.yaml").read_text())
CASES: list[Any] = [case for case in PROMPTS["cases"] if FULL or case.get("sample")]
MAY_FAIL = 2 if FULL else 1
"""Of 40, or of the sample, which the committed adapter gets right: another processor may round otherwise."""
LOOPS = 10 if FULL else 3
KINDS = {0: "no call", 1: "one call", 2: "two calls"}


@dataclass(frozen=True, slots=True)
class Model:
    """The adapter as a client has it."""

    client: OpenAI
    name: str

    def ask(self, messages: list[Any], tools: list[str], *, stream: bool = False) -> Any:
        """The assistant's message; greedy, so that a run can be repeated."""
        declared = [{"type": "function", "function": PROMPTS["tools"][name]} for name in tools]
        request: dict[str, Any] = {"model": self.name, "messages": messages, "temperature": 0, "max_tokens": 120}
        if declared:
            request |= {"tools": declared, "tool_choice": "auto"}
        if not stream:
            return self.client.chat.completions.create(**request).choices[0].message
        with self.client.chat.completions.stream(**request) as events:
            return events.get_final_completion().choices[0].message


@pytest.fixture(scope="module")
def adapter(gemma3: RealEngine) -> Iterator[Model]:
    """A gateway with the adapter as its model."""
    assert gemma3.adapter_model is not None
    model = {"name": gemma3.adapter_model, "variant": "gemma-3-270m-it", "workers": [{"url": gemma3.url}]}
    with (
        GatewayProcess(gateway_config(gemma3.url, models=[model])) as gateway,
        OpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=TIMEOUT_S) as client,
    ):
        wait_until_up(gateway)
        yield Model(client, gemma3.adapter_model)


def calls_of(message: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]


def is_right(message: Any, case: Any) -> bool:
    """The calls exactly as wanted and nothing else said, or words and no call."""
    wanted = [next(iter(call.items())) for call in case.get("calls", ())]
    if wanted:
        return calls_of(message) == wanted and not message.content
    return not message.tool_calls and bool(message.content) and '"parameters"' not in message.content


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_unseen_prompts_get_the_right_calls(adapter: Model, stream: bool) -> None:
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    wrong: list[str] = []
    for case in CASES:
        system = [{"role": "system", "content": case["system"]}] if "system" in case else []
        message = adapter.ask([*system, {"role": "user", "content": case["ask"]}], case["tools"], stream=stream)
        kind = KINDS[len(case.get("calls", ()))]
        asked[kind] += 1
        if is_right(message, case):
            right[kind] += 1
        else:
            wrong.append(f"{case['ask']} -> {calls_of(message) or message.content!r}")
    report = ", ".join(f"{kind} {right[kind]}/{asked[kind]}" for kind in asked)
    print(f"\nright: {right.total()} of {asked.total()} ({report})", *wrong, sep="\n  ")
    assert len(wrong) <= MAY_FAIL, wrong


CITIES = ("Bergen", "Turin", "Leeds", "Osaka", "Kiel", "Seville", "Malmo", "Bath", "Dubai", "Glasgow")


@pytest.mark.parametrize("number", range(LOOPS))
def test_an_agent_loop_runs_its_tool_and_ends_in_an_answer(adapter: Model, number: int) -> None:
    """The tool's result, which only the tool knows, is in the answer."""
    city, degrees = CITIES[number], 11 + 2 * number
    messages: list[Any] = [{"role": "user", "content": f"What is the weather in {city}?"}]
    for _ in range(4):
        message = adapter.ask(messages, ["known_weather", "known_timer"])
        messages.append(message)
        if not message.tool_calls:
            break
        for call in message.tool_calls:
            assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": city})
            result = json.dumps({"temperature": degrees, "sky": "cloudy"})
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    assert len(messages) == 4
    assert str(degrees) in messages[-1].content
