"""A worker's stream gives the same bytes, the same usage and the same end however its transfer was cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.relay import StreamRelay, rename_pair
from gateway.upstream.failures import ProtocolViolation
from gateway.upstream.sse import MAX_FRAME_BYTES, FrameSplitter, data_of
from gateway.values import Usage

WORDS = st.sampled_from(
    [
        "usage",
        '"usage"',
        "error",
        '"error":',
        "[DONE]",
        "data: [DONE]",
        "\n\n",
        "\r\n",
        "data: ",
        "}",
        "é",
        "😀",
        "\0",
        "x",
    ]
)
TEXT = st.lists(WORDS | st.text(max_size=5), max_size=4).map("".join)
COUNTS = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
DONE = b"data: [DONE]\n\n"


def chunk(text: str, **more: Any) -> dict[str, Any]:
    """A stream's chunk as vLLM writes it."""
    return {"id": "c", "model": "engine-name", "choices": [{"index": 0, "delta": {"content": text}}], **more}


def frame(value: object) -> bytes:
    """The event of a chunk, in compact JSON."""
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The bytes, cut at any places."""
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def run(relay: StreamRelay, parts: list[bytes]) -> bytes:
    """What the relay lets through until it says that the stream is over."""
    out = b""
    for part in parts:
        out += relay.feed(part)
        if relay.done or relay.failure is not None:
            break
    return out


def make_relay(mode: str) -> StreamRelay:
    """A relay of each kind that passes what the worker said."""
    return StreamRelay(
        show_usage="usage" in mode,
        rename=rename_pair("engine-name", "shown-name") if "renamed" in mode else None,
    )


MODES = st.sampled_from(["passed", "usage", "renamed", "usage renamed"])
NEWLINES = st.sampled_from([b"\n", b"\r\n"])


@given(st.lists(TEXT, min_size=1, max_size=6), MODES, NEWLINES, st.data())
def test_every_cut_gives_the_same_stream(texts: list[str], mode: str, newline: bytes, data: st.DataObject) -> None:
    """Bytes out, frames counted, usage and the end are the same for every cut, and the text is what was said."""
    stream = b"".join(map(frame, map(chunk, texts))) + frame({"choices": [], "usage": COUNTS}) + DONE
    stream = stream.replace(b"\n", newline)
    whole, cut = make_relay(mode), make_relay(mode)
    expected = run(whole, [stream])
    assert run(cut, data.draw(pieces(stream))) == expected
    for relay in (whole, cut):
        assert relay.done
        assert relay.failure is None
        assert relay.usage == Usage(7, 3)
        assert relay.frames == len(texts)
    events = [json.loads(event[6:]) for event in expected.decode().split("\n\n") if event]
    assert "".join(c["delta"]["content"] for event in events for c in event["choices"]) == "".join(texts)
    assert {event.get("model") for event in events if event["choices"]} == {
        "shown-name" if "renamed" in mode else "engine-name"
    }
    if "usage" in mode:
        assert all("usage" in event for event in events)
        assert events[-1]["usage"]["total_tokens"] == 10
    else:
        assert all(event["choices"] for event in events)


@given(st.lists(TEXT, max_size=4), MODES, st.data())
def test_nothing_ends_well_after_a_failure(texts: list[str], mode: str, data: st.DataObject) -> None:
    """After an error event the relay is done for: what came before is out, `[DONE]` is not, at every cut."""
    error = frame({"error": {"message": "boom", "type": "InternalServerError", "code": 500}})
    before = b"".join(map(frame, map(chunk, texts)))
    stream = before + error + DONE
    relay = make_relay(mode)
    out = run(relay, data.draw(pieces(stream)))
    assert relay.failure is not None
    assert not relay.done
    assert "boom" in relay.cause
    assert "boom" not in relay.failure.message
    assert out == run(make_relay(mode), [before])


@given(st.lists(TEXT, max_size=4), st.integers(min_value=1), st.data())
def test_usage_is_found_on_a_chunk_too(texts: list[str], tokens: int, data: st.DataObject) -> None:
    """Usage that comes with content, as continuous counts do, is counted; the last one wins."""
    frames = [frame(chunk(text, usage={**COUNTS, "completion_tokens": n})) for n, text in enumerate([*texts, "end"])]
    relay = make_relay("passed")
    run(relay, data.draw(pieces(b"".join(frames) + DONE)))
    assert relay.usage == Usage(7, len(texts))


BLOCKS = st.lists(
    st.binary(min_size=1, max_size=8).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")), max_size=6
)


@given(BLOCKS, NEWLINES, st.data())
def test_frames_are_found_at_every_cut(blocks: list[bytes], newline: bytes, data: st.DataObject) -> None:
    """A splitter returns the same frames for every cut, and knows when it stands between two."""
    stream = b"".join(block + newline + newline for block in blocks) + b"rest"
    splitter = FrameSplitter()
    found = [each for part in data.draw(pieces(stream)) for each in splitter.feed(part)]
    assert found == [block for block in blocks if block]
    assert not splitter.empty
    assert splitter.feed(b"\n\n")[-1] == b"rest"
    assert splitter.empty


@given(MODES, st.booleans())
def test_an_end_without_a_beginning_is_a_failure(mode: str, counted: bool) -> None:  # drawn
    """A stream of no chunk is no empty answer."""
    relay = make_relay(mode)
    run(relay, [(frame({"choices": [], "usage": COUNTS}) if counted else b": nothing\n\n") + DONE])
    assert relay.failure is not None
    assert not relay.done


def test_a_frame_has_a_cap() -> None:
    """A frame without an end is refused at the cap, in few large pieces or in many."""
    splitter = FrameSplitter()
    for _ in range(MAX_FRAME_BYTES // 65_536):
        splitter.feed(b"x" * 65_536)
    with pytest.raises(ProtocolViolation):
        splitter.feed(b"x")
    with pytest.raises(ProtocolViolation):
        FrameSplitter().feed(b"x" * (MAX_FRAME_BYTES + 1))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b"data: x", b"x"),
        (b"data:x", b"x"),
        (b"data:  x", b" x"),
        (b"data: a\ndata: b", b"a\nb"),
        (b"event: e\ndata: x\nid: 1", b"x"),
        (b": comment", None),
        (b"event: e", None),
        (b"data:", b""),
    ],
)
def test_data_of_a_frame(event: bytes, expected: bytes | None) -> None:
    """The data lines of an event, joined; comments and other fields have none."""
    assert data_of(event) == expected
