"""Replies that the engine has parsed."""

import json
from typing import Any

import msgspec
import pytest

from gateway.errors import WorkerError
from gateway.pipeline.editors import UnmetToolChoiceError
from gateway.pipeline.engine_replies import EngineEditor, mend_reply
from gateway.pipeline.relay import StreamRelay, rename_pair
from gateway.wire.replies import ChatReply

Json = Any
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ANOTHER = {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{}"}}


def mended(message: Json, finish_reason: str = "tool_calls", *, must_call: bool = False, legacy: bool = False) -> Json:
    """The only choice of a whole reply, its message and why it ended."""
    choice = {"index": 0, "finish_reason": finish_reason, "stop_reason": 50, "message": message}
    body = json.dumps({"id": "x", "created": 1, "choices": [choice]})
    reply = msgspec.json.decode(body, type=ChatReply)
    mend_reply(reply, must_call=must_call, legacy=legacy)
    (told,) = json.loads(msgspec.json.encode(reply))["choices"]
    return told["message"], told["finish_reason"]


def frame(delta: Json, reason: str | None = None, index: int = 0) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
    chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "engine", "choices": [choice]}
    return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n".encode()


def streamed(*frames: bytes, must_call: bool = False, legacy: bool = False, choices: int = 1) -> tuple[Json, Json]:
    """The deltas with their reasons that leave, and why the stream failed."""
    editor = EngineEditor(model="shown", choices=choices, must_call=must_call, legacy=legacy)
    relay = StreamRelay(show_usage=False, rename=rename_pair("engine", "shown"), editor=editor)
    out = b""
    for each in (*frames, b"data: [DONE]\n\n"):
        out += relay.feed(each)
        if relay.failure is not None:
            break
    told: list[Json] = []
    for line in out.decode().split("\n\n"):
        if line and line != "data: [DONE]":
            chunk = json.loads(line.removeprefix("data: "))
            assert (chunk["id"], chunk["model"]) == ("x", "shown")
            told += [(choice["delta"], choice["finish_reason"]) for choice in chunk["choices"]]
    return told, relay.failure


ROLE = frame({"role": "assistant", "content": ""})
ROLE_TOLD = ({"role": "assistant", "content": ""}, None)


def head(index: int = 0, name: str = "f", **more: Json) -> Json:
    return {"index": index, "id": f"c{index}", "type": "function", "function": {"name": name, **more}}


def arguments(text: str, index: int = 0) -> Json:
    return {"index": index, "function": {"arguments": text}}


@pytest.mark.parametrize("calls", [[], None])
def test_whole_replies(calls: Json) -> None:
    """Thoughts under both names, no empty list of calls, no end by calls where there are none."""
    message, reason = mended({"role": "assistant", "content": "x", "reasoning": "r", "tool_calls": calls})
    assert reason == "stop"
    wanted = {"role": "assistant", "content": "x", "refusal": None, "reasoning": "r", "reasoning_content": "r"}
    assert message == wanted


def test_whole_replies_with_calls() -> None:
    """They are passed on, and no text is null."""
    message, reason = mended({"content": "", "tool_calls": [CALL, ANOTHER]})
    assert (message["content"], message["tool_calls"], reason) == (None, [CALL, ANOTHER], "tool_calls")


def test_whole_replies_in_the_older_terms() -> None:
    """The first call is all that these clients know."""
    message, reason = mended({"content": None, "tool_calls": [CALL, ANOTHER]}, legacy=True)
    assert "tool_calls" not in message
    assert (message["function_call"], reason) == ({"name": "f", "arguments": "{}"}, "function_call")
    assert mended({"content": "x"}, "stop", legacy=True)[1] == "stop"
    with pytest.raises(WorkerError):
        mended({"content": None, "tool_calls": [{}]}, legacy=True)


def test_a_whole_reply_without_the_call_that_was_asked_for() -> None:
    """An engine without the right parser answers `required` with prose."""
    with pytest.raises(UnmetToolChoiceError):
        mended({"content": "x"}, "stop", must_call=True)
    assert mended({"content": None, "tool_calls": [CALL]}, "stop", must_call=True)[1] == "stop"


def test_streams_of_text_pass() -> None:
    """But for the model's name."""
    texts = [frame({"content": text}) for text in ("Some", " text", ' in "quotes" [1]', " and more.")]
    told, failure = streamed(ROLE, *texts, frame({"content": ""}, "stop"))
    assert failure is None
    assert "".join(delta.get("content", "") for delta, _ in told) == 'Some text in "quotes" [1] and more.'
    assert told[-1][1] == "stop"
    editor = EngineEditor(model="shown", choices=1, must_call=False, legacy=False)
    editor.edit(ROLE.removeprefix(b"data: ").strip())
    assert editor.pass_on(texts[2]) == texts[2]


def test_streamed_thoughts_have_both_names() -> None:
    """Whichever the engine uses."""
    told, _ = streamed(ROLE, frame({"reasoning": "a"}), frame({"reasoning_content": "b"}), frame({"content": "c"}))
    thoughts = [{"reasoning": text, "reasoning_content": text} for text in "ab"]
    assert [delta for delta, _ in told[1:]] == [*thoughts, {"content": "c"}]


def test_the_first_delta_of_a_streamed_call_is_whole_and_comes_once() -> None:
    """Clients join what is repeated: `ff`."""
    frames = [
        frame({"content": "", "tool_calls": [{"index": 0, "id": "c0", "function": {"name": "f"}}]}),
        frame({"tool_calls": [head(arguments='{"a":')]}),
        frame({"reasoning": None, "tool_calls": [arguments("1}"), head(1, "g")]}),
        frame({"tool_calls": [arguments("", 1)]}),
        frame({"tool_calls": [arguments("{}", 1)]}, "tool_calls"),
    ]
    told, failure = streamed(ROLE, *frames)
    assert failure is None
    assert told == [
        ROLE_TOLD,
        ({"tool_calls": [head(arguments="")]}, None),
        ({"tool_calls": [arguments('{"a":')]}, None),
        ({"tool_calls": [arguments("1}"), head(1, "g", arguments="")]}, None),
        ({"tool_calls": [arguments("{}", 1)]}, "tool_calls"),
    ]


def test_streams_that_end_in_calls_without_any() -> None:
    """`stop`, in each choice by itself."""
    told, _ = streamed(
        ROLE,
        frame({"role": "assistant", "content": ""}, index=1),
        frame({"tool_calls": [head(arguments="{}")]}, index=1),
        frame({"tool_calls": []}, "tool_calls", index=0),
        frame({}, "tool_calls", index=1),
        choices=2,
    )
    assert told[-2:] == [({}, "stop"), ({}, "tool_calls")]


def test_streams_in_the_older_terms() -> None:
    """One call, as `function_call`."""
    told, _ = streamed(
        ROLE,
        frame({"tool_calls": [head()]}),
        frame({"tool_calls": [arguments("{}"), head(1, "g")]}),
        frame({"tool_calls": [arguments("{}", 1)]}, "tool_calls"),
        legacy=True,
    )
    assert told == [
        ROLE_TOLD,
        ({"function_call": {"name": "f", "arguments": ""}}, None),
        ({"function_call": {"arguments": "{}"}}, None),
        ({}, "function_call"),
    ]


@pytest.mark.parametrize("ends", [[frame({"content": ""}, "stop")], []])
def test_a_stream_without_the_call_that_was_asked_for(ends: list[bytes]) -> None:
    """No prose leaves, then an error does."""
    told, failure = streamed(ROLE, frame({"content": "I'd rather not."}), *ends, must_call=True)
    assert not any(delta.get("content") for delta, _ in told)
    assert isinstance(failure, UnmetToolChoiceError)


def test_a_stream_with_the_call_that_was_asked_for() -> None:
    """Named choices end in `stop`, as OpenAI's do."""
    told, failure = streamed(ROLE, frame({"tool_calls": [head(arguments="{}")]}), frame({}, "stop"), must_call=True)
    assert failure is None
    assert told == [ROLE_TOLD, ({"tool_calls": [head(arguments="{}")]}, None), ({}, "stop")]


@pytest.mark.parametrize("delta", [{"tool_calls": [{"index": "x"}]}, {"tool_calls": {}}, {"reasoning": 1}])
def test_what_is_no_chunk_is_the_workers_failure(delta: Json) -> None:
    """Never an exception."""
    _, failure = streamed(ROLE, frame(delta))
    assert isinstance(failure, WorkerError)
