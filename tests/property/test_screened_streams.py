"""A screened stream says what the filter makes of the whole answer, whether its chunks pass as they are or not."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.model import StreamWindow
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.registry import dialect_for
from gateway.filters.policy import FilterPolicy
from gateway.filters.rules import RuleSet
from gateway.filters.screener import Findings, screen_text
from gateway.observability.record import RequestRecord
from gateway.pipeline.editors import ReplyEditor
from gateway.pipeline.relay import StreamRelay, rename_pair
from gateway.pipeline.screening_reply import OutputScreening, ScreenedEditor
from gateway.routing.catalog import VARIANTS
from gateway.values import RequestId
from gateway.wire.chat import parse_chat_request
from tests.support.filter_texts import PIECES, RULE_SETS, cut

WORDS = st.sampled_from((" plain", " words", " of", " no", " harm", " a", ",", ".", "\n", ' "quoted"', " back\\slash"))
MATCHES = st.sampled_from(
    (
        " hate",
        " secret",
        "top - drawer",
        " kilo",
        "s.e.c.r.e.t",
        "kill  yourself",
        "k.i.l",
        " h a t e",
        "d4mn",
        "damn",
        "abbc",
        "cefd",
        " me@x.org",
        "+45 12 34 56 78",
        "4111 1111 1111 1111",
        "127.0.0.1",
        "<script src=x>",
        "javascript:",
        "sk-live-0123456789abcdef0123",
        " killer",
    )
)


@st.composite
def answers(draw: st.DrawFn) -> list[str]:
    """An answer in pieces: words and what rules match, cut anywhere."""
    text = "".join(draw(st.lists(WORDS | MATCHES, min_size=1, max_size=12)))
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    return cut(text, sizes)


SAID = answers() | st.lists(WORDS | PIECES | st.characters(codec="utf-8"), min_size=1, max_size=24)
STYLES = st.lists(st.sampled_from(("compact", "compact", "compact", "ascii", "spaced", "logprobs")), min_size=1)


@dataclass(frozen=True)
class Told:
    """What a client makes of a stream."""

    text: str
    finish: str | None
    findings: tuple[Any, ...]


def frame(text: str, style: str, *, finish: str | None = None, completions: bool = False) -> bytes:
    """One event as a worker writes it."""
    said: dict[str, Any] = {"text": text} if completions else {"delta": {"content": text}}
    logprobs: dict[str, Any] | None = {"content": []} if style == "logprobs" else None
    choice = {"index": 0, **said, "logprobs": logprobs, "finish_reason": finish, "token_ids": None}
    chunk = {"id": "c", "object": "text_completion" if completions else "chat.completion.chunk", "created": 1}
    separators = (", ", ": ") if style == "spaced" else (",", ":")
    written = json.dumps({**chunk, "model": "engine", "choices": [choice]}, ensure_ascii=False, separators=separators)
    if style == "ascii":
        written = json.dumps(json.loads(written), separators=separators)
    return b"data: %b\n\n" % written.encode()


def tell(policy: FilterPolicy, reads: list[bytes], *, show_usage: bool, inner: ReplyEditor | None) -> Told:
    """Stream to a client; check every chunk's shape."""
    screening = OutputScreening(policy, RequestRecord(RequestId("r"), "chat", 0.0))
    editor = ScreenedEditor(screening, inner, model="shown", choices=1)
    relay = StreamRelay(show_usage=show_usage, rename=rename_pair("engine", "shown"), editor=editor)
    out = b""
    for read in reads:
        out += relay.feed(read)
        if relay.done:
            break
    assert relay.done
    text, finish = "", None
    for event in out.decode().split("\n\n")[:-1]:
        chunk = json.loads(event.removeprefix("data: "))
        assert chunk["model"] == "shown"
        assert chunk["created"] == 1
        assert not show_usage or not chunk["choices"] or chunk["usage"] is None
        for choice in chunk["choices"]:
            assert finish is None
            text += (choice["delta"].get("content") or "") if "delta" in choice else choice["text"]
            finish = choice["finish_reason"]
    return Told(text, finish, tuple(screening.findings.all()))


def policy_of(rules: RuleSet) -> FilterPolicy:
    """A policy with these rules for answers."""
    return FilterPolicy("p", None, StreamWindow(), RuleSet(()), rules, (), ())


def expected(rules: RuleSet, text: str) -> Told:
    """What the whole text becomes."""
    findings = Findings()
    said = screen_text(rules.trusted, findings, text)
    return Told(said, "stop" if findings.blocked_by is None else "content_filter", tuple(findings.all()))


def reads_of(frames: list[bytes], cuts: list[int] | None) -> list[bytes]:
    """The stream, a frame at a time or cut after these numbers of bytes."""
    if cuts is None:
        return frames
    stream, reads, at, turn = b"".join(frames), [], 0, 0
    while at < len(stream):
        reads.append(stream[at : at + cuts[turn % len(cuts)]])
        at, turn = at + cuts[turn % len(cuts)], turn + 1
    return reads


CUTS = st.none() | st.lists(st.integers(1, 900), min_size=1, max_size=5)


@settings(max_examples=300)
@given(RULE_SETS, SAID, STYLES, CUTS, st.booleans(), st.booleans())
def test_a_screened_stream_says_what_the_whole_does(
    rules: RuleSet, said: list[str], styles: list[str], cuts: list[int] | None, show_usage: bool, completions: bool
) -> None:
    """Text, end and findings are the same, whatever the rules, the worker's way to write JSON, and the cuts."""
    frames = [frame(text, styles[turn % len(styles)], completions=completions) for turn, text in enumerate(["", *said])]
    frames.append(frame("", "compact", finish="stop", completions=completions))
    frames.append(b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n')
    frames.append(b"data: [DONE]\n\n")
    told = tell(policy_of(rules), reads_of(frames, cuts), show_usage=show_usage, inner=None)
    assert told == expected(rules, "".join(said))


def gemma4_editor() -> ReplyEditor:
    """What reads a Gemma 4's answer to a request with a tool."""
    variant = VARIANTS["gemma-4-31B-it"]
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": [tool]}
    request = parse_chat_request(json.dumps(body).encode())
    parser = dialect_for("gemma4").prepare(request, variant, MarkerGuard(variant.family), lambda: "call_1").parser
    assert parser is not None
    return ReplyEditor(parser, model="shown", choices=1, must_call=False, legacy=False)


@settings(max_examples=150)
@given(RULE_SETS, SAID, CUTS)
def test_behind_a_dialect_too(rules: RuleSet, said: list[str], cuts: list[int] | None) -> None:
    """Where a dialect reads the text first, and lets chunks pass, what it makes of the whole is what is screened."""
    frames = [*(frame(text, "compact") for text in ["", *said]), frame("", "compact", finish="stop")]
    frames.append(b"data: [DONE]\n\n")
    nothing = tell(policy_of(RuleSet(())), frames, show_usage=False, inner=gemma4_editor())
    told = tell(policy_of(rules), reads_of(frames, cuts), show_usage=False, inner=gemma4_editor())
    assert told == expected(rules, nothing.text)
