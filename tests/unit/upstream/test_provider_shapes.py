"""LiteLLM's answers in the shape of vLLM's."""

import json

from gateway.upstream.provider_shapes import ReplyName, chunk_frame, whole_reply

NAME = ReplyName("chatcmpl-1", "cloud")


def test_a_whole_reply_keeps_what_openai_has() -> None:
    """What a provider adds is left out; what it leaves out has OpenAI's default."""
    answer = {
        "id": "theirs",
        "created": 7,
        "model": "gemini/gemma",
        "system_fingerprint": "fp",
        "vertex_ai_safety_results": [1],
        "choices": [{"message": {"content": "Hi", "provider_specific_fields": {"a": 1}, "images": []}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "cost": 0.1},
    }
    assert json.loads(whole_reply(answer, NAME)) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "cloud",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }


def test_calls_are_kept_whole() -> None:
    """Name, arguments, id and index; nothing else."""
    function = {"name": "f", "arguments": "{}", "extra": 1}
    message = {"tool_calls": [{"id": "c1", "type": "function", "function": function, "thought": "x"}]}
    reply = json.loads(whole_reply({"choices": [{"message": message, "finish_reason": "tool_calls"}]}, NAME))
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]
    assert choice["message"]["content"] is None
    assert reply["usage"] == {}


def test_an_answer_without_choices_stays_one() -> None:
    """The gateway tells the client that it is of no use."""
    assert json.loads(whole_reply({}, NAME))["choices"] == []


def test_a_chunk_is_a_frame() -> None:
    """Under the one id and name; the usage where there is some."""
    frame = chunk_frame({"id": "x", "created": 9, "choices": [{"delta": {"content": "a"}}]}, NAME)
    assert frame.startswith(b"data: {")
    assert frame.endswith(b"}\n\n")
    assert json.loads(frame[6:]) == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 9,
        "model": "cloud",
        "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": None, "finish_reason": None}],
    }
    last = json.loads(chunk_frame({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}, NAME)[6:])
    assert (last["choices"], last["usage"]) == ([], {"prompt_tokens": 1, "completion_tokens": 2})


def test_a_chunk_that_tells_nothing_is_left_out() -> None:
    """LiteLLM makes such ones of providers' own events."""
    assert chunk_frame({"choices": [], "created": 1}, NAME) == b""
