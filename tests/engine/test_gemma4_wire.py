"""Gemma 4's tokens and template on a real engine: what the Gemma 4 dialect will build on."""

import json
from typing import Any

import httpx2
import pytest

from tests.engine.conftest import RealEngine

CHAT = "/v1/chat/completions"
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather now",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Where", "enum": ["Oslo", "Rome"]}},
            "required": ["city"],
        },
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"b": 1, "a": "x"}'}}
ASKED = {"role": "user", "content": "hi"}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": '{"t":15}'}


def prompt(double: httpx2.Client, real: RealEngine, messages: list[Any], **fields: Any) -> str:
    """The text that the engine's template makes of a conversation."""
    body = {"model": real.model, "messages": messages, "return_token_strs": True, **fields}
    answer = double.post("/tokenize", json=body)
    assert answer.status_code == 200, answer.text
    numbers = answer.json()["tokens"]
    return str(double.post("/detokenize", json={"model": real.model, "tokens": numbers}).json()["prompt"])


@pytest.mark.parametrize(
    ("marker", "number"),
    [
        *(("<|tool>", 46), ("<tool|>", 47), ("<|tool_call>", 48), ("<tool_call|>", 49)),
        *(("<|tool_response>", 50), ("<tool_response|>", 51), ('<|"|>', 52), ("<|think|>", 98)),
        *(("<|channel>", 100), ("<channel|>", 101), ("<|turn>", 105), ("<turn|>", 106)),
    ],
)
def test_markers_have_the_ids_of_gemma4(
    double: httpx2.Client, gemma4_double: RealEngine, marker: str, number: int
) -> None:
    body = {"model": gemma4_double.model, "prompt": marker, "add_special_tokens": False}
    assert double.post("/tokenize", json=body).json()["tokens"] == [number]


def test_a_plain_turn_ends_in_an_empty_thought(double: httpx2.Client, gemma4_double: RealEngine) -> None:
    assert prompt(double, gemma4_double, [ASKED]) == (
        "<bos><|turn>user\nhi<turn|>\n<|turn>model\n<|channel>thought\n<channel|>"
    )


def test_thinking_is_asked_for_in_the_system_turn(double: httpx2.Client, gemma4_double: RealEngine) -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    assert prompt(double, gemma4_double, [{"role": "system", "content": " Be brief. "}, ASKED], **thinking) == (
        "<bos><|turn>system\n<|think|>\nBe brief.<turn|>\n<|turn>user\nhi<turn|>\n<|turn>model\n"
    )


def test_the_template_renders_declarations_calls_and_results(double: httpx2.Client, gemma4_double: RealEngine) -> None:
    """Members come sorted, a text result is a value, and the model turn goes on after the result."""
    assert prompt(double, gemma4_double, [ASKED, CALLED, RESULT], tools=[TOOL]) == (
        '<bos><|turn>system\n<|tool>declaration:get_weather{description:<|"|>Weather now<|"|>,parameters:{properties:'
        '{city:{description:<|"|>Where<|"|>,enum:[<|"|>Oslo<|"|>,<|"|>Rome<|"|>],type:<|"|>STRING<|"|>}},'
        'required:[<|"|>city<|"|>],type:<|"|>OBJECT<|"|>}}<tool|><turn|>\n<|turn>user\nhi<turn|>\n<|turn>model\n'
        '<|tool_call>call:get_weather{a:<|"|>x<|"|>,b:1}<tool_call|>'
        '<|tool_response>response:get_weather{value:<|"|>{"t":15}<|"|>}<tool_response|>'
    )


def test_unanswered_calls_dangle_and_orphan_results_vanish(double: httpx2.Client, gemma4_double: RealEngine) -> None:
    """Both are why the gateway refuses such conversations itself."""
    assert prompt(double, gemma4_double, [ASKED, CALLED]).endswith("<tool_call|><|tool_response>")
    assert "15" not in prompt(double, gemma4_double, [ASKED, RESULT])


def test_malformed_arguments_become_an_empty_object(double: httpx2.Client, gemma4_double: RealEngine) -> None:
    broken = {**CALL, "function": {"name": "get_weather", "arguments": '{"a": '}}
    text = prompt(double, gemma4_double, [ASKED, {**CALLED, "tool_calls": [broken]}, RESULT])
    assert "call:get_weather{}<tool_call|>" in text


def test_a_prefilled_call_continues_inside_the_call(double: httpx2.Client, gemma4_double: RealEngine) -> None:
    messages = [ASKED, {"role": "assistant", "content": "<|tool_call>call:get_weather{"}]
    going_on = {"add_generation_prompt": False, "continue_final_message": True}
    assert prompt(double, gemma4_double, messages, **going_on).endswith("<|turn>model\n<|tool_call>call:get_weather{")


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_an_engine_without_parsers_refuses_tool_choices(
    double: httpx2.Client, gemma4_double: RealEngine, choice: str
) -> None:
    body = {"model": gemma4_double.model, "messages": [ASKED], "tools": [TOOL], "tool_choice": choice, "max_tokens": 1}
    assert double.post(CHAT, json=body).status_code == 400


def constrained_call(real: RealEngine, **fields: Any) -> dict[str, Any]:
    """A request whose answer can only be one call, written with the real marker tokens."""
    quote = {"type": "token", "token": 52}
    text = {"type": "any_tokens", "exclude_tokens": [0, 1, 2, *range(46, 53), 100, 101, 105, 106]}
    elements = [
        {"type": "const_string", "value": "call:f{a:"},
        quote,
        text,
        quote,
        {"type": "const_string", "value": "}"},
    ]
    tag = {
        "type": "tag",
        "begin": {"type": "token", "token": 48},
        "content": {"type": "sequence", "elements": elements},
        "end": {"type": "token", "token": 49},
    }
    return {
        "model": real.model,
        "messages": [ASKED],
        "tools": [TOOL],
        "tool_choice": "none",
        "max_tokens": 40,
        "logit_bias": {"52": 100},
        "structured_outputs": {"structural_tag": json.dumps({"type": "structural_tag", "format": tag})},
        **fields,
    }


def test_raw_text_with_markers_comes_back_only_when_asked(double: httpx2.Client, gemma4_double: RealEngine) -> None:
    """A call enforced by token ids arrives as text; without `skip_special_tokens: false` its markers are gone."""
    raw = double.post(CHAT, json=constrained_call(gemma4_double, skip_special_tokens=False)).json()
    bare = double.post(CHAT, json=constrained_call(gemma4_double)).json()
    content = raw["choices"][0]["message"]["content"]
    assert content.startswith('<|tool_call>call:f{a:<|"|>')
    assert content.endswith('<|"|>}<tool_call|>')
    assert raw["choices"][0]["message"].get("tool_calls", []) in ([], None)
    assert bare["choices"][0]["message"]["content"].startswith("call:f{a:")


def test_streamed_raw_text_is_the_whole_raw_text(double: httpx2.Client, gemma4_double: RealEngine) -> None:
    body = constrained_call(gemma4_double, skip_special_tokens=False, stream=True)
    blocks = double.post(CHAT, json=body).text.removesuffix("\n\n").split("\n\n")
    deltas = [json.loads(block.removeprefix("data: "))["choices"][0]["delta"] for block in blocks[:-1]]
    text = "".join(delta.get("content") or "" for delta in deltas)
    assert text.startswith('<|tool_call>call:f{a:<|"|>')
    assert text.endswith('<|"|>}<tool_call|>')
    assert not any(delta.get("tool_calls") for delta in deltas)


def test_waiting_for_a_tool_result_stops_the_model(double: httpx2.Client, gemma4_double: RealEngine) -> None:
    """`<|tool_response>` is a stop token of the checkpoint; 50 as the reason means: now the tools."""
    body = {"model": gemma4_double.model, "messages": [ASKED], "max_tokens": 5, "allowed_token_ids": [50]}
    (choice,) = double.post(CHAT, json={**body, "stop_token_ids": [1, 106, 50]}).json()["choices"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", 50)
