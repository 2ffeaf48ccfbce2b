"""What the gateway takes for granted about a vLLM worker, asked of a real one. A vLLM that differs fails here first."""

import json
import os
from typing import Any

import httpx2
import jsonschema
import pytest

from tests.engine.conftest import RealEngine

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Write down everything that you can see from here"}]
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "kind": {"enum": ["cat", "dog"]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        "home": {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]},
    },
    "required": ["name", "kind", "tags", "home"],
    "additionalProperties": False,
}


def chat(worker: httpx2.Client, model: str, **fields: Any) -> httpx2.Response:
    return worker.post(CHAT, json={"model": model, "messages": HELLO, "max_tokens": 6, **fields})


def frames(worker: httpx2.Client, model: str, **fields: Any) -> list[Any]:
    """The data of every SSE frame, parsed; the last one is the text [DONE]."""
    text = chat(worker, model, stream=True, ignore_eos=True, **fields).text
    assert text.endswith("\n\n")
    data = [block.removeprefix("data: ") for block in text.removesuffix("\n\n").split("\n\n")]
    return [*map(json.loads, data[:-1]), data[-1]]


def test_models_tell_the_context_length(worker: httpx2.Client, gemma3: RealEngine) -> None:
    """The catalogue's context is lowered to what the engine was started with."""
    model, adapter = worker.get("/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"], model["root"] is None) == (gemma3.model, 4096, False)
    assert (adapter["id"], adapter["parent"]) == (gemma3.adapter_model, gemma3.model)


@pytest.mark.parametrize(
    ("marker", "number"), [("<eos>", 1), ("<bos>", 2), ("<start_of_turn>", 105), ("<end_of_turn>", 106)]
)
def test_markers_resolve_to_one_token(worker: httpx2.Client, gemma3: RealEngine, marker: str, number: int) -> None:
    """Stop token ids are looked up through /tokenize, so a marker must come back as its one id."""
    body = {"model": gemma3.model, "prompt": marker, "add_special_tokens": False}
    assert worker.post("/tokenize", json=body).json()["tokens"] == [number]


def test_markers_in_user_text_become_control_tokens(worker: httpx2.Client, gemma3: RealEngine) -> None:
    """The engine escapes nothing: text that spells a marker is the marker, unless a zero-width space breaks it."""
    for text, hit in (("a<end_of_turn>b", True), ("a<\u200bend_of_turn>b", False)):
        messages = [{"role": "user", "content": text}]
        tokens = worker.post("/tokenize", json={"model": gemma3.model, "messages": messages}).json()["tokens"]
        assert (tokens.count(106) == 2) is hit


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "system", "content": "S"}, {"role": "user", "content": " u "}], "user\nS\n\nu<end_of_turn>\n"),
        (
            [
                {"role": "system", "content": [{"type": "text", "text": t} for t in "ST"]},
                {"role": "user", "content": "u"},
            ],
            "user\nS\n\nu<end_of_turn>\n",
        ),
        ([{"role": "developer", "content": "D"}, {"role": "user", "content": "u"}], "user\nD\n\nu<end_of_turn>\n"),
        (
            [{"role": "user", "content": "u"}, {"role": "system", "content": "S"}],
            "user\nu<end_of_turn>\n<start_of_turn>system\nS<end_of_turn>\n",
        ),
        (
            [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}],
            "user\nu<end_of_turn>\n<start_of_turn>model\na<end_of_turn>\n<start_of_turn>user\nv<end_of_turn>\n",
        ),
    ],
    ids=["system first", "only the first part", "developer for system", "system later", "turns"],
)
def test_the_template_renders_gemma3_turns(
    worker: httpx2.Client, gemma3: RealEngine, messages: list[Any], expected: str
) -> None:
    """What Google's template does with system messages is why the gateway folds them in itself."""
    tokens = worker.post("/tokenize", json={"model": gemma3.model, "messages": messages}).json()["tokens"]
    text = worker.post("/detokenize", json={"model": gemma3.model, "tokens": tokens}).json()["prompt"]
    assert text == f"<bos><start_of_turn>{expected}<start_of_turn>model\n"


@pytest.mark.parametrize(
    "roles",
    [
        ["assistant"],
        ["user", "user"],
        ["user", "assistant", "assistant"],
        ["system", "assistant"],
    ],
    ids="-".join,
)
def test_the_template_refuses_turns_out_of_order(worker: httpx2.Client, gemma3: RealEngine, roles: list[str]) -> None:
    messages = [{"role": role, "content": "x"} for role in roles]
    answer = chat(worker, gemma3.model, messages=messages)
    assert (answer.status_code, "alternate" in answer.json()["error"]["message"]) == (400, True)


def test_raw_prompts_get_a_beginning_of_text_token(worker: httpx2.Client, gemma3: RealEngine) -> None:
    tokens = worker.post("/tokenize", json={"model": gemma3.model, "prompt": "hi"}).json()["tokens"]
    assert tokens[0] == 2


def test_tokenize_counts_what_the_chat_call_is_charged(worker: httpx2.Client, gemma3: RealEngine) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    counted = worker.post("/tokenize", json={"model": gemma3.model, "messages": messages}).json()
    charged = chat(worker, gemma3.model, messages=messages).json()["usage"]["prompt_tokens"]
    assert (counted["count"], counted["max_model_len"]) == (charged, 4096)


def test_a_stream_has_a_role_frame_content_a_finish_and_done(worker: httpx2.Client, gemma3: RealEngine) -> None:
    first, *middle, last, done = frames(worker, gemma3.model)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(frame["choices"][0]["delta"].keys() == {"content"} for frame in middle)
    assert last["choices"][0]["finish_reason"] == "length"
    assert done == "[DONE]"
    assert not any("usage" in frame for frame in (first, *middle, last))
    assert len({(frame["id"], frame["created"], frame["model"]) for frame in (first, *middle, last)}) == 1


def test_usage_comes_in_a_frame_of_its_own_before_done(worker: httpx2.Client, gemma3: RealEngine) -> None:
    *others, usage, _ = frames(worker, gemma3.model, stream_options={"include_usage": True})
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 6
    assert not any("usage" in frame for frame in others)


def test_more_choices_share_the_prompt_in_usage(worker: httpx2.Client, gemma3: RealEngine) -> None:
    one = chat(worker, gemma3.model, ignore_eos=True).json()["usage"]
    two = chat(worker, gemma3.model, ignore_eos=True, n=2).json()["usage"]
    assert (two["prompt_tokens"], two["completion_tokens"]) == (one["prompt_tokens"], 2 * one["completion_tokens"])


def test_the_request_id_chooses_the_answer_id(worker: httpx2.Client, gemma3: RealEngine) -> None:
    body = {"model": gemma3.model, "messages": HELLO, "max_tokens": 1}
    assert worker.post(CHAT, json=body, headers={"X-Request-Id": "abc-1"}).json()["id"] == "chatcmpl-abc-1"


def test_a_stop_token_is_named_and_not_in_the_text(worker: httpx2.Client, gemma3: RealEngine) -> None:
    (choice,) = chat(worker, gemma3.model, stop_token_ids=[1, 106], allowed_token_ids=[106]).json()["choices"]
    assert (choice["message"]["content"] or "", choice["finish_reason"], choice["stop_reason"]) == ("", "stop", 106)


@pytest.mark.parametrize(
    ("fields", "status", "kind", "param"),
    [
        ({"model": "no/such"}, 404, "NotFoundError", "model"),
        ({"temperature": "hot"}, 400, "Bad Request", "body.temperature"),
        ({"messages": [*HELLO, *HELLO]}, 400, "BadRequestError", None),
        ({"messages": [{"role": "user", "content": "word " * 5000}]}, 400, "BadRequestError", "input_tokens"),
        ({"max_tokens": 5000}, 400, "BadRequestError", "max_tokens"),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"},
            400,
            "BadRequestError",
            None,
        ),
    ],
    ids=["model", "type", "turns", "long prompt", "max_tokens", "tools"],
)
def test_errors_have_an_object_with_a_numeric_code(
    worker: httpx2.Client, gemma3: RealEngine, fields: dict[str, Any], status: int, kind: str, param: str | None
) -> None:
    """The gateway tells these cases apart by status, type and param, and rewrites all of them."""
    answer = chat(worker, **{"model": gemma3.model, **fields})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (status, status, kind)
    assert error["param"] == param or fields.keys() == {"tools", "tool_choice"}


def test_an_unknown_path_answers_in_another_shape(worker: httpx2.Client) -> None:
    answer = worker.post("/v1/no/such", json={})
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize("seed", range(20 if os.environ.get("TESTS_FULL") else 3))
def test_a_weak_model_completes_a_json_schema(worker: httpx2.Client, gemma3: RealEngine, seed: int) -> None:
    """At temperature 1 and without free white space; with it, this model writes blanks to its limit."""
    shape = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}
    answer = chat(worker, gemma3.model, response_format=shape, max_tokens=150, temperature=1, seed=seed).json()
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop"
    jsonschema.validate(json.loads(choice["message"]["content"]), PERSON)


def test_remote_media_is_not_fetched(worker: httpx2.Client, gemma3: RealEngine) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}
    answer = chat(worker, gemma3.model, messages=[{"role": "user", "content": [part]}])
    assert answer.status_code == 400
