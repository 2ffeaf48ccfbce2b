"""Chunks that pass as they came: which ones, when, and what is left to the full treatment."""

import json
from typing import Any

import pytest

from gateway.config.model import FilterRule, FilterSettings, KeywordsRule, PatternsRule, PiiRule
from gateway.filters.policy import compile_policy
from gateway.observability.record import RequestRecord
from gateway.pipeline.plain_chunks import read_template
from gateway.pipeline.relay import StreamRelay
from gateway.pipeline.screening_reply import OutputScreening, ScreenedEditor
from gateway.values import RequestId


def frame(text: str, **more: Any) -> bytes:
    """A chunk as vLLM writes it."""
    choice = {
        "index": 0,
        "delta": {"content": text},
        "logprobs": None,
        "finish_reason": None,
        "token_ids": None,
        **more,
    }
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gemma", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def relay_of(*rules: FilterRule) -> StreamRelay:
    """A stream under rules for answers."""
    screening = OutputScreening(
        compile_policy("p", FilterSettings(output=rules)), RequestRecord(RequestId("r"), "chat", 0.0)
    )
    return StreamRelay(show_usage=False, editor=ScreenedEditor(screening, None, model="gemma", choices=1))


def said(out: bytes) -> str:
    """The text of frames."""
    chunks = [json.loads(event[6:]) for event in out.decode().split("\n\n")[:-1]]
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])


def test_what_is_clear_passes_at_once() -> None:
    """Once a first chunk was read, others leave in the same call and byte for byte, escapes included."""
    relay = relay_of(KeywordsRule(("hate",)), PatternsRule("markup"))
    relay.feed(frame("Once"))
    for text in (" upon", " a time,", ' said "they",', "\n\n", " søde", " 图书馆", "😀", " x < yes"):
        assert relay.feed(frame(text)) == frame(text), text


def test_what_may_become_a_match_waits_whole() -> None:
    """A word that may be the beginning of an address leaves with the next one, as the same bytes."""
    relay = relay_of(PiiRule(("email",)))
    assert said(relay.feed(frame("Write"))) == ""
    assert said(relay.feed(frame(" to"))) == "Write"
    assert relay.feed(frame(" nobody")) == frame(" to")
    assert relay.feed(frame(" here.")) == frame(" nobody")
    assert relay.feed(frame(" So")) == frame(" here.")


def test_a_match_is_redacted_and_passing_goes_on() -> None:
    """The chunks of a match are edited, those behind it pass again."""
    relay = relay_of(PiiRule(("email",)))
    out = b"".join(relay.feed(frame(text)) for text in ("Ask", " bob", "@example", ".org", " today", ", he", " knows"))
    assert said(out) == "Ask [EMAIL] today, he"
    assert relay.feed(frame(" best")) == frame(" knows")


@pytest.mark.parametrize(
    ("rule", "match"),
    [
        (KeywordsRule(("secret",), "redact"), "secret"),
        (KeywordsRule(("top drawer",), "redact"), "top drawer"),
        (KeywordsRule(("secret",), "redact"), "s.e.c.r.e.t"),
        (KeywordsRule(("secret",), "redact", leetspeak=True), "$3cret"),
        (KeywordsRule(("c++",), "redact"), "c++"),
        (PatternsRule("markup"), "<script src=x>"),
        (PatternsRule(None, ("(?i)code[xyz]{2,4}",)), "CodeXYZ"),
        (PiiRule(("email",)), "bob@example.org"),
        (PiiRule(("api_key",)), "akia0123456789ABCDEF"),
        (PiiRule(("codice_fiscale",)), "RSSMRA85T10A562S"),
    ],
)
def test_nothing_of_a_match_leaves_wherever_it_is_cut(rule: FilterRule, match: str) -> None:
    """Chunks that pass carry no piece of a match, cut twice at any places."""
    for first in range(1, len(match)):
        for second in range(first, len(match)):
            relay = relay_of(rule)
            pieces = ("So", " now", " " + match[:first], match[first:second], match[second:], " is", " it", ". ")
            out = said(b"".join(relay.feed(frame(piece)) for piece in pieces) + relay.feed(b"data: [DONE]\n\n"))
            before, redacted, after = out.partition("[")
            assert (before, redacted, after.partition("]")[2]) == ("So now ", "[", " is it. "), pieces


def test_a_long_wait_is_bounded() -> None:
    """A word without end leaves where the rules have decided, though chunks wait whole."""
    relay = relay_of(PiiRule(("email",)))
    out = b"".join(relay.feed(frame("abcdefgh")) for _ in range(5_000))
    assert relay.failure is None
    assert len(said(out)) + 65_536 + 8 >= 40_000


@pytest.mark.parametrize(
    "other",
    [
        frame("x", finish_reason="stop"),
        frame("x", logprobs={"content": []}),
        frame("x", index=1),
        frame("x", delta={"content": "x", "role": "assistant"}),
        frame("x", delta={"content": "x", "reasoning": "y"}),
        frame("x", delta={"reasoning": "x"}),
        frame("x", delta={"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}),
        frame("x", delta={"content": None}),
        b'data: {"choices":[{"delta":{"content":"x"},"content":"y"}]}\n\n',
        b'data: {"model": "m","choices":[{"delta":{"content":"x"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content" :"x"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"choices":[{"delta":{"content":"x"}},{"index":1,"delta":{"content":"x"}}]}\n\n',
        b'data: {"choices":[]}\n\n',
    ],
)
def test_only_more_text_makes_a_template(other: bytes) -> None:
    """What does more than say text of the first choice, or is written otherwise, is of no kind that passes."""
    assert read_template(other[6:-2]) is None


@pytest.mark.parametrize(
    "middle",
    [
        b'x"},"finish_reason":"stop","delta":{"content":"x',
        b'x","role":"assistant","content":"y',
        b"x\\",
        b"x\\u12",
        b"\xff",
        b"a\x01b",
        b"",
    ],
)
def test_bytes_that_are_no_text_are_not_taken_for_one(middle: bytes) -> None:
    """Between the bytes that chunks have in common there must be one string of JSON and no more."""
    template = read_template(frame("x")[6:-2])
    assert template is not None
    head, tail = frame("\0").split(b"\\u0000")
    assert not template.text(head + middle + tail)
    assert template.text(frame('say "é"\n')) == 'say "é"\n'
    assert template.frame('say "é"\n') == frame('say "é"\n')
    assert not template.text(head + tail[1:])
