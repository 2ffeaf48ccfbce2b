"""A task that needs tools: the tools, what they return, and what each dialect's worker must be shown of it all."""

from typing import Any

from tests.support.sim_worker.journal import Seen
from tests.support.sim_worker.template import render
from tests.support.sim_worker.tokens import GEMMA_4
from tests.support.tool_deployment import Setup, Speaker

Json = Any

QUESTION = "What is the weather in Paris, and what time is it in Tokyo?"
WEATHER: tuple[str, dict[str, Json]] = ("get_weather", {"city": "Paris", "days": 2})
TIME: tuple[str, dict[str, Json]] = ("get_time", {"zone": "Asia/Tokyo"})
ANSWER = "It is 18 degrees in Paris, and 9 o'clock in Tokyo."
RESULTS = {"get_weather": '{"celsius": 18}', "get_time": "9 o'clock"}
TOOLS: list[dict[str, Json]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of the next days.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city", "days"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "get_time",
            "description": "The time of day.",
            "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]},
        },
    },
]
_STOP_IDS = {"gemma4": [1, 106, 50], "functiongemma": [1, 106, 50]}
_DECLARED = {
    "gemma4": "<|tool>declaration:get_weather{",
    "functiongemma": "<start_function_declaration>declaration:get_weather{",
    "gemma3-functioncall": "- get_weather: The weather of the next days.\n  Parameters: city (string), days (integer)",
}
_CALLED = {
    "gemma4": '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:2}<tool_call|>',
    "functiongemma": "<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:2}<end_function_call>",
    "gemma3-json": '{"name": "get_weather", "parameters": {"city": "Paris", "days": 2}}',
    "gemma3-python": 'get_weather(city="Paris", days=2)',
    "gemma3-toolcode": 'get_weather(city="Paris", days=2)',
    "gemma3-functioncall": 'FUNCTION_CALL: get_weather(city="Paris", days=2)',
}
_ANSWERED = {
    "gemma4": '<|tool_response>response:get_weather{value:<|"|>{"celsius": 18}<|"|>}<tool_response|>',
    "functiongemma": "<start_function_response>response:get_weather{celsius:18}<end_function_response>",
    "gemma3-json": '{"celsius": 18}</tool_response>',
    "gemma3-python": '{"celsius": 18}</tool_response>',
    "gemma3-toolcode": '{"celsius": 18}\n```',
    "gemma3-functioncall": 'FUNCTION_RESULT: get_weather: {"celsius": 18}',
}


def check_first_request(speaker: Speaker, seen: Seen) -> None:
    """The route and the fields that this worker needs, and the declarations where the model looks for them."""
    setup, body = speaker.setup, seen.body
    native = setup.dialect in _STOP_IDS
    assert body["stop_token_ids"] == _STOP_IDS.get(setup.dialect, [1, 106])
    assert body.get("skip_special_tokens", True) is not native
    assert seen.path == ("/v1/completions" if "prompt" in body else "/v1/chat/completions")
    assert ("prompt" in body) is ((setup.tool_parser and native) or setup.dialect == "functiongemma")
    if setup.dialect == "gemma4" and not setup.tool_parser:
        assert [tool["function"]["name"] for tool in body["tools"]] == ["get_weather", "get_time"]
        assert body["tool_choice"] == "none"
    else:
        assert body.keys().isdisjoint({"tools", "tool_choice", "parallel_tool_calls"})
    if "prompt" in body:
        assert body["add_special_tokens"] is False
    assert _DECLARED.get(setup.dialect, '"name": "get_weather"') in prompt_of(setup, seen)


def check_second_request(speaker: Speaker, seen: Seen, *, calls: int = 1) -> None:
    """The call that was made and its result, both in the dialect's own form, in this order."""
    dialect = speaker.setup.dialect
    prompt = prompt_of(speaker.setup, seen)
    called, answered = _CALLED[dialect], _ANSWERED[dialect]
    assert called in prompt
    assert answered in prompt[prompt.index(called) :]
    if calls > 1:
        assert RESULTS["get_time"] in prompt[prompt.index(answered) :]


def prompt_of(setup: Setup, seen: Seen) -> str:
    """The prompt as the model reads it."""
    prompt = seen.body.get("prompt")
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list):
        return GEMMA_4.decode(prompt)
    return render(setup.template, seen.body)
