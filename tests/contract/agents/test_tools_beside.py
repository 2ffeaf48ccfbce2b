"""Tools next to everything else that a chat request may say.

Much of it depends on the route that a dialect takes (the chat route, the completions route, around a parser): a few
dialects stand for all of them there.
"""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.support.gateway_process import TEST_KEY
from tests.support.tool_chat import EITHER_WAY, Turn, ask, ask_for_choices
from tests.support.tool_deployment import Speaker
from tests.support.tool_task import ANSWER, QUESTION, RESULTS, TIME, TOOLS, WEATHER, prompt_of

Json = Any
MARKED = ("gemma4", "gemma4 behind a parser", "functiongemma")
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5E"
    "rkJggg=="
)
FUNCTIONS = [tool["function"] for tool in TOOLS]
USER = [{"role": "user", "content": QUESTION}]


def spoken_by(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("speaker", names, indirect=True)


@pytest.fixture
def client(speaker: Speaker) -> Iterator[OpenAI]:
    with OpenAI(base_url=speaker.base_url, api_key=TEST_KEY, max_retries=0, timeout=15) as client:
        yield client


def strict(*tools: Json) -> list[Json]:
    return [{**tool, "function": {**tool["function"], "strict": True}} for tool in tools]


def call_of(call_id: str, call: tuple[str, dict[str, Json]]) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": call[0], "arguments": json.dumps(call[1])}}


def result_of(call_id: str, content: Json) -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


@EITHER_WAY
@spoken_by(*MARKED)
def test_strict_tools_leave_prose_free(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """With `auto` the engine is held to the schema from a call's marker on, the model's own token, and only then."""
    speaker.will_call(WEATHER, before="Well, let me see.")
    turn = ask(client, speaker.model, USER, stream=stream, tools=strict(*TOOLS))
    assert (turn.content, turn.called, turn.finish_reason) == ("Well, let me see.", [WEATHER], "tool_calls")
    (seen,) = speaker.asked
    told = json.loads(seen.body["structured_outputs"]["structural_tag"])["format"]
    assert (told["type"], told["trigger_tokens"]) == ("token_triggered_tags", [48])
    (tag,) = told["tags"]
    assert (tag["begin"]["token"], tag["end"]["token"]) == (48, 49)
    assert "get_weather" in tag["content"]["grammar"]
    assert prompt_of(speaker.setup, seen).endswith(("<|turn>model\n", "<start_of_turn>model\n", "<channel|>"))


@spoken_by("gemma3-json", "gemma3-python")
def test_strict_tools_of_calls_that_are_text(client: OpenAI, speaker: Speaker) -> None:
    """There a call's beginning is its trigger."""
    speaker.will_say(ANSWER)
    assert ask(client, speaker.model, USER, stream=True, tools=strict(*TOOLS)).content == ANSWER
    (seen,) = speaker.asked
    told = json.loads(seen.body["structured_outputs"]["structural_tag"])["format"]
    assert told["type"] == "triggered_tags"
    assert [tag["begin"] for tag in told["tags"]] == told["triggers"]
    assert ["get_weather" in told["triggers"][0], "get_time" in told["triggers"][1]] == [True, True]


@EITHER_WAY
@spoken_by(*MARKED, "gemma3-json")
def test_strict_arguments_that_break_the_schema(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """Where the engine keeps no grammar, the reply is asked for again whole, and an error in a stream."""
    speaker.will_call(("get_weather", {"city": "Paris", "days": "many"}))
    speaker.will_call(WEATHER)
    if stream:
        with pytest.raises(openai.APIError, match="get_weather"):
            ask(client, speaker.model, USER, stream=True, tools=strict(*TOOLS))
    else:
        assert ask(client, speaker.model, USER, stream=False, tools=strict(*TOOLS)).called == [WEATHER]
        assert len(speaker.asked) == 2


@EITHER_WAY
@spoken_by("gemma4", "functiongemma", "gemma3-json", "gemma3-functioncall")
def test_several_choices(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """Each choice is read by itself: calls in one, prose in the next, whatever the order in which chunks come."""
    calls = speaker.turn_with(TIME, WEATHER)
    speaker.will_say(calls, ANSWER, speaker.turn_with(WEATHER, before="One moment."))
    first, second, third = ask_for_choices(client, speaker.model, USER, stream=stream, n=3)
    assert (first.called, first.content, first.finish_reason) == ([TIME, WEATHER], None, "tool_calls")
    assert (second.called, second.content, second.finish_reason) == ([], ANSWER, "stop")
    assert (third.called, third.content, third.finish_reason) == ([WEATHER], "One moment.", "tool_calls")
    assert len({call["id"] for call in first.calls + third.calls}) == 3


@EITHER_WAY
@spoken_by("gemma4", "gemma3-json")
def test_one_call_in_each_of_several_choices(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """The worker goes on until the last choice has its call."""
    speaker.will_say(speaker.turn_with(TIME, WEATHER), speaker.turn_with(WEATHER, TIME, before="I'll look. " * 20))
    turns = ask_for_choices(client, speaker.model, USER, stream=stream, n=2, parallel_tool_calls=False)
    assert [turn.called for turn in turns] == [[TIME], [WEATHER]]
    assert [turn.finish_reason for turn in turns] == ["tool_calls"] * 2


@EITHER_WAY
@pytest.mark.parametrize("fields", [{}, {"stop": ["never"]}, {"parallel_tool_calls": False}])
@spoken_by("gemma4", "gemma3-json")
def test_log_probabilities_of_prose(client: OpenAI, speaker: Speaker, fields: dict[str, Json], *, stream: bool) -> None:
    """They belong to the text that the client sees, token by token, held back or not."""
    prose = f"{ANSWER} See [this] < that, {{'name': 3}}\n[get_weather ] and\nget_time for it, nev er. "
    speaker.will_say(prose)
    turn = ask(client, speaker.model, USER, stream=stream, logprobs=True, top_logprobs=2, **fields)
    assert turn.content == prose
    assert "".join(each["token"] for each in turn.logprobs).removesuffix("<end_of_turn>") == prose
    assert all(len(each["top_logprobs"]) == 2 for each in turn.logprobs)


@EITHER_WAY
@spoken_by("gemma4", "gemma4 behind a parser", "functiongemma", "gemma3-json", "gemma3-functioncall")
def test_log_probabilities_of_calls(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """A call's tokens are not the client's text: none of them is told, and no call is lost over it."""
    speaker.will_call(WEATHER)
    turn = ask(client, speaker.model, USER, stream=stream, logprobs=True, top_logprobs=2)
    assert (turn.called, turn.logprobs) == ([WEATHER], [])


@EITHER_WAY
@spoken_by("gemma4", "gemma3-json")
def test_images(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """An image stays where it is among declarations, calls and results."""
    looked: list[Json] = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Where is this,"},
                {"type": "image_url", "image_url": {"url": PICTURE}},
                {"type": "text", "text": "and what is the weather there?"},
            ],
        }
    ]
    speaker.will_call(WEATHER)
    speaker.will_say(ANSWER)
    turn = ask(client, speaker.model, looked, stream=stream)
    assert turn.called == [WEATHER]
    again = [*looked, turn.message, result_of(turn.calls[0]["id"], RESULTS["get_weather"])]
    assert ask(client, speaker.model, again, stream=stream).content == ANSWER
    for seen in speaker.asked:
        prompt = prompt_of(speaker.setup, seen)
        marker = "<|image|>" if speaker.setup.dialect == "gemma4" else "<start_of_image>"
        places = [prompt.index(part) for part in ("get_weather", "Where is this,", marker, "and what is the weather")]
        assert places == sorted(places)
        assert PICTURE in json.dumps(seen.body["messages"])


@spoken_by("gemma4 behind a parser")
def test_images_where_calls_would_be_lost(client: OpenAI, speaker: Speaker) -> None:
    """Media can't go around a worker's parser: prose still comes, and the log has named the flag."""
    speaker.will_say(ANSWER)
    content = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": PICTURE}}]
    assert ask(client, speaker.model, [{"role": "user", "content": content}], stream=False).content == ANSWER
    (seen,) = speaker.asked
    assert seen.path == "/v1/chat/completions"


def test_a_worker_with_a_parser_is_named(client: OpenAI, speaker: Speaker) -> None:
    """The log says which flag is in the way; nobody is told of workers without it."""
    speaker.will_call(WEATHER)
    assert ask(client, speaker.model, USER, stream=False).called == [WEATHER]
    named = [line for line in speaker.gateway.stderr.splitlines() if "--enable-auto-tool-choice" in line]
    assert any(speaker.model in line for line in named) is speaker.setup.tool_parser


@EITHER_WAY
def test_developer_messages(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """OpenAI's newer name for the system role, wherever it stands, reaches the model next to the tools."""
    speaker.will_call(WEATHER)
    messages = [{"role": "developer", "content": "Be brief."}, *USER, {"role": "developer", "content": "Be kind."}]
    assert ask(client, speaker.model, messages, stream=stream).called == [WEATHER]
    prompt = prompt_of(speaker.setup, speaker.asked[0])
    places = [prompt.index(part) for part in ("Be brief.", "Be kind.", QUESTION)]
    assert places == sorted(places)
    assert "get_weather" in prompt


@EITHER_WAY
@spoken_by("gemma4", "gemma4 behind a parser", "functiongemma", "gemma3-json", "gemma3-functioncall")
def test_stop_strings(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """They end prose, whose generation ends with it, and never a call that has the string among its arguments."""
    odd = ("get_weather", {"city": "STOP HERE, Paris", "days": 2})
    speaker.will_call(odd, before="Let me see.")
    turn = ask(client, speaker.model, USER, stream=stream, stop=["STOP HERE"])
    assert (turn.content, turn.called, turn.finish_reason) == ("Let me see.", [odd], "tool_calls")
    speaker.will_say(f"One. STOP HERE{' and so on' * 400}", delay_s=0.002)
    turn = ask(client, speaker.model, USER, stream=stream, stop="STOP HERE")
    assert (turn.content, turn.called, turn.finish_reason) == ("One. ", [], "stop")
    speaker.worker.wait_until(lambda worker: worker.running == 0)
    first, second = speaker.asked
    assert "stop" not in first.body
    assert (second.state, second.frames_sent < 400) == ("aborted", True)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([*USER, result_of("x", "18")], "messages[1]"),
        ([*USER, {"role": "assistant", "content": "Hm."}, result_of("x", "18")], "messages[2]"),
        ([*USER, {"role": "assistant", "tool_calls": [call_of("x", WEATHER)]}, result_of("y", "18")], "messages[2]"),
        ([*USER, {"role": "assistant", "tool_calls": [call_of("x", WEATHER)]}, *USER], "messages[1].tool_calls"),
        ([*USER, {"role": "function", "name": "get_time", "content": "9"}], "messages[1]"),
    ],
)
@EITHER_WAY
@spoken_by("gemma4", "functiongemma", "gemma3-json")
def test_results_without_calls(
    client: OpenAI, speaker: Speaker, messages: list[Json], param: str, *, stream: bool
) -> None:
    """A template would drop them silently; a 400 names the message, and no worker is asked."""
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, speaker.model, messages, stream=stream)
    assert (caught.value.type, caught.value.param) == ("invalid_request_error", param)
    assert not speaker.asked


def test_results_in_any_order(client: OpenAI, speaker: Speaker) -> None:
    """Over several turns, in parts, with contents null, empty or absent: each result stands with its call."""
    speaker.will_say(ANSWER)
    messages: list[Json] = [
        *USER,
        {"role": "assistant", "content": None, "tool_calls": [call_of("a", WEATHER), call_of("b", TIME)]},
        result_of("b", [{"type": "text", "text": "B1"}, {"type": "text", "text": "B2"}]),
        result_of("a", "A1"),
        {"role": "assistant", "content": "", "tool_calls": [call_of("c", TIME)]},
        result_of("c", "C1"),
        {"role": "assistant", "tool_calls": [call_of("a", WEATHER)]},
        result_of("a", "A2"),
        {"role": "assistant", "content": None},
        {"role": "assistant", "content": "So far."},
        {"role": "user", "content": "Sum it up."},
    ]
    assert ask(client, speaker.model, messages, stream=False).content == ANSWER
    prompt = prompt_of(speaker.setup, speaker.asked[0])
    places = [prompt.index(part) for part in (QUESTION, "A1", "B1", "B2", "C1", "A2", "So far.", "Sum it up.")]
    assert places == sorted(places)
    assert prompt.count("Asia/Tokyo") == 2
    assert "None" not in prompt[prompt.index(QUESTION) :]


@EITHER_WAY
def test_names_that_a_dialect_cannot_write(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """The model sees names that it can write, the client its own, in answers and in what it sends back."""
    names = ["get-it", "get_it", "2nd-try"]
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in names]
    maps = speaker.setup.dialect in ("gemma3-python", "gemma3-toolcode")
    written = ["get_it", "get_it_2", "_2nd_try"] if maps else names
    speaker.will_call(*((name, {"n": number}) for number, name in enumerate(written)))
    speaker.will_say(ANSWER)
    turn = ask(client, speaker.model, USER, stream=stream, tools=tools)
    assert turn.called == [(name, {"n": number}) for number, name in enumerate(names)]
    again = [*USER, turn.message, *(result_of(call["id"], "done") for call in turn.calls)]
    assert ask(client, speaker.model, again, stream=stream, tools=tools).content == ANSWER
    prompt = prompt_of(speaker.setup, speaker.asked[1])
    assert all(prompt.count(name) >= 2 for name in written)
    assert not (maps and "2nd-try" in prompt)


def test_names_that_openai_refuses(client: OpenAI, speaker: Speaker) -> None:
    """Dots and spaces: a 400 that names the tool."""
    for name in ("a.b-c", "a b", "x" * 65, ""):
        tools = [TOOLS[0], {"type": "function", "function": {"name": name}}]
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, speaker.model, USER, stream=False, tools=tools)
        assert caught.value.param == "tools[1].function.name"


@EITHER_WAY
def test_functions(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """The older fields all the way round: one call, its finish reason, its result by name."""
    speaker.will_call(WEATHER, TIME)
    speaker.will_say(ANSWER)
    turn = ask(client, speaker.model, USER, stream=stream, tools=openai.omit, functions=FUNCTIONS)
    assert (turn.content, turn.calls, turn.finish_reason) == (None, [], "function_call")
    assert turn.function_call is not None
    assert (turn.function_call["name"], json.loads(turn.function_call["arguments"])) == WEATHER
    again = [
        *USER,
        {"role": "assistant", "content": None, "function_call": turn.function_call},
        {"role": "function", "name": "get_weather", "content": RESULTS["get_weather"]},
    ]
    last = ask(client, speaker.model, again, stream=stream, tools=openai.omit, functions=FUNCTIONS)
    assert (last.content, last.function_call, last.finish_reason) == (ANSWER, None, "stop")
    assert "celsius" in prompt_of(speaker.setup, speaker.asked[1])


@EITHER_WAY
@spoken_by("gemma4", "gemma3-json")
def test_a_function_that_must_be_called(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """`function_call` may name one."""
    speaker.will_call(TIME)
    named = {"name": "get_time"}
    turn = ask(client, speaker.model, USER, stream=stream, tools=openai.omit, functions=FUNCTIONS, function_call=named)
    assert turn.function_call is not None
    assert turn.function_call["name"] == "get_time"


THOUGHT = "<|channel>thought\nParis first.<channel|>"


@EITHER_WAY
@pytest.mark.parametrize(
    "fields", [{"reasoning_effort": "low"}, {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}]
)
@spoken_by("gemma4", "gemma4 behind a parser")
def test_thoughts_before_calls(client: OpenAI, speaker: Speaker, fields: dict[str, Json], *, stream: bool) -> None:
    """They are told as reasoning; after a result the model thinks on in its open channel."""
    speaker.will_say(THOUGHT + speaker.turn_with(WEATHER))
    speaker.will_say(f"<|channel>thought\nNow I know.<channel|>{ANSWER}")
    turn = ask(client, speaker.model, USER, stream=stream, **fields)
    assert (turn.reasoning, turn.content, turn.called) == ("Paris first.", None, [WEATHER])
    assert turn.finish_reason == "tool_calls"
    again = [*USER, turn.message, result_of(turn.calls[0]["id"], "18")]
    last = ask(client, speaker.model, again, stream=stream, **fields)
    assert (last.reasoning, last.content, last.called) == ("Now I know.", ANSWER, [])
    for seen in speaker.asked:
        assert "<|think|>" in prompt_of(speaker.setup, seen)


@EITHER_WAY
@spoken_by("gemma4")
def test_thoughts_that_nobody_asked_for(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """Switched off they are no content either, and `include_reasoning: false` keeps them back."""
    for fields, told in (({"reasoning_effort": "none"}, "Paris first."), ({"include_reasoning": False}, "")):
        speaker.will_say(THOUGHT + speaker.turn_with(WEATHER))
        turn = ask(client, speaker.model, USER, stream=stream, extra_body=fields)
        assert (turn.reasoning, turn.content, turn.called) == (told, None, [WEATHER])
        assert "<|think|>" not in prompt_of(speaker.setup, speaker.asked[-1])


@EITHER_WAY
def test_length_inside_a_call(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """What there is of the call leaves as valid JSON, and `length` says that it isn't all of it."""
    speaker.will_call(("get_weather", {"city": "Llanfairpwllgwyngyll " * 20, "days": 2}))
    turn: Turn = ask(client, speaker.model, USER, stream=stream, max_tokens=20)
    assert turn.finish_reason == "length"
    ((name, arguments),) = turn.called
    assert name == "get_weather"
    assert arguments["city"].startswith("Llanfairpwllgwyngyll")
    assert turn.content is None


@EITHER_WAY
@spoken_by("gemma4", "functiongemma", "gemma3-json", "gemma3-functioncall")
def test_length_in_prose(client: OpenAI, speaker: Speaker, *, stream: bool) -> None:
    """And behind a whole call."""
    speaker.will_say(ANSWER * 10)
    turn = ask(client, speaker.model, USER, stream=stream, max_tokens=5)
    assert (turn.called, turn.finish_reason) == ([], "length")
    assert turn.content
    assert ANSWER.startswith(turn.content)
