"""Passages and pictures as the questions that a ShieldGemma worker is asked, and its answers as verdicts. No I/O.

Each question has one policy and one piece of a passage that fits the model's context; a passage violates a policy as
much as its worst piece does.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from gateway.config.model import Policy
from gateway.filters.judging import Passage, Verdict
from gateway.filters.shieldgemma import FRAME_TOKENS, QUESTION_SHARE, input_prompt, pieces, reply_prompt, tail

MAX_QUESTIONS: Final = 1_024
"""For one request: 256 pieces of text under four policies, some 2 MB, or 341 images under three. More is not judged."""
LEAST_PIECE_BYTES: Final = 256
"""Of a model whose context leaves no room: the worker refuses the question then."""


class TooLongError(ValueError):
    """What is to be judged needs more questions than one request may ask."""


class TextQuestion(Struct, frozen=True):
    """What is asked with one call."""

    passage: int
    """The number of the passage."""
    policy: Policy
    prompt: str


def check_count(images: int, policies: Sequence[Policy]) -> None:
    """Raise TooLongError when so many images need more questions than one request may ask: one a policy."""
    if images * len(policies) > MAX_QUESTIONS:
        raise TooLongError(f"more than {MAX_QUESTIONS} questions")


def text_questions(
    passages: Sequence[tuple[int, Passage]], policies: Sequence[Policy], context_tokens: int
) -> list[TextQuestion]:
    """Return the questions that cover all passages, each given with its number, under all policies.

    Raises TooLongError. Control tokens in the passages must be harmless already.
    """
    room = max(LEAST_PIECE_BYTES, context_tokens - FRAME_TOKENS)
    questions: list[TextQuestion] = []
    for index, passage in passages:
        asked = tail(passage.prompt, room // QUESTION_SHARE) if passage.side == "output" else ""
        for piece in pieces(passage.text, room - len(asked.encode())):
            for policy in policies:
                prompt = input_prompt(policy, piece) if passage.side == "input" else reply_prompt(policy, asked, piece)
                questions.append(TextQuestion(index, policy, prompt))
            if len(questions) > MAX_QUESTIONS:
                raise TooLongError(f"more than {MAX_QUESTIONS} questions")
    return questions


def verdicts(
    answers: Sequence[tuple[int, Policy, float]], passages: int, policies: Sequence[Policy]
) -> list[list[Verdict]]:
    """Return for each passage the verdicts under the policies that were answered, in their order.

    `answers`: passage, policy and probability of each answered question.
    """
    worst: dict[tuple[int, Policy], float] = {}
    for passage, policy, probability in answers:
        worst[passage, policy] = max(probability, worst.get((passage, policy), 0.0))
    return [
        [Verdict(policy, worst[index, policy]) for policy in policies if (index, policy) in worst]
        for index in range(passages)
    ]
