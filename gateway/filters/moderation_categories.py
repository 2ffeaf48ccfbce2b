"""OpenAI's moderation categories by what ShieldGemma judges. No I/O.

ShieldGemma has fewer and other policies than OpenAI has categories. A category takes the score of the policy that
covers it; where several share one (`dangerous`), they share its score. A category that no policy covers has no signal:
score 0, not flagged (null where OpenAI's types allow it), and no input type it was applied to. Where OpenAI's types
don't let a category apply to images, an image says nothing about it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from gateway.config.model import Policy

InputType = Literal["text", "image"]
THRESHOLD: Final = 0.5
"""From this probability on a category is flagged: where ShieldGemma finds `Yes` likelier than `No`."""


class _Source(Struct, frozen=True):
    """Which policies a category takes its score from, by kind of input."""

    text: Policy | None = None
    image: Policy | None = None
    nullable: bool = False
    """OpenAI's types allow null for the flag."""


CATEGORIES: Final[Mapping[str, _Source]] = MappingProxyType(
    {
        "harassment": _Source(text="harassment"),
        "harassment/threatening": _Source(),
        "hate": _Source(text="hate"),
        "hate/threatening": _Source(),
        "illicit": _Source(text="dangerous", nullable=True),
        "illicit/violent": _Source(nullable=True),
        "self-harm": _Source(text="dangerous", image="dangerous"),
        "self-harm/instructions": _Source(),
        "self-harm/intent": _Source(),
        "sexual": _Source(text="sexual", image="sexual"),
        "sexual/minors": _Source(),
        "violence": _Source(text="dangerous", image="violence"),
        "violence/graphic": _Source(image="violence"),
    }
)


class CategoryScore(Struct, frozen=True):
    """What is known of one category."""

    score: float
    flagged: bool | None
    applied_to: list[InputType]


def category_scores(scores: Mapping[InputType, Mapping[Policy, float]]) -> dict[str, CategoryScore]:
    """Return every category's score from the policies' probabilities by kind of input; of two kinds the higher."""
    found: dict[str, CategoryScore] = {}
    for name, source in CATEGORIES.items():
        by_type: dict[InputType, float] = {
            kind: of_kind[policy]
            for kind, of_kind in scores.items()
            if (policy := source.text if kind == "text" else source.image) is not None and policy in of_kind
        }
        score = max(by_type.values(), default=0.0)
        no_signal = None if source.nullable else False
        found[name] = CategoryScore(score, score >= THRESHOLD if by_type else no_signal, list(by_type))
    return found
