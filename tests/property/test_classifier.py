"""What must hold for any score, any memory of verdicts and any text that is cut into pieces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.model import Policy
from gateway.filters.classifier_cache import VerdictCache
from gateway.filters.classifier_questions import MAX_QUESTIONS, TooLongError, check_count, text_questions, verdicts
from gateway.filters.judging import Passage
from gateway.filters.shieldgemma import (
    FRAME_TOKENS,
    IMAGE_POLICIES,
    OVERLAP_SHARE,
    TEXT_POLICIES,
    input_prompt,
    pieces,
    reply_prompt,
    tail,
    violation_probability,
)

LOGPROBS = st.floats(-9998, 0, allow_nan=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=600)


@given(LOGPROBS, LOGPROBS, LOGPROBS)
def test_the_score_grows_with_yes(lower: float, higher: float, no: float) -> None:
    """And falls with no; it is always a probability, and both ways round they sum to one."""
    lower, higher = sorted((lower, higher))
    low, high = violation_probability(lower, no), violation_probability(higher, no)
    assert 0 <= low <= high <= 1
    assert violation_probability(no, lower) >= violation_probability(no, higher)
    assert abs(violation_probability(no, lower) + low - 1) < 1e-9


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghij"), st.floats(0, 1), st.integers(0, 5), st.booleans()), max_size=80),
    st.integers(1, 5),
)
def test_the_memory_of_verdicts_is_like_a_naive_one(
    steps: list[tuple[str, float, int, bool]], max_entries: int
) -> None:
    """Never more entries than allowed, never a verdict that is too old or of something else."""
    cache, now = VerdictCache(b"salt", max_entries=max_entries, kept_s=7), 0
    known: dict[str, tuple[float, int]] = {}
    for text, probability, wait, write in steps:
        now += wait
        key = cache.fingerprint(text)
        if write:
            cache.put(key, probability, now)
            known[text] = (probability, now + 7)
        else:
            found = cache.get(key, now)
            assert found is None or (found == known[text][0] and now < known[text][1])
        assert len(cache) <= max_entries


@given(TEXTS, st.integers(32, 200))
def test_pieces_cover_a_text(text: str, max_bytes: int) -> None:
    """Each fits and is found in the text; a run of an eighth of a piece is whole in one of them."""
    found = list(pieces(text, max_bytes))
    assert all(len(piece.encode()) <= max_bytes for piece in found)
    data, at = text.encode(), 0
    for first, second in pairwise(found):
        start = data.find(second.encode(), at + 1)
        assert at < start <= at + len(first.encode())
        at = start
    assert text.startswith(found[0])
    assert text.endswith(found[-1])
    run = max_bytes // OVERLAP_SHARE - 8
    assert all(any(text[n : n + 1] in piece for piece in found) for n in range(len(text)))
    for n in range(0, len(data) - max(run, 1), 7):
        try:
            part = data[n : n + max(run, 1)].decode()
        except UnicodeDecodeError:
            continue
        assert any(part in piece for piece in found)


@given(TEXTS, TEXTS, st.integers(FRAME_TOKENS + 300, 2000))
def test_questions_fit_the_context(text: str, asked: str, context_tokens: int) -> None:
    """A prompt has no more bytes of client text than the context has tokens beside the frame."""
    longest = {
        "input": max(len(input_prompt(policy, "").encode()) for policy in TEXT_POLICIES),
        "output": max(len(reply_prompt(policy, "", "").encode()) for policy in TEXT_POLICIES),
    }
    passages = [Passage(text, "input"), Passage(text, "output", asked)]
    for question in text_questions(list(enumerate(passages)), TEXT_POLICIES, context_tokens):
        side = passages[question.passage].side
        assert len(question.prompt.encode()) - longest[side] <= context_tokens - FRAME_TOKENS


@given(TEXTS, st.integers(1, 100))
def test_the_tail_is_the_end(text: str, max_bytes: int) -> None:
    end = tail(text, max_bytes)
    assert text.endswith(end)
    assert len(end.encode()) <= max_bytes
    assert end == text or len(end.encode()) > max_bytes - 4


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["hate", "sexual"]), st.floats(0, 1, allow_nan=False)), max_size=20
    )
)
def test_a_passage_is_as_bad_as_its_worst_piece(answers: list[tuple[int, Policy, float]]) -> None:
    found = verdicts(answers, 3, ("hate", "sexual"))
    for index, of_passage in enumerate(found):
        for verdict in of_passage:
            assert verdict.probability == max(p for i, policy, p in answers if (i, policy) == (index, verdict.policy))
        assert len(of_passage) == len({policy for i, policy, _ in answers if i == index})


def test_what_is_too_long_is_not_asked() -> None:
    """The number of questions has a bound, of texts and of images."""
    with pytest.raises(TooLongError):
        text_questions([(0, Passage("x" * 3_000_000, "input"))], TEXT_POLICIES, 8192)
    check_count(MAX_QUESTIONS // len(IMAGE_POLICIES), IMAGE_POLICIES)
    with pytest.raises(TooLongError):
        check_count(MAX_QUESTIONS // len(IMAGE_POLICIES) + 1, IMAGE_POLICIES)
