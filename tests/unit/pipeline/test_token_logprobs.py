"""Log probabilities leave with their text, or not at all."""

import json
from typing import Any

import msgspec
import pytest

from gateway.dialects.events import CallStart, ContentDelta, Event, Finish
from gateway.pipeline.token_logprobs import TokenLogprobs, joined
from gateway.wire.replies import NULL

Step = tuple[str, list[Event], bool]
"""The text said, what became of it, whether nothing is held then."""
CONTENT = ContentDelta
CALL = CallStart(0, "c", "f")
END = Finish("stop")


def raw(*tokens: str) -> msgspec.Raw:
    return msgspec.Raw(json.dumps({"content": [{"token": token} for token in tokens], "refusal": None}).encode())


def tokens_of(found: msgspec.Raw) -> list[str]:
    whole: Any = json.loads(bytes(found))
    return [] if whole is None else [each["token"] for each in whole["content"]]


def told(*steps: Step) -> list[list[str]]:
    """The tokens that leave with each step."""
    logprobs = TokenLogprobs()
    return [
        tokens_of(logprobs.leaving(text, raw(text) if text else raw("<eos>"), events, idle=idle))
        for text, events, idle in steps
    ]


def test_with_their_text() -> None:
    """Chunk by chunk, as long as nothing is held."""
    assert told(("a", [CONTENT("a")], True), ("b", [CONTENT("b")], False)) == [["a"], ["b"]]


def test_held_text_keeps_its_own() -> None:
    """They leave together once all of it does; an end without text has none."""
    steps: list[Step] = [
        ("a [", [CONTENT("a ")], False),
        ("x", [], False),
        ("]", [CONTENT("[x]")], True),
        ("", [END], True),
    ]
    assert told(*steps) == [[], [], ["a [", "x", "]"], []]
    assert told(("[", [], False), ("", [CONTENT("["), END], True)) == [[], ["["]]


def test_calls_have_none() -> None:
    """Nor what was held with them; text behind them has its own again."""
    steps: list[Step] = [
        ("ok", [CONTENT("ok")], True),
        ("[f", [], False),
        ("()", [CALL], False),
        ("]\n", [], False),
        ("so", [CONTENT("so")], True),
        ("on", [CONTENT("on")], True),
    ]
    assert told(*steps) == [["ok"], [], [], [], [], ["on"]]


def test_text_that_was_changed_has_none() -> None:
    """A marker that comes back as the client wrote it, a stop string that ends the text."""
    steps: list[Step] = [("<x", [], False), ("y>", [CONTENT("<y>")], True), ("z", [CONTENT("z")], True)]
    assert told(*steps) == [[], [], ["z"]]
    assert told(("a STOP", [CONTENT("a "), END], True)) == [[]]


def test_what_is_held_is_bounded() -> None:
    """A megabyte that may become a call is no prose."""
    logprobs = TokenLogprobs()
    for _ in range(100):
        assert logprobs.leaving("[" * 100, raw("x"), [], idle=False) == NULL
    assert logprobs.leaving("", NULL, [CONTENT("[" * 10_000), END], idle=True) == NULL


@pytest.mark.parametrize("parts", [[], [NULL, NULL]])
def test_nothing_joined_is_nothing(parts: list[msgspec.Raw]) -> None:
    """Null, as OpenAI has it."""
    assert joined(parts) == NULL


def test_joined() -> None:
    """Lists are put one behind the other, nulls stay null; a form that isn't known is left out."""
    assert json.loads(bytes(joined([raw("a"), NULL, raw("b", "c")]))) == {
        "content": [{"token": "a"}, {"token": "b"}, {"token": "c"}],
        "refusal": None,
    }
    assert bytes(joined([msgspec.Raw(b"5")])) == b"5"
    assert joined([raw("a"), msgspec.Raw(b"5")]) == NULL
