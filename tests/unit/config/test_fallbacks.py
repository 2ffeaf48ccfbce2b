"""Who may stand in for whom."""

import pytest

from gateway.config.load import parse_settings
from gateway.config.problems import ConfigurationError
from gateway.routing.catalog import VARIANTS

MODELS = """
models:
  - {name: gemma-3-4b-it, workers: [{url: "http://a"}], fallbacks: [%s]}
  - {name: gemma-3-12b-it, aliases: [big], workers: [{url: "http://b"}]}
  - {name: embeddinggemma-300m, workers: [{url: "http://c"}], fallbacks: [%s]}
  - {name: acme/embeddinggemma-300m-copy, workers: [{url: "http://d"}]}
  - {name: shieldgemma-2b, workers: [{url: "http://e"}], fallbacks: [%s]}
  - {name: shieldgemma-9b, workers: [{url: "http://f"}]}
"""


@pytest.mark.parametrize(
    ("chat", "embedding", "classifier", "path", "message"),
    [
        ("embeddinggemma-300m", "", "", "models[0].fallbacks[0]", "is for embedding, not for chat"),
        ("", "big", "", "models[2].fallbacks[0]", "must be embeddinggemma-300m too"),
        ("bgi", "", "", "models[0].fallbacks[0]", "no such model"),
        ("gemma-3-4b-it", "", "", "models[0].fallbacks[0]", "can't be its own fallback"),
        ("", "", "shieldgemma-9b", "models[4].fallbacks[0]", "verdicts of another classifier"),
    ],
)
def test_who_cannot_stand_in(chat: str, embedding: str, classifier: str, path: str, message: str) -> None:
    """A stand-in's answers must be of use to whoever asked for the model."""
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(MODELS % (chat, embedding, classifier), {}, VARIANTS)
    assert [problem.path for problem in caught.value.problems] == [path]
    assert message in caught.value.problems[0].message


def test_who_can_stand_in() -> None:
    """Models by name or alias, in the order given, and another copy of an embedding model."""
    settings = parse_settings(MODELS % ("big", "acme/embeddinggemma-300m-copy", ""), {}, VARIANTS)
    assert settings.models[0].fallbacks == ("big",)
    assert settings.models[2].fallbacks == ("acme/embeddinggemma-300m-copy",)
