"""What is redacted comes back: whole, streamed, in JSON, and to nobody who only writes its placeholder."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.model import KeywordsRule, PatternsRule, PiiRule, StreamWindow
from gateway.filters.policy import FilterPolicy
from gateway.filters.restoring import Placeholders, TextRestorer
from gateway.filters.rules import RuleSet, compile_rules
from gateway.filters.screener import Findings, screen_text
from gateway.observability.record import RequestRecord
from gateway.pipeline.relay import StreamRelay
from gateway.pipeline.screening_reply import OutputScreening, ScreenedEditor
from gateway.values import RequestId
from tests.support.filter_texts import PIECES, cut

RULES = compile_rules(
    (
        KeywordsRule(("damn", "top drawer"), "redact", leetspeak=True, restore=True),
        PatternsRule(None, (r"ab{1,3}c", r"c(?:d|ef){1,2}"), "redact", restore=True),
        PiiRule(("email", "phone", "credit_card", "iban", "ip", "cpr"), "redact", restore=True),
    )
)
NOTHING = FilterPolicy("p", None, StreamWindow(), RuleSet(()), RuleSet(()), (), ())
WORDS = st.sampled_from(
    (
        *(" me@x.org", " you@x.org", "+45 12 34 56 78", "4111 1111 1111 1111", "127.0.0.1", "abbcefd", " damn", "abcd"),
        *("[", "]", "[EMAIL_1]", "[EMAIL_2]", "[PATTERNS_1", "[KEYWORDS_1]", "[EMAIL]", "EMAIL_1]", "_1]", " and "),
    )
)
TEXTS = st.lists(WORDS | PIECES | st.characters(codec="utf-8"), max_size=12).map("".join)
CUTS = st.lists(st.integers(1, 6), min_size=1, max_size=8)


@settings(max_examples=150)
@given(TEXTS, CUTS)
def test_what_a_model_echoes_is_what_was_said(text: str, sizes: list[int]) -> None:
    """Redacted and restored, a text is the same, whole and at every cut, whatever placeholders its author wrote."""
    placeholders = Placeholders([text])
    redacted = screen_text(RULES, Findings(), text, placeholders=placeholders)
    assert placeholders.restore(redacted) == text
    restorer = TextRestorer(placeholders, json=False)
    assert "".join(map(restorer.feed, cut(redacted, sizes))) + restorer.finish() == text


@settings(max_examples=150)
@given(st.lists(TEXTS, min_size=2, max_size=4))
def test_turns_are_numbered_as_they_were(turns: list[str]) -> None:
    """A conversation that goes on has the same placeholders in what was said before, and one value has one."""
    taken = " ".join(turns)
    one, more = Placeholders([taken]), Placeholders([taken])
    before = [screen_text(RULES, Findings(), turn, placeholders=one) for turn in turns[:-1]]
    after = [screen_text(RULES, Findings(), turn, placeholders=more) for turn in turns]
    assert after[:-1] == before
    assert more.restore(" ".join(after)) == " ".join(turns)


@settings(max_examples=100)
@given(TEXTS, TEXTS)
def test_arguments_stay_json(said: str, other: str) -> None:
    """In the arguments of a call values are escaped: what they say is what was said, a number becomes a string."""
    arguments = json.dumps({"to": said, "n": 4111111111111111, "nested": [other]}, ensure_ascii="é" in said)
    placeholders = Placeholders([said, other])
    redacted = screen_text(RULES, Findings(), arguments, json=True, placeholders=placeholders)
    restored = json.loads(placeholders.restore(redacted, json=True))
    assert (restored["to"], restored["nested"]) == (said, [other])
    assert restored["n"] == "4111111111111111"
    assert json.loads(redacted)["n"].startswith("[CREDIT_CARD_")


def frame(delta: object, finish: str | None = None) -> bytes:
    """One event of a worker."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode()


@settings(max_examples=150)
@given(TEXTS, CUTS, st.booleans())
def test_streams_restore_content_and_arguments(text: str, sizes: list[int], is_json: bool) -> None:
    """A stream of a model that repeats what it read gives the caller's own words, in content and in arguments."""
    placeholders = Placeholders([text])
    redacted = screen_text(RULES, Findings(), text, placeholders=placeholders)
    arguments = json.dumps({"a": redacted})
    record = RequestRecord(RequestId("r"), "chat", 0.0)
    screening = OutputScreening(NOTHING, record, "", placeholders, json_content=is_json)
    relay = StreamRelay(show_usage=False, editor=ScreenedEditor(screening, None, model="m", choices=1))
    content = json.dumps(redacted) if is_json else redacted
    deltas: list[dict[str, object]] = [{"content": piece} for piece in cut(content, sizes)]
    deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in cut(arguments, sizes)]
    stream = b"".join(map(frame, deltas)) + frame({}, "tool_calls") + b"data: [DONE]\n\n"
    out = b"".join(relay.feed(event + b"\n\n") for event in stream.split(b"\n\n")[:-1])
    said, called = "", ""
    for event in out.decode().split("\n\n")[:-1]:
        delta = json.loads(event[6:])["choices"][0]["delta"]
        said += delta.get("content", "")
        called += "".join(call["function"]["arguments"] for call in delta.get("tool_calls", ()))
    assert (json.loads(said) if is_json else said) == text
    assert json.loads(called) == {"a": text}
