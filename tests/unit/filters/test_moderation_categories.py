"""OpenAI's categories from ShieldGemma's policies."""

from typing import Any, get_args

from openai.types import moderation

from gateway.config.model import Policy
from gateway.filters.moderation_categories import CATEGORIES, category_scores

TEXT: dict[Policy, float] = {"dangerous": 0.9, "harassment": 0.1, "hate": 0.2, "sexual": 0.3}
IMAGE: dict[Policy, float] = {"dangerous": 0.05, "sexual": 0.8, "violence": 0.6}


def names_in(model: type) -> dict[str, object]:
    """The categories of one of the SDK's types, with the type each has."""
    fields: dict[str, Any] = model.model_fields  # type: ignore[attr-defined]  # pydantic's
    return {field.alias or name: field.annotation for name, field in fields.items()}


def test_all_categories_of_the_sdk_are_there() -> None:
    """Typed clients fail where one is missing."""
    for model in (moderation.Categories, moderation.CategoryScores, moderation.CategoryAppliedInputTypes):
        assert set(names_in(model)) == set(CATEGORIES)


def test_null_stands_only_where_the_sdk_takes_it() -> None:
    found = category_scores({})
    takes_null = {name for name, kind in names_in(moderation.Categories).items() if type(None) in get_args(kind)}
    assert {name for name, category in found.items() if category.flagged is None} == takes_null


def test_categories_apply_to_no_more_than_the_sdk_allows() -> None:
    """Scores of both kinds of input for all policies reach every place that they can."""
    found = category_scores({"text": TEXT, "image": IMAGE})
    for name, kind in names_in(moderation.CategoryAppliedInputTypes).items():
        allowed = get_args(get_args(kind)[0])
        assert set(found[name].applied_to) <= set(allowed), name


def test_policies_give_their_scores() -> None:
    found = category_scores({"text": TEXT})
    assert {name: category.score for name, category in found.items() if category.score} == {
        "harassment": 0.1,
        "hate": 0.2,
        "illicit": 0.9,
        "self-harm": 0.9,
        "sexual": 0.3,
        "violence": 0.9,
    }
    assert {name for name, category in found.items() if category.flagged} == {"illicit", "self-harm", "violence"}


def test_without_a_policy_there_is_no_signal() -> None:
    """Score 0, not flagged, applied to nothing: also when everything else is flagged."""
    found = category_scores({"text": dict.fromkeys(TEXT, 1.0), "image": dict.fromkeys(IMAGE, 1.0)})
    silent = {name for name, category in found.items() if not category.applied_to}
    assert silent == {
        "harassment/threatening",
        "hate/threatening",
        "illicit/violent",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual/minors",
    }
    assert all(found[name].score == 0 and not found[name].flagged for name in silent)


def test_of_text_and_image_the_higher_score_counts() -> None:
    found = category_scores({"text": TEXT, "image": IMAGE})
    assert (found["sexual"].score, found["violence"].score) == (0.8, 0.9)
    assert found["violence"].applied_to == ["text", "image"]
    assert found["violence/graphic"].score == 0.6
