"""ShieldGemma's prompts, scores and pieces."""

import math
from itertools import pairwise

import jinja2
import pytest

from gateway.config.model import Policy
from gateway.filters.shieldgemma import (
    FRAME_TOKENS,
    IMAGE_POLICIES,
    TEXT_POLICIES,
    answer_words,
    guideline,
    image_policy,
    input_prompt,
    judged_policies,
    pieces,
    reply_prompt,
    tail,
    violation_probability,
)
from tests.support.shieldgemma_template import CHAT_TEMPLATE

TEXTS = ["Say hello", "", " spaces at both ends ", "two\n\nparagraphs", "100 % {braces} \U0001f642 \u4f60\u597d"]


def rendered(messages: list[dict[str, str]], rule: str) -> str:
    """What the checkpoint's own template makes of a conversation, compiled as transformers compiles it."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(CHAT_TEMPLATE).render(messages=messages, guideline=rule, bos_token="<bos>")


@pytest.mark.parametrize("policy", TEXT_POLICIES)
@pytest.mark.parametrize("text", TEXTS)
def test_a_question_about_input_is_the_checkpoints_own(policy: Policy, text: str) -> None:
    """Byte for byte what the chat template of google/shieldgemma-9b renders."""
    messages = [{"role": "user", "content": text}]
    assert input_prompt(policy, text) == rendered(messages, guideline(policy, of_reply=False))


@pytest.mark.parametrize("policy", TEXT_POLICIES)
@pytest.mark.parametrize("text", TEXTS)
def test_a_question_about_a_reply_is_the_checkpoints_own(policy: Policy, text: str) -> None:
    """With the question before it; the template's two spaces before `start` are kept."""
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": text[::-1]}]
    assert reply_prompt(policy, text, text[::-1]) == rendered(messages, guideline(policy, of_reply=True))


def test_guidelines_name_what_is_judged() -> None:
    """A prompt is told apart from a reply by the guideline's words too."""
    for policy in TEXT_POLICIES:
        assert "The prompt shall not contain or seek generation of content that " in guideline(policy, of_reply=False)
        assert "The chatbot shall not generate content that " in guideline(policy, of_reply=True)


def test_images_have_policies_of_their_own() -> None:
    """ShieldGemma 2 knows violence, and neither harassment nor hate."""
    assert set(IMAGE_POLICIES) == {"dangerous", "sexual", "violence"}
    assert all(image_policy(policy).startswith("No ") for policy in IMAGE_POLICIES)


def test_only_classifiers_judge() -> None:
    """Other families are never asked for a yes."""
    assert judged_policies("shieldgemma") == TEXT_POLICIES
    assert judged_policies("shieldgemma2") == IMAGE_POLICIES
    assert answer_words("shieldgemma2") == ("Yes", "No")
    assert judged_policies("gemma3") == answer_words("gemma3") == ()


@pytest.mark.parametrize(
    ("yes", "no", "expected"),
    [
        (-0.5, -0.5, 0.5),
        (0.0, -9999.0, 1.0),
        (-9999.0, 0.0, 0.0),
        (math.log(0.9), math.log(0.1), 0.9),
        (-20, -21, 0.731),
    ],
)
def test_the_score_is_the_share_of_yes(yes: float, no: float, expected: float) -> None:
    """Of the probability that both answers have together; what else the model might say doesn't count."""
    assert violation_probability(yes, no) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("yes", "no"), [(math.nan, -1.0), (-1.0, math.inf), (-math.inf, -1.0), (2.0, -1.0), (-9999.0, -9999.0)]
)
def test_what_is_no_log_probability_is_refused(yes: float, no: float) -> None:
    """A worker that answers nonsense gives no score."""
    with pytest.raises(ValueError, match="log-probabilities"):
        violation_probability(yes, no)


def test_short_texts_are_one_piece() -> None:
    assert list(pieces("word", 16)) == ["word"]
    assert list(pieces("", 16)) == [""]


def test_long_texts_are_covered_by_overlapping_pieces() -> None:
    """Each piece fits, neighbours share an eighth, and nothing is between them."""
    text = "".join(chr(97 + n % 26) for n in range(1000))
    found = list(pieces(text, 80))
    assert all(len(piece) <= 80 for piece in found)
    for first, second in pairwise(found):
        assert second.startswith(first[-10:])
    assert found[0] + "".join(piece[10:] for piece in found[1:]) == text


def test_pieces_never_cut_a_character() -> None:
    text = "\u4f60\u597d\U0001f642é" * 50
    assert all(piece in text and len(piece.encode()) <= 33 for piece in pieces(text, 33))


def test_tail_keeps_the_end() -> None:
    """Of a long question, what was asked last."""
    assert tail("\U0001f642 and \U0001f642", 5) == " \U0001f642"
    assert tail("short", 100) == "short"
    assert FRAME_TOKENS > 0
