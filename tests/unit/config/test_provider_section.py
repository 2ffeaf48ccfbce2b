"""`fallback_providers`, and who may stand in for whom."""

import pytest

from gateway.config.load import parse_settings
from gateway.config.model import ProviderSettings, Secret
from gateway.config.problems import ConfigurationError
from gateway.routing.catalog import VARIANTS

MODELS = """
models:
  - {name: gemma-3-4b-it, workers: [{url: "http://a"}], fallbacks: [%s]}
  - {name: gemma-3-12b-it, aliases: [big], workers: [{url: "http://b"}]}
  - {name: embeddinggemma-300m, workers: [{url: "http://c"}], fallbacks: [%s]}
  - {name: acme/embeddinggemma-300m-copy, workers: [{url: "http://d"}]}
"""


def problems(text: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(text, {"KEY": "provider-key-1"}, VARIANTS)
    return {problem.path: problem.message for problem in caught.value.problems}


def read(entry: str) -> ProviderSettings:
    text = MODELS % ("p", "") + f"fallback_providers: {{p: {entry}}}"
    return parse_settings(text, {"KEY": "provider-key-1"}, VARIANTS).fallback_providers["p"]


def test_a_provider_is_read() -> None:
    """The variant is guessed from LiteLLM's name, the context is the catalogue's."""
    provider = read("{model: gemini/gemma-3-27b-it, api_key: '${KEY}'}")
    assert provider.model == "gemini/gemma-3-27b-it"
    assert provider.variant is VARIANTS["gemma-3-27b-it"]
    assert provider.context_length == VARIANTS["gemma-3-27b-it"].context_tokens
    assert provider.options == {"api_key": Secret("provider-key-1")}
    assert "provider-key-1" not in repr(provider)


def test_what_cannot_be_guessed_is_written() -> None:
    """Ollama's names aren't those of checkpoints."""
    provider = read("{model: 'ollama_chat/gemma3:27b', variant: gemma-3-27b-it, context_length: 4096}")
    assert (provider.variant.name, provider.context_length) == ("gemma-3-27b-it", 4096)


@pytest.mark.parametrize(
    ("entry", "path", "message"),
    [
        ("{}", ".model", "is required"),
        ("{model: gemma}", ".model", "must be a model as LiteLLM writes it"),
        ("{model: 'ollama_chat/gemma3:27b'}", ".variant", "can't be guessed"),
        ("{model: 'ollama_chat/x', variant: gemma-3-28b-it}", ".variant", "no such variant"),
        ("{model: gemini/embeddinggemma-300m}", ".model", "must be a chat model"),
        ("{model: gemini/gemma-3-4b-it, api_key: literal-key-1}", ".api_key", "must come from the environment"),
        ("{model: gemini/gemma-3-4b-it, api_bsae: x}", ".api_bsae", "unknown key; did you mean"),
        ("{model: gemini/gemma-3-4b-it, api_base: [x]}", ".api_base", "must be a single value"),
    ],
)
def test_what_is_wrong_is_named(entry: str, path: str, message: str) -> None:
    """Each problem with its place; a key in the file is one."""
    found = problems(MODELS % ("", "") + f"fallback_providers: {{p: {entry}}}")
    assert message in found[f"fallback_providers.p{path}"]


def test_a_provider_has_a_name_of_its_own() -> None:
    """Who is meant by a name must be plain."""
    text = MODELS % ("", "") + "fallback_providers: {big: {model: gemini/gemma-3-4b-it}}"
    assert "is taken by" in problems(text)["fallback_providers.big"]


def test_who_can_stand_in() -> None:
    """Models by name or alias, providers, and another copy of an embedding model."""
    text = MODELS % ("big, p", "acme/embeddinggemma-300m-copy")
    text += "fallback_providers: {p: {model: gemini/gemma-3-4b-it}}\n"
    text += "tenants: [{id: a, models: [p], model_limits: {p: {requests_per_minute: 1}}, keys: []}]"
    settings = parse_settings(text, {}, VARIANTS)
    assert settings.models[0].fallbacks == ("big", "p")
