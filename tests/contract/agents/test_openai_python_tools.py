"""Tools with openai-python, in every dialect, streamed and not. Run with openai 3.x and with openai 2.x."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.gateway_process import TEST_KEY
from tests.support.tool_chat import EITHER_WAY, Turn, ask
from tests.support.tool_deployment import Speaker
from tests.support.tool_task import (
    ANSWER,
    QUESTION,
    RESULTS,
    TIME,
    TOOLS,
    WEATHER,
    check_first_request,
    check_second_request,
    prompt_of,
)

BEFORE = "Let me have a look at that for you."


@pytest.fixture
def client(speaker: Speaker) -> Iterator[OpenAI]:
    with OpenAI(base_url=speaker.base_url, api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


def user() -> list[Any]:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]


def answered(messages: list[Any], turn: Turn) -> list[Any]:
    """The conversation after the agent ran the tools."""
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": RESULTS[call["function"]["name"]]}
        for call in turn.calls
    ]
    return [*messages, turn.message, *results]


@EITHER_WAY
def test_one_call(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """The loop: a call, its result, an answer; the worker is shown all of it in the dialect's form."""
    speaker.will_call(WEATHER)
    speaker.will_say(ANSWER)
    turn = ask(client, speaker.model, user(), stream=stream)
    assert turn.called == [WEATHER]
    assert turn.content is None
    assert turn.finish_reason == "tool_calls"
    last = ask(client, speaker.model, answered(user(), turn), stream=stream)
    assert (last.content, last.finish_reason, last.calls) == (ANSWER, "stop", [])
    first, second = speaker.asked
    check_first_request(speaker, first)
    check_second_request(speaker, second)


@EITHER_WAY
def test_calls_in_parallel(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """Two calls in one turn keep their order and have ids of their own; text before them stays text."""
    speaker.will_call(WEATHER, TIME, before=BEFORE)
    speaker.will_say(ANSWER)
    turn = ask(client, speaker.model, user(), stream=stream)
    assert turn.called == [WEATHER, TIME]
    assert turn.content == BEFORE
    assert turn.finish_reason == "tool_calls"
    assert len({call["id"] for call in turn.calls}) == 2
    last = ask(client, speaker.model, answered(user(), turn), stream=stream)
    assert last.content == ANSWER
    check_second_request(speaker, speaker.asked[1], calls=2)


@EITHER_WAY
def test_call_after_call(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """An agent that needs three turns: each call sees the results of those before it."""
    speaker.will_call(TIME)
    speaker.will_call(WEATHER)
    speaker.will_say(ANSWER)
    messages = user()
    for expected in (TIME, WEATHER):
        turn = ask(client, speaker.model, messages, stream=stream)
        assert turn.called == [expected]
        messages = answered(messages, turn)
    assert ask(client, speaker.model, messages, stream=stream).content == ANSWER
    check_second_request(speaker, speaker.asked[2])


@EITHER_WAY
def test_a_call_is_required(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """The worker begins inside a call and is held to the schema; the client sees a whole call."""
    speaker.will_call(WEATHER)
    turn = ask(client, speaker.model, user(), stream=stream, tool_choice="required")
    assert turn.called == [WEATHER]
    assert turn.finish_reason == "tool_calls"
    (seen,) = speaker.asked
    assert "grammar" in seen.body["structured_outputs"]


@EITHER_WAY
def test_a_named_call_is_required(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """Only that function is declared; OpenAI's finish reason is `stop` then."""
    speaker.will_call(TIME)
    named = {"type": "function", "function": {"name": "get_time"}}
    turn = ask(client, speaker.model, user(), stream=stream, tool_choice=named)
    assert turn.called == [TIME]
    assert turn.finish_reason == "stop"
    (seen,) = speaker.asked
    assert "get_time" in prompt_of(speaker.setup, seen)
    assert "get_weather" not in prompt_of(speaker.setup, seen)


@EITHER_WAY
def test_a_required_call_that_never_comes(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """Prose is no call: the model is asked twice, then the client gets an error that says so."""
    for _ in range(2):
        speaker.will_say("I would rather not.")
    with pytest.raises(openai.APIError) as caught:
        ask(client, speaker.model, user(), stream=stream, tool_choice="required")
    assert "tool_choice" in str(caught.value)
    assert len(speaker.asked) == 2


@EITHER_WAY
def test_one_call_at_a_time(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """With `parallel_tool_calls: false` the first call is the only one, and the worker is stopped there."""
    speaker.will_call(WEATHER, TIME, after="And so on. " * 100, delay_s=0.005)
    turn = ask(client, speaker.model, user(), stream=stream, parallel_tool_calls=False)
    assert turn.called == [WEATHER]
    assert turn.finish_reason == "tool_calls"
    speaker.worker.wait_until(lambda worker: worker.running == 0)
    (seen,) = speaker.asked
    assert seen.state == "aborted"
    assert seen.frames_sent < 100


@EITHER_WAY
def test_no_call_is_wanted(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """With `tool_choice: "none"` nothing is declared, and a call that is made all the same vanishes."""
    speaker.will_call(WEATHER, before=BEFORE)
    turn = ask(client, speaker.model, user(), stream=stream, tool_choice="none")
    assert (turn.content, turn.calls, turn.finish_reason) == (BEFORE, [], "stop")
    (seen,) = speaker.asked
    assert "get_weather" not in prompt_of(speaker.setup, seen)


def test_typed_helpers(client: OpenAI, speaker: Speaker) -> None:
    """The SDK's own accumulator of streams arrives at the same call."""
    speaker.will_call(WEATHER)
    strict = [{**TOOLS[0], "function": {**TOOLS[0]["function"], "strict": True}}]
    body: dict[str, Any] = {"model": speaker.model, "messages": user(), "tools": strict}
    with client.chat.completions.stream(**body) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    (call,) = calls
    assert (call.function.name, call.function.parsed_arguments) == WEATHER
    assert "tool_calls.function.arguments.done" in events
