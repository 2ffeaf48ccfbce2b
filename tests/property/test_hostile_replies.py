"""Replies that are made to take long, in every dialect and however they are cut."""

import os
import time
from collections.abc import Callable

import pytest

from tests.support.hostile import Hostile, hostile_texts
from tests.support.linear import assert_linear
from tests.support.replies import read_reply

TEXTS = list(hostile_texts())[:: 1 if os.environ.get("TESTS_FULL") else 37]
BRACKETS = [text for text in hostile_texts() if set(text.piece) <= set("[]{}()<")]
SIZES = (0, 1, 16, 1000)
CHARS = 1_000_000


def cut(text: str, size: int) -> list[str]:
    """Pieces of `size` characters; 0: the text whole."""
    return [text[at : at + size] for at in range(0, len(text), size)] if size else [text]


def seconds(run: Callable[[], object]) -> float:
    """CPU time of this process."""
    started = time.process_time()
    run()
    return time.process_time() - started


@pytest.mark.parametrize("size", SIZES)
def test_time_is_linear_in_hostile_text(size: int) -> None:
    """Four times the text takes about four times as long: a quadratic parser would take sixteen."""
    for hostile in TEXTS:

        def read(chars: int, hostile: Hostile = hostile) -> None:
            read_reply(hostile.parser(), cut(hostile.text(chars), size))

        try:
            assert_linear(read, small=3_000)
        except AssertionError:
            pytest.fail(f"{hostile} in pieces of {size}")


@pytest.mark.parametrize("size", [0, 16])
@pytest.mark.parametrize("dialect", ["gemma4", "functiongemma", "prompted"])
def test_a_megabyte_of_brackets_takes_under_a_second(dialect: str, size: int) -> None:
    """What a quiet core of 2024 does in a second: twenty million steps of a loop, timed in the same run."""
    texts = [text for text in BRACKETS if text.dialect == dialect]
    texts = texts[:: 1 if os.environ.get("TESTS_FULL") else len(texts) // 6]
    share = CHARS // 10

    def read() -> None:
        for text in texts:
            read_reply(text.parser(), cut(text.text(share), size))

    def count() -> None:
        for _ in range(2 * len(texts)):
            steps = 0
            while steps < CHARS:
                steps += 1

    assert any(seconds(read) < seconds(count) for _ in range(4))


@pytest.mark.parametrize("piece", ["f(n=1) x\n", "[f(n=1)]x", "<tool>f() x</tool>", '{"name":"f"} '])
def test_thousands_of_texts_that_look_like_calls_are_text(piece: str) -> None:
    """So is what comes behind them, however it is cut."""
    parser = next(text.parser for text in hostile_texts() if text.dialect == "prompted")
    text = "x " + piece * 5000
    assert read_reply(parser(), [text]).content == text
    assert read_reply(parser(), cut(text, 1000)).content == text
