"""Every documented field of a chat request: good values decode, bad ones are a 400 that names the field."""

import json
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.wire.chat import FORWARDED, ChatRequest, parse_chat_request

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def parse(**fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return parse_chat_request(json.dumps(body).encode())


def refuse(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    return caught.value


GOOD: dict[str, list[Any]] = {
    "frequency_penalty": [-2, 0.5, 2, None],
    "function_call": ["none", "auto", None],
    "functions": [[{"name": "f"}], None],
    "include_reasoning": [True, False],
    "logit_bias": [{}, {"50256": -100}, {"1": 0.5}],
    "logprobs": [True, False, None],
    "max_completion_tokens": [1, 4096, None],
    "max_tokens": [1, None],
    "metadata": [{"a": "b"}],
    "min_p": [0, 0.1, 1],
    "min_tokens": [0, 5],
    "modalities": [["text"], None],
    "n": [1, 16],
    "parallel_tool_calls": [True, False],
    "prediction": [{"type": "content", "content": "x"}],
    "presence_penalty": [-2, 2],
    "prompt_cache_key": ["k"],
    "reasoning_effort": ["none", "minimal", "low", "medium", "high"],
    "repetition_penalty": [0.5, 1.1],
    "response_format": [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "a-b_1", "schema": {"type": "object"}, "strict": True}},
    ],
    "safety_identifier": ["s"],
    "seed": [0, -1, 2**63 - 1],
    "service_tier": ["auto"],
    "stop": ["a", ["a", "b", "c", "d"], [], None],
    "store": [True],
    "stream": [True, False, None],
    "structured_outputs": [{"regex": "a+"}],
    "temperature": [0, 1, 2, 0.7],
    "thinking_token_budget": [0, 100],
    "tool_choice": ["none", "auto"],
    "tools": [[TOOL]],
    "top_k": [-1, 0, 40],
    "top_p": [0.01, 1],
    "user": ["u"],
    "verbosity": ["low"],
    "web_search_options": [{}],
}

BAD: dict[str, list[Any]] = {
    "frequency_penalty": [-2.1, 3, "1", True, []],
    "function_call": ["maybe", 3],
    "functions": [[], [{}], {}],
    "include_reasoning": ["yes"],
    "logit_bias": [{"a": 1}, {"1": 101}, [], {"1": "x"}],
    "logprobs": [1, "true"],
    "max_completion_tokens": [0, -1, 1.5, "10", True],
    "max_tokens": [0, "1", 2**40],
    "metadata": [{"a": 1}, "x"],
    "min_p": [-0.1, 2],
    "min_tokens": [-1, "x"],
    "modalities": [["video"], "text", ["text", "audio"]],
    "model": [1, None, "", "x" * 300],
    "messages": [[], None, {}, "hi", [[]], [{"content": "x"}], [{"role": "robot", "content": "x"}]],
    "n": [0, 17, 1.5, "2"],
    "parallel_tool_calls": ["no"],
    "presence_penalty": [-3, "x"],
    "reasoning_effort": ["extreme", 3],
    "repetition_penalty": [0, -1],
    "response_format": [{"type": "xml"}, {}, "json", {"type": "json_schema"}],
    "seed": [1.5, "1", 2**63],
    "stop": [1, ["a", "b", "c", "d", "e"], [1], "", [""]],
    "store": ["x"],
    "stream": ["true", 1],
    "stream_options": [{"include_usage": "x"}, 1],
    "structured_outputs": ["x"],
    "temperature": [-0.1, 2.1, "hot", True],
    "tools": [[], [{}], [{"type": "function"}], [{"type": "magic", "function": {"name": "f"}}], {}],
    "top_k": [-2, 1.5],
    "top_logprobs": [-1, 21, "x"],
    "top_p": [0, 1.1, "x"],
    "user": [1],
    "verbosity": ["loud"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_accepts(name: str, value: Any) -> None:
    """Documented values decode."""
    assert isinstance(parse(**{name: value}), ChatRequest)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_refuses_and_names_the_field(name: str, value: Any) -> None:
    """Anything else is a 400 whose `param` begins with the field, and whose message is a sentence."""
    error = refuse(**{name: value})
    assert error.status == 400
    assert (error.param or "").split("[")[0].split(".")[0] == name
    assert error.message.endswith(".")
    assert "`" not in error.message


def test_every_forwarded_field_is_a_field_of_the_request() -> None:
    """The allowlist names nothing that isn't decoded."""
    assert set(FORWARDED) <= set(ChatRequest.__struct_fields__)


@pytest.mark.parametrize(
    "name",
    ["priority", "cache_salt", "chat_template", "kv_transfer_params", "stop_token_ids", "prompt_embeds", "documents"],
)
def test_drops_what_is_the_operators(name: str) -> None:
    """A tenant can't set what steers the engine for others."""
    assert not hasattr(parse(**{name: "x"}), name)


def test_ignores_unknown_fields() -> None:
    """SDKs add fields often; what isn't known has no effect."""
    assert parse(brand_new_field={"deep": [1, 2, 3]}).model == "m"


def test_null_is_absent() -> None:
    """Optional fields may be null, as typed clients send them."""
    assert parse(**dict.fromkeys(FORWARDED)) == parse()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"top_logprobs": 3, "logprobs": False}, "top_logprobs"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"tools": [TOOL], "functions": [{"name": "f"}]}, "functions"),
    ],
)
def test_fields_that_need_each_other(fields: dict[str, Any], param: str) -> None:
    """A field without the one it belongs to is refused as OpenAI does."""
    assert refuse(**fields).param == param


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"model":"m",}', "not valid JSON"),
        (b'{"model":"m\x00"}', "not valid JSON"),
        (b'{"model":"\xff"}', "not UTF-8"),
        (b'{"model":"\\ud800","messages":[]}', "not valid JSON"),
        (b'{"temperature":NaN}', "not valid JSON"),
        (b"[]", "expected an object"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"model":"m"}', "Missing required parameter: 'messages'"),
    ],
)
def test_bodies_that_are_no_request(body: bytes, words: str) -> None:
    """What isn't a JSON object of the right shape says so, without a trace of the decoder."""
    with pytest.raises(InvalidRequest) as caught:
        parse_chat_request(body)
    assert words in caught.value.message


def test_names_the_part_at_fault() -> None:
    """`param` goes all the way down."""
    assert refuse(messages=[{"role": "user", "content": [{"type": "text"}]}]).param == "messages[0].content[0].text"
    assert refuse(messages=[{"role": "user", "content": [{"type": "x"}]}]).param == "messages[0].content[0].type"
    assert refuse(messages=[{"role": "tool", "content": "x"}]).param == "messages[0].tool_call_id"
    assert refuse(tools=[{"type": "function", "function": {"name": "a b"}}]).param == "tools[0].function.name"
