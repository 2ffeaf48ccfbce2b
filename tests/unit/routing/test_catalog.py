"""The catalogue knows every Gemma, by any name a checkpoint of it has."""

import pytest

from gateway.routing.catalog import VARIANTS, find_variant


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("gemma-3-4b-it", "gemma-3-4b-it"),
        ("google/gemma-3-4b-it", "gemma-3-4b-it"),
        ("acme/gemma-3-4b-it-awq", "gemma-3-4b-it"),
        ("RedHatAI/gemma-3-27b-it-quantized.w4a16", "gemma-3-27b-it"),
        ("nvidia/Gemma-4-31B-IT-NVFP4", "gemma-4-31B-it"),
        ("google/gemma-3-4b-pt", "gemma-3-4b-it"),
        ("google/gemma-3-270m", "gemma-3-270m-it"),
        ("google/gemma-4-E2B", "gemma-4-E2B-it"),
        ("google/gemma-2b", "gemma-2b-it"),
        ("google/gemma-2-2b-it", "gemma-2-2b-it"),
        ("google/gemma-3n-E4B-it", "gemma-3n-E4B-it"),
        ("google/codegemma-7b", "codegemma-7b"),
        ("google/codegemma-7b-it", "codegemma-7b-it"),
        ("google/medgemma-27b-text-it", "medgemma-27b-text-it"),
        ("google/medgemma-27b-it", "medgemma-27b-it"),
        ("google/shieldgemma-2b", "shieldgemma-2b"),
        ("google/shieldgemma-2-4b-it", "shieldgemma-2-4b-it"),
        ("google/embeddinggemma-300m-qat-q4_0-unquantized", "embeddinggemma-300m"),
        ("google/paligemma2-3b-mix-448", "paligemma2-3b"),
        ("google/gemma-3-4b-it@adapter", "gemma-3-4b-it"),
    ],
)
def test_checkpoints_are_found_by_their_names(name: str, variant: str) -> None:
    """Whoever published them, quantised or not, instruction-tuned or pretrained."""
    assert find_variant(name) is VARIANTS[variant]


@pytest.mark.parametrize(
    "name",
    ["", "gemma", "llama", "gemma-3-4bx", "recurrentgemma-2b-it", "t5gemma-2b", "my-gemma-3-4b-it", "gemma-3-4b-it/x"],
)
def test_other_names_are_not_guessed(name: str) -> None:
    """A wrong guess would speak the wrong dialect."""
    assert find_variant(name) is None


def test_every_entry_finds_itself() -> None:
    """No name hides another one."""
    for variant in VARIANTS.values():
        assert find_variant(f"google/{variant.name}") is variant


def test_the_entries_agree_with_themselves() -> None:
    """Facts that follow from one another."""
    for variant in VARIANTS.values():
        assert (variant.max_audio_s is not None) == ("audio" in variant.modalities and variant.task == "chat")
        assert variant.thinking == (variant.family == "gemma4")
        assert (variant.dialect == "gemma4") == (variant.family == "gemma4")
        assert "text" in variant.modalities
        if variant.task != "chat":
            assert variant.dialect is None


def test_facts_that_requests_depend_on() -> None:
    """Spot checks against the model cards and vLLM's list of supported models."""
    assert VARIANTS["gemma-3-1b-it"].modalities == {"text"}
    assert VARIANTS["gemma-3-4b-it"].context_tokens == 131_072
    assert VARIANTS["gemma-4-31B-it"].modalities == {"text", "image", "video"}
    assert VARIANTS["gemma-4-31B-it"].context_tokens == 262_144
    assert VARIANTS["gemma-4-31B-it"].memory_gb == {"bf16": 69.9, "8-bit": 34.9, "4-bit": 17.5}
    assert not VARIANTS["gemma-4-12B-it"].lora
    assert not VARIANTS["gemma-3n-E2B-it"].lora
    assert VARIANTS["gemma-4-E2B-it"].lora
    assert VARIANTS["functiongemma-270m-it"].dialect == "functiongemma"
