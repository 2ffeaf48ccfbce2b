"""Calls that have to fit, made by real engines: a weak Gemma at temperature 1, judged by a JSON Schema library.

Every request is one draw, without a seed: with one, vLLM 0.32's CPU build dies when a prompt is read in two steps
("CPU Generator does not use offset"). `deploy/local/test --full` makes 30 draws of each kind, a run in passing three.
"""

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import jsonschema
import openai
import pytest
from openai import OpenAI

from tests.engine.conftest import RealEngine

DRAWS = 30 if os.environ.get("TESTS_FULL") else 3
AT_ONCE = 5
ROOM = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "enum": ["single", "double", "suite"]},
        "guests": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "role": {"enum": ["adult", "child"]},
                    "age": {"type": "integer", "minimum": 0, "maximum": 99},
                },
                "required": ["role", "age"],
                "additionalProperties": False,
            },
            "minItems": 1,
            "maxItems": 2,
        },
        "place": {
            "type": "object",
            "properties": {
                "city": {"enum": ["Oslo", "Rome"]},
                "floor": {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
            },
            "required": ["city", "floor"],
            "additionalProperties": False,
        },
    },
    "required": ["kind", "guests", "place"],
    "additionalProperties": False,
}
TAGS = {
    "type": "object",
    "properties": {
        "tags": {"type": "array", "items": {"enum": ["new", "old", "red"]}, "maxItems": 3},
        "share": {"type": "number", "minimum": 0, "maximum": 1},
        "by": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}}, "required": ["name"]},
        "final": {"type": "boolean"},
    },
    "required": ["tags", "by"],
    "additionalProperties": False,
}
SCHEMAS = {"book_room": ROOM, "set_tags": TAGS}
ASK: list[Any] = [{"role": "user", "content": "Book a double room in Rome for two, and tag it."}]
REQUIRED = {"tool_choice": "required"}
NAMED = {"tool_choice": {"type": "function", "function": {"name": "book_room"}}}


def tools(*, strict: bool) -> list[Any]:
    return [
        {"type": "function", "function": {"name": name, "parameters": schema, "strict": strict}}
        for name, schema in SCHEMAS.items()
    ]


KINDS: dict[str, dict[str, Any]] = {
    "required": {"tools": tools(strict=False), **REQUIRED},
    "named": {"tools": tools(strict=False), **NAMED},
    "strict required": {"tools": tools(strict=True), **REQUIRED},
}


def draws(client: OpenAI, request: dict[str, Any]) -> Counter[str]:
    """What became of the requests: `valid`, or else what went wrong; half of them streamed."""

    def one(number: int) -> str:
        try:
            calls, reason = (streamed if number % 2 else whole)(client, request)
        except openai.APIStatusError as error:
            return f"{error.status_code} {error.code} {error.param}"
        if not calls:
            return f"no call, {reason}"
        for name, arguments in calls:
            try:
                jsonschema.validate(json.loads(arguments), SCHEMAS[name])
            except (ValueError, jsonschema.ValidationError) as error:
                return f"invalid, {reason}: {str(error).splitlines()[0]}"
        return "valid"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = Counter(pool.map(one, range(DRAWS)))
    print(dict(found))
    return found


def whole(client: OpenAI, request: dict[str, Any]) -> tuple[list[tuple[str, str]], str]:
    choice = client.chat.completions.create(**request).choices[0]
    calls = [call for call in choice.message.tool_calls or () if call.type == "function"]
    return [(call.function.name, call.function.arguments) for call in calls], choice.finish_reason


def streamed(client: OpenAI, request: dict[str, Any]) -> tuple[list[tuple[str, str]], str]:
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    reason = ""
    for chunk in client.chat.completions.create(**request, stream=True):
        for choice in chunk.choices:
            reason = choice.finish_reason or reason
            for call in choice.delta.tool_calls or ():
                if call.function and call.function.name:
                    names[call.index] = call.function.name
                if call.function and call.function.arguments:
                    arguments[call.index] = arguments.get(call.index, "") + call.function.arguments
    return [(name, arguments.get(index, "")) for index, name in names.items()], reason


@pytest.mark.parametrize("kind", KINDS)
def test_gemma3_makes_the_calls_it_must(client: OpenAI, gemma3: RealEngine, kind: str) -> None:
    """As text, under a grammar."""
    request = {"model": gemma3.model, "messages": ASK, "max_tokens": 220, "temperature": 1, **KINDS[kind]}
    assert draws(client, request) == {"valid": DRAWS}


@pytest.mark.parametrize("kind", KINDS)
def test_gemma4_makes_the_calls_it_must(client_of_double: OpenAI, gemma4_double: RealEngine, kind: str) -> None:
    """With its own markers, as tokens."""
    request = {"model": gemma4_double.model, "messages": ASK, "max_tokens": 220, "temperature": 1, **KINDS[kind]}
    assert draws(client_of_double, request) == {"valid": DRAWS}


def test_gemma4_keeps_strict_tools_once_a_call_has_begun(
    client_of_double: OpenAI, gemma4_double: RealEngine, markers: dict[str, int]
) -> None:
    """Nothing but the call's opening is asked for: a bias that makes the model choose its token."""
    request = {
        "model": gemma4_double.model,
        "messages": ASK,
        "max_tokens": 220,
        "temperature": 1,
        "tools": tools(strict=True),
        "parallel_tool_calls": False,
        "logit_bias": {str(markers["<|tool_call>"]): 100},
    }
    assert draws(client_of_double, request) == {"valid": DRAWS}


def test_gemma3_keeps_strict_tools_once_a_call_has_begun(client: OpenAI, gemma3: RealEngine) -> None:
    """After a history of calls even this model makes some; each is valid, or the error says that it wasn't."""
    request = {
        "model": gemma3.model,
        "messages": history(),
        "max_tokens": 220,
        "temperature": 0.7,
        "tools": tools(strict=True),
        "parallel_tool_calls": False,
    }
    found = draws(client, request)
    assert not [outcome for outcome in found if outcome.startswith("invalid")]
    assert {outcome for outcome in found if outcome[0].isdigit()} <= {"502 worker_error tools"}
    assert found["valid"]


def history() -> list[Any]:
    """A conversation in which every question was answered by a call."""
    messages: list[Any] = []
    for index, city in enumerate(("Oslo", "Rome", "Oslo", "Rome")):
        arguments = {
            "kind": "double",
            "guests": [{"role": "adult", "age": 30 + index}],
            "place": {"city": city, "floor": index},
        }
        messages += [
            {"role": "user", "content": f"Book a double room in {city}."},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": f"call_{index}",
                        "type": "function",
                        "function": {"name": "book_room", "arguments": json.dumps(arguments)},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": f"call_{index}", "content": "booked"},
        ]
    return [*messages, {"role": "user", "content": "Book a double room in Oslo."}]


@pytest.fixture(scope="session")
def markers(gemma4_double: RealEngine) -> dict[str, int]:
    body = {"model": gemma4_double.model, "prompt": "<|tool_call>", "add_special_tokens": False}
    reply = httpx2.post(f"{gemma4_double.url}/tokenize", json=body, timeout=60)
    (token,) = reply.json()["tokens"]
    return {"<|tool_call>": token}
