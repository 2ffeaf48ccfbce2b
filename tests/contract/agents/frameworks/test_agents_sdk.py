"""The OpenAI Agents SDK in chat completions mode: its own loop runs the tools, in every dialect."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    RunResult,
    RunResultStreaming,
    StopAtTools,
    function_tool,
)
from openai import AsyncOpenAI

from tests.support.gateway_process import TEST_KEY
from tests.support.tool_deployment import Speaker
from tests.support.tool_task import (
    ANSWER,
    QUESTION,
    RESULTS,
    TIME,
    WEATHER,
    check_first_request,
    check_second_request,
)

pytestmark = pytest.mark.anyio
EITHER_WAY = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


class Desk:
    """An agent with its tools, which note how they were called."""

    def __init__(self, client: AsyncOpenAI, model: str, **settings: Any) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        stop = settings.pop("stop_at", None)
        self.agent = Agent(
            name="desk",
            instructions="Be brief.",
            model=OpenAIChatCompletionsModel(model=model, openai_client=client),
            model_settings=ModelSettings(include_usage=True, **settings),
            tools=self._tools(),
            tool_use_behavior=StopAtTools(stop_at_tool_names=stop) if stop else "run_llm_again",
        )

    def _tools(self) -> list[Any]:
        def get_weather(city: str, days: int) -> str:
            """The weather of the next days."""
            self.calls.append(("get_weather", {"city": city, "days": days}))
            return RESULTS["get_weather"]

        def get_time(zone: str) -> str:
            """The time of day."""
            self.calls.append(("get_time", {"zone": zone}))
            return RESULTS["get_time"]

        return [function_tool(get_weather, strict_mode=False), function_tool(get_time)]

    async def run(self, *, stream: bool) -> RunResult | RunResultStreaming:
        """The loop, to its end."""
        quiet = RunConfig(tracing_disabled=True)
        if not stream:
            return await Runner.run(self.agent, QUESTION, run_config=quiet)
        result = Runner.run_streamed(self.agent, QUESTION, run_config=quiet)
        async for _ in result.stream_events():
            pass
        return result


@pytest.fixture
async def client(speaker: Speaker) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=speaker.base_url, api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


@EITHER_WAY
async def test_a_loop_ends_in_an_answer(client: AsyncOpenAI, speaker: Speaker, *, stream: bool) -> None:
    """One call, then two in parallel, then the answer; every tool runs once, with the right arguments."""
    speaker.will_call(WEATHER)
    speaker.will_call(WEATHER, TIME)
    speaker.will_say(ANSWER)
    desk = Desk(client, speaker.model)
    result = await desk.run(stream=stream)
    assert result.final_output == ANSWER
    assert desk.calls[0] == WEATHER
    assert sorted(desk.calls[1:]) == [TIME, WEATHER]
    assert result.context_wrapper.usage.requests == 3
    assert result.context_wrapper.usage.output_tokens > 0
    check_first_request(speaker, speaker.asked[0])
    check_second_request(speaker, speaker.asked[1])
    check_second_request(speaker, speaker.asked[2], calls=2)


def demands_a_call(body: Mapping[str, Any]) -> bool:
    """Whether the worker must begin with a call; strict tools alone bind it only once it has begun one."""
    constraint = str(body.get("structured_outputs", ""))
    return bool(constraint) and "triggered_tags" not in constraint


@EITHER_WAY
async def test_a_call_is_required(client: AsyncOpenAI, speaker: Speaker, *, stream: bool) -> None:
    """The agent must begin with a tool; the SDK lifts that after the first one."""
    speaker.will_call(WEATHER)
    speaker.will_say(ANSWER)
    desk = Desk(client, speaker.model, tool_choice="required")
    result = await desk.run(stream=stream)
    assert result.final_output == ANSWER
    assert desk.calls == [WEATHER]
    first, second = speaker.asked
    assert demands_a_call(first.body)
    assert not demands_a_call(second.body)


@EITHER_WAY
async def test_one_call_at_a_time(client: AsyncOpenAI, speaker: Speaker, *, stream: bool) -> None:
    """The agent that wants no parallel calls gets one, and the worker is stopped there."""
    speaker.will_call(WEATHER, TIME, after="And so on. " * 50, delay_s=0.005)
    desk = Desk(client, speaker.model, parallel_tool_calls=False, stop_at=["get_weather"])
    result = await desk.run(stream=stream)
    assert result.final_output == RESULTS["get_weather"]
    assert desk.calls == [WEATHER]
    speaker.worker.wait_until(lambda worker: worker.running == 0)
    assert [seen.state for seen in speaker.asked] == ["aborted"]
