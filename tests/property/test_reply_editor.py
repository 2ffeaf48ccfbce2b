"""Streams whose text a dialect reads: the same reply however the transfer was cut, and the same as a whole reply."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.events import ReplyParser
from gateway.dialects.plain_text import is_plain
from gateway.dialects.registry import dialect_for
from gateway.pipeline.editors import ReplyEditor
from gateway.pipeline.gather import ReplyGatherer, untouched_reply
from gateway.pipeline.relay import StreamRelay
from gateway.routing.catalog import VARIANTS
from gateway.values import DialectName
from gateway.wire.chat import parse_chat_request
from gateway.wire.replies import RawReply, RawReplyChoice, ReplyMessage, UsageBody
from tests.support.replies import read_reply

TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"a": {}, "b": {"type": "string"}}}},
    }
    for name in ("f", "get-weather")
]
CASES: dict[DialectName, tuple[str, list[str]]] = {
    "gemma4": (
        "gemma-4-31B-it",
        ["<|tool_call>call:f{a:1,b:", '<|"|>', "x", "}<tool_call|>", "<|channel>thought\n", "<channel|>"],
    ),
    "functiongemma": (
        "functiongemma-270m-it",
        ["<start_function_call>call:f{a:1,b:<escape>", "<escape>}<end_function_call>"],
    ),
    "gemma3-json": ("gemma-3-4b-it", ['{"name": "f", "parameters": {"a": 1}}', "```json\n", "```", "[", "]"]),
    "gemma3-python": ("gemma-3-4b-it", ["[f(a=1, b='x')]", "f(", ")", "[", "get_weather()"]),
    "gemma3-functioncall": ("gemma-3-4b-it", ['FUNCTION_CALL: f(a="1")\n', "FUNCTION_CALL: nothing", "\n"]),
}
DONE = b"data: [DONE]\n\n"


def parser_of(name: DialectName) -> Callable[[], ReplyParser]:
    """The parser of a request with two tools."""
    variant = VARIANTS[CASES[name][0]]
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": TOOLS}
    request = parse_chat_request(json.dumps(body).encode())
    parser = dialect_for(name).prepare(request, variant, MarkerGuard(variant.family), lambda: "call_1").parser
    assert parser is not None
    return parser


def frame(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def stream_of(deltas: list[str], *, completions: bool, vllm: bool = False) -> bytes:
    """A worker's stream of raw text, over either route; `vllm`: with all that vLLM writes, in its order."""
    out = b""
    for position, text in enumerate([*deltas, ""]):
        last = position == len(deltas)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if last else None}
        choice |= {"text": text} if completions else {"delta": {"content": text}}
        if vllm:
            written = {"content": text} if position else {"role": "assistant", "content": text}
            choice = {"index": 0, "delta": written, "logprobs": None, "finish_reason": choice["finish_reason"]}
            choice["token_ids"] = None
        out += frame({"id": "cmpl-x" if completions else "chatcmpl-x", "created": 5, "model": "m", "choices": [choice]})
    return out + frame({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}) + DONE


def merged(out: bytes) -> dict[str, Any]:
    """The message that a client makes of a stream; the order and shape of deltas is checked on the way."""
    message: dict[str, Any] = {"content": "", "reasoning": "", "calls": [], "finish": None}
    events = [json.loads(event[6:]) for event in out.decode().split("\n\n") if event]
    assert {event["id"] for event in events} == {"chatcmpl-x"}
    assert {event["object"] for event in events if "object" in event} <= {"chat.completion.chunk"}
    for event in events:
        for choice in event["choices"]:
            assert message["finish"] is None
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning"] += delta.get("reasoning") or ""
            for call in delta.get("tool_calls", []):
                if call["index"] == len(message["calls"]):
                    assert call["id"]
                    assert call["type"] == "function"
                    message["calls"].append([call["function"]["name"], call["function"]["arguments"]])
                else:
                    assert call["index"] == len(message["calls"]) - 1
                    assert set(call) == {"index", "function"}
                    message["calls"][-1][1] += call["function"]["arguments"]
            message["finish"] = choice["finish_reason"] or message["finish"]
    return message


@st.composite
def replies(draw: st.DrawFn) -> tuple[DialectName, list[str]]:
    """A dialect and raw text in deltas: pieces of its syntax, and anything else."""
    name = draw(st.sampled_from(sorted(CASES)))
    words = st.sampled_from([*CASES[name][1], " ", "Hi", " you", " two words", "<", "{", "é"])
    text = "".join(draw(st.lists(words | st.text(max_size=3), max_size=10)))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    return name, [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(replies(), st.booleans(), st.lists(st.integers(1, 400), max_size=8))
def test_streams_and_whole_replies_say_the_same(
    reply: tuple[DialectName, list[str]],
    completions: bool,
    sizes: list[int],  # drawn
) -> None:
    """Merged stream == whole reply, for every cut of text and transfer, over both routes."""
    name, deltas = reply
    make_parser = parser_of(name)
    stream = stream_of(deltas, completions=completions, vllm=not completions)
    relay = StreamRelay(
        show_usage=False, editor=ReplyEditor(make_parser, model="m", choices=1, must_call=False, legacy=False)
    )
    out = b""
    while stream and not relay.done:
        size = sizes.pop() if sizes else stream.find(b"\n\n") + 2  # frame by frame, where one may be told by its bytes
        out, stream = out + relay.feed(stream[:size]), stream[size:]
    assert relay.done
    streamed = merged(out)

    gatherer = ReplyGatherer(make_parser, choices=1, must_call=False, legacy=False)
    gatherer.add_reply(RawReply([RawReplyChoice(0, text="".join(deltas), finish_reason="stop")], id="cmpl-x"))
    choice = gatherer.reply(UsageBody()).choices[0]
    whole_calls = [] if not choice.message.tool_calls else json.loads(bytes(choice.message.tool_calls))
    assert streamed["content"] == (choice.message.content or "")
    assert streamed["reasoning"] == (choice.message.reasoning or "")
    assert streamed["calls"] == [[c["function"]["name"], c["function"]["arguments"]] for c in whole_calls]
    assert streamed["finish"] == choice.finish_reason
    for _, arguments in streamed["calls"]:
        assert isinstance(json.loads(arguments), dict)


@pytest.mark.parametrize("name", CASES)
def test_chunks_of_text_completions_never_pass(name: DialectName) -> None:
    """Plain text that arrives frame by frame over the completions route leaves in the chat route's form."""
    relay = StreamRelay(
        show_usage=False, editor=ReplyEditor(parser_of(name), model="m", choices=1, must_call=False, legacy=False)
    )
    frames = stream_of(["It", "is", "warm"], completions=True).split(b"\n\n")[:-1]
    assert merged(b"".join(relay.feed(each + b"\n\n") for each in frames))["content"] == "Itiswarm"


@pytest.mark.parametrize("name", ["gemma3-json", "gemma4", "functiongemma"])
def test_a_reply_that_no_parser_is_made_for_is_the_parsers_own(name: DialectName) -> None:
    """Both ways to a whole reply give the same one, end, log probabilities and all."""
    text = "  The capital of Denmark:\n\n1. Copenhagen, 'by' the \"sea\" - call: f, thought.\n"
    for reason in ("stop", "length", "tool_calls", None):
        said = {"text": text} if name == "functiongemma" else {"message": ReplyMessage(content=text)}
        raw = RawReply([RawReplyChoice(0, **said, finish_reason=reason)], id="chatcmpl-x", created=5)
        gatherer = ReplyGatherer(parser_of(name), choices=1, must_call=False, legacy=False)
        gatherer.add_reply(raw)
        assert untouched_reply(raw, is_plain) == gatherer.reply(None)  # type: ignore[arg-type]  # as it is before the usage


@pytest.mark.parametrize(
    "choices",
    [
        [],
        [RawReplyChoice(0, ReplyMessage(content="a {"))],
        [RawReplyChoice(0, ReplyMessage(content=""))],
        [RawReplyChoice(0, ReplyMessage(content="a", reasoning="b"))],
        [RawReplyChoice(1, ReplyMessage(content="a"))],
        [RawReplyChoice(0, text="a (")],
        [RawReplyChoice(0, text="")],
        [RawReplyChoice(0, ReplyMessage(content="a")), RawReplyChoice(1, ReplyMessage(content="a"))],
    ],
)
def test_other_replies_are_read(choices: list[RawReplyChoice]) -> None:
    """Whatever has more than the text of one choice, or may have a call in it."""
    assert untouched_reply(RawReply(choices), is_plain) is None


@pytest.mark.parametrize("name", CASES)
@given(st.data())
def test_plain_text_is_what_every_parser_leaves_alone(name: DialectName, data: st.DataObject) -> None:
    """Words that begin calls and thoughts elsewhere, white space at both ends, anything else without markup."""
    words = st.sampled_from(
        ["f", "call:f", "FUNCTION_CALL: f", "thought\n", "- f", "print", " ", "\n", "}", ")", "]", "|>"]
    )
    text = "".join(data.draw(st.lists(words | st.text(max_size=5), min_size=1, max_size=6)))
    if not is_plain(text):
        return
    parser = parser_of(name)()
    reply = read_reply(parser, [text])
    assert (reply.content, reply.calls, reply.reasoning) == (text, [], "")
