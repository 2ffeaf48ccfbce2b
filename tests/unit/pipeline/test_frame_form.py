"""Frames that leave like the one before them, told by their bytes."""

import json

import pytest

from gateway.pipeline.frame_form import FrameForm, is_plain


def frame(text: str, **fields: object) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, **fields}
    chunk = {"id": "1", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode()


def form(came: bytes, left: bytes) -> FrameForm:
    found = FrameForm.of(came, left)
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["word", " word", "Zürich", "a.b, c!", "日本", "}", "data: x"])
def test_plain_text_leaves_as_it_came(text: str) -> None:
    """The same bytes, not a copy."""
    known = form(frame("Hello"), frame("Hello"))
    again = frame(text)
    assert known.shown(again) is again
    assert is_plain(again)


@pytest.mark.parametrize(
    "text", ["", " ", "ends in a space ", 'a"b', "a\\b", "line\n", "a <b", "[", "{x", "\x01", "a\tb"]
)
def test_text_that_may_matter_does_not(text: str) -> None:
    """It is looked at closely."""
    assert form(frame("Hello"), frame("Hello")).shown(frame(text)) is None


@pytest.mark.parametrize(
    "other",
    [
        frame("end", finish_reason="stop"),
        frame("word", index=1),
        frame("word", logprobs={"content": []}),
        frame("word") + frame("word"),
        frame("word") + b"data: [DONE]\n\n",
        frame("word")[:-1],
        b": comment\n\n",
        b"",
    ],
)
def test_other_frames_are_of_another_form(other: bytes) -> None:
    """Whatever differs but the text."""
    assert form(frame("Hello"), frame("Hello")).shown(other) is None


def test_what_was_changed_is_changed_again() -> None:
    """The client's form of the frame is known by its bytes too."""
    came = b'data: {"model":"a","choices":[{"text":"one"}]}\n\n'
    left = b'data: {"choices":[{"delta":{"content":"one"}}],"usage":null}\n\n'
    shown = form(came, left).shown(came.replace(b"one", b"two"))
    assert shown == left.replace(b"one", b"two")


@pytest.mark.parametrize(
    ("came", "left"),
    [
        (frame("Hello"), b""),
        (frame("Hello"), frame("Hell")),
        (frame("Hello"), frame("Hello") + frame("x")),
        (frame("Hello") + frame("x"), frame("Hello")),
        (frame("a\n"), frame("a\n")),
        (frame("end", finish_reason="stop"), frame("end")),
        (frame("x", usage={"prompt_tokens": 1}), frame("x")),
        (frame("x", error=None), frame("x")),
    ],
)
def test_there_is_no_form_of_more_than_a_text(came: bytes, left: bytes) -> None:
    """A frame that does more, or leaves as something else, tells nothing of the next."""
    assert FrameForm.of(came, left) is None
