"""LangChain's ChatOpenAI: bound tools, and the agent that LangChain builds around them, in every dialect."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

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

EITHER_WAY = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def get_weather(city: str, days: int) -> str:
    """The weather of the next days."""
    assert (city, days) == ("Paris", 2)
    return RESULTS["get_weather"]


def get_time(zone: str) -> str:
    """The time of day."""
    assert zone == "Asia/Tokyo"
    return RESULTS["get_time"]


TOOLS = [tool(get_weather), tool(get_time)]


@pytest.fixture
def chat(speaker: Speaker) -> Callable[..., ChatOpenAI]:
    """The speaker's model, with the given options."""

    def make(**options: Any) -> ChatOpenAI:
        return ChatOpenAI(
            model=speaker.model,
            base_url=speaker.base_url,
            api_key=lambda: TEST_KEY,
            max_retries=0,
            timeout=15,
            **options,
        )

    return make


def ask(model: Any, messages: list[BaseMessage], *, stream: bool) -> AIMessage:
    """One turn of the model."""
    if not stream:
        answer = model.invoke(messages)
        assert isinstance(answer, AIMessage)
        return answer
    chunks = list(model.stream(messages))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert isinstance(whole, AIMessageChunk)
    return whole


def called(message: AIMessage) -> list[tuple[str, dict[str, Any]]]:
    assert not message.invalid_tool_calls
    return [(call["name"], call["args"]) for call in message.tool_calls]


@EITHER_WAY
def test_bound_tools(chat: Callable[..., ChatOpenAI], speaker: Speaker, *, stream: bool) -> None:
    """A loop written by hand: two calls at once, their results, the answer."""
    speaker.will_call(WEATHER, TIME)
    speaker.will_say(ANSWER)
    model = chat().bind_tools(TOOLS)
    messages: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage(QUESTION)]
    turn = ask(model, messages, stream=stream)
    assert called(turn) == [WEATHER, TIME]
    assert turn.response_metadata["finish_reason"] == "tool_calls"
    messages += [turn, *(ToolMessage(RESULTS[call["name"]], tool_call_id=call["id"]) for call in turn.tool_calls)]
    assert ask(model, messages, stream=stream).text == ANSWER
    check_first_request(speaker, speaker.asked[0])
    check_second_request(speaker, speaker.asked[1], calls=2)


@EITHER_WAY
def test_an_agent_ends_in_an_answer(chat: Callable[..., ChatOpenAI], speaker: Speaker, *, stream: bool) -> None:
    """LangChain's own loop: a call, another call, the answer."""
    speaker.will_call(TIME)
    speaker.will_call(WEATHER)
    speaker.will_say(ANSWER)
    agent = create_agent(chat(streaming=stream), TOOLS, system_prompt="Be brief.")
    state = agent.invoke({"messages": [HumanMessage(QUESTION)]})
    *_, last = state["messages"]
    assert last.text == ANSWER
    assert [each.content for each in state["messages"] if isinstance(each, ToolMessage)] == [
        RESULTS["get_time"],
        RESULTS["get_weather"],
    ]
    assert len(speaker.asked) == 3
    check_second_request(speaker, speaker.asked[2])


@EITHER_WAY
def test_a_call_is_required(chat: Callable[..., ChatOpenAI], speaker: Speaker, *, stream: bool) -> None:
    """`tool_choice="any"` is OpenAI's `required`; a name is a named choice."""
    speaker.will_call(WEATHER)
    speaker.will_call(TIME)
    messages: list[BaseMessage] = [HumanMessage(QUESTION)]
    assert called(ask(chat().bind_tools(TOOLS, tool_choice="any"), messages, stream=stream)) == [WEATHER]
    assert called(ask(chat().bind_tools(TOOLS, tool_choice="get_time"), messages, stream=stream)) == [TIME]
    assert all("structured_outputs" in seen.body for seen in speaker.asked)


@EITHER_WAY
def test_one_call_at_a_time(chat: Callable[..., ChatOpenAI], speaker: Speaker, *, stream: bool) -> None:
    """Without parallel calls there is one, and the worker is stopped there."""
    speaker.will_call(WEATHER, TIME, after="And so on. " * 50, delay_s=0.005)
    model = chat().bind_tools(TOOLS, parallel_tool_calls=False)
    assert called(ask(model, [HumanMessage(QUESTION)], stream=stream)) == [WEATHER]
    speaker.worker.wait_until(lambda worker: worker.running == 0)
    assert [seen.state for seen in speaker.asked] == ["aborted"]
