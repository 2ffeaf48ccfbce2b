"""The table of the catalogue: every Gemma that vLLM serves.

Sources: the model cards on ai.google.dev/gemma; vLLM 0.32's supported models, model registry and Google recipes.
Memory is for the weights alone, as Google publishes it (Gemma 3: the QAT announcement on developers.googleblog.com;
Gemma 4: ai.google.dev/gemma/docs/core), otherwise computed as 2, 1 and 0.5 bytes per parameter.
"""

from types import MappingProxyType
from typing import Final

from gateway.values import DialectName, Family, Modality, Precision, Variant

_TEXT: Final[frozenset[Modality]] = frozenset({"text"})
_IMAGE: Final[frozenset[Modality]] = frozenset({"text", "image"})
_VIDEO: Final[frozenset[Modality]] = frozenset({"text", "image", "video"})
_IMAGE_AUDIO: Final[frozenset[Modality]] = frozenset({"text", "image", "audio"})
_ALL: Final[frozenset[Modality]] = frozenset({"text", "image", "audio", "video"})

_8K: Final = 8_192
_32K: Final = 32_768
_128K: Final = 131_072
_256K: Final = 262_144

PROMPTED_DIALECT: Final[DialectName] = "gemma3-json"
"""For the generations without a tool syntax of their own. JSON, because it alone has one spelling for every value and
can be enforced by the engine; Gemma 3's prompt guide offers it beside the Python style."""


def _memory(
    bf16: float, eight_bit: float | None = None, four_bit: float | None = None
) -> MappingProxyType[Precision, float]:
    """GB per precision; what isn't given is computed from bf16."""
    eight = round(bf16 / 2, 2) if eight_bit is None else eight_bit
    four = round(bf16 / 4, 2) if four_bit is None else four_bit
    return MappingProxyType({"bf16": bf16, "8-bit": eight, "4-bit": four})


def _chat(
    name: str,
    family: Family,
    parameters_b: float,
    memory_gb: MappingProxyType[Precision, float],
    *,
    context_tokens: int = _8K,
    modalities: frozenset[Modality] = _TEXT,
    dialect: DialectName | None = PROMPTED_DIALECT,
    lora: bool = True,
    max_images: int | None = None,
    note: str = "",
) -> Variant:
    """A model to talk to; Gemma 4 thinks, and every Gemma that hears takes clips of up to 30 s."""
    return Variant(
        name=name,
        family=family,
        task="chat",
        modalities=modalities,
        context_tokens=context_tokens,
        dialect=dialect,
        thinking=family == "gemma4",
        lora=lora,
        max_audio_s=30 if "audio" in modalities else None,
        max_images=max_images,
        parameters_b=parameters_b,
        memory_gb=memory_gb,
        note=note,
    )


def _base(name: str, family: Family, parameters_b: float, *, context_tokens: int = _8K) -> Variant:
    """A checkpoint that only continues text."""
    return Variant(
        name=name,
        family=family,
        task="completion",
        modalities=_TEXT,
        context_tokens=context_tokens,
        dialect=None,
        lora=True,
        parameters_b=parameters_b,
        memory_gb=_memory(round(2 * parameters_b, 2)),
        note="base checkpoint: for /v1/completions",
    )


_270M: Final = _memory(0.54, 0.27, 0.14)
_4B: Final = _memory(8, 4, 2.6)
_27B: Final = _memory(54, 27, 14.1)
_2_2B: Final = _memory(5.2)
_2_9B: Final = _memory(18.5)
_2_27B: Final = _memory(54.5)
_4_26B: Final = _memory(57.7, 28.8, 14.4)

_NO_FLOAT16: Final = "bfloat16 or float32 only"
"""In float16 the answers are empty."""
_NO_LORA: Final = "no LoRA in vLLM"
_WEAK_AT_TOOLS: Final = "weak at tool calls"
_TRANSLATES: Final = "vLLM 0.14.1 or later; translates only, and its stock template wants language-code parts"
_NEEDS_TEMPLATE: Final = "start the engine with a --chat-template: the checkpoint has none"

_GEMMA_1 = (
    _chat("gemma-2b-it", "gemma1", 2.51, _memory(5.02)),
    _chat("gemma-7b-it", "gemma1", 8.54, _memory(17.08)),
    _chat("gemma-1.1-2b-it", "gemma1", 2.51, _memory(5.02)),
    _chat("gemma-1.1-7b-it", "gemma1", 8.54, _memory(17.08)),
    _chat("codegemma-7b-it", "gemma1", 8.54, _memory(17.08), dialect=None),
    _chat("codegemma-1.1-7b-it", "gemma1", 8.54, _memory(17.08), dialect=None),
    _base("codegemma-2b", "gemma1", 2.51),
    _base("codegemma-1.1-2b", "gemma1", 2.51),
    _base("codegemma-7b", "gemma1", 8.54),
    _base("vaultgemma-1b", "gemma2", 1.0, context_tokens=1_024),
)
_GEMMA_2 = (
    _chat("gemma-2-2b-it", "gemma2", 2.6, _2_2B),
    _chat("gemma-2-9b-it", "gemma2", 9.2, _2_9B),
    _chat("gemma-2-27b-it", "gemma2", 27.2, _2_27B),
)
_PALIGEMMA = (
    _chat(
        "paligemma-3b", "gemma1", 2.9, _memory(5.8), modalities=_IMAGE, dialect=None, max_images=1, note=_NEEDS_TEMPLATE
    ),
    _chat(
        "paligemma2-3b",
        "gemma2",
        3.0,
        _memory(6.0),
        modalities=_IMAGE,
        dialect=None,
        max_images=1,
        note=_NEEDS_TEMPLATE,
    ),
    _chat(
        "paligemma2-10b",
        "gemma2",
        9.7,
        _memory(19.4),
        modalities=_IMAGE,
        dialect=None,
        max_images=1,
        note=_NEEDS_TEMPLATE,
    ),
    _chat(
        "paligemma2-28b",
        "gemma2",
        27.7,
        _memory(55.4),
        modalities=_IMAGE,
        dialect=None,
        max_images=1,
        note=_NEEDS_TEMPLATE,
    ),
)
_GEMMA_3 = (
    _chat("gemma-3-270m-it", "gemma3", 0.27, _270M, context_tokens=_32K, note=f"{_NO_FLOAT16}; {_WEAK_AT_TOOLS}"),
    _chat("gemma-3-1b-it", "gemma3", 1.0, _memory(2, 1, 0.5), context_tokens=_32K, note=_NO_FLOAT16),
    _chat("gemma-3-4b-it", "gemma3", 4.3, _4B, context_tokens=_128K, modalities=_IMAGE, note=_NO_FLOAT16),
    _chat(
        "gemma-3-12b-it",
        "gemma3",
        12.2,
        _memory(24, 12, 6.6),
        context_tokens=_128K,
        modalities=_IMAGE,
        note=_NO_FLOAT16,
    ),
    _chat("gemma-3-27b-it", "gemma3", 27.4, _27B, context_tokens=_128K, modalities=_IMAGE, note=_NO_FLOAT16),
    _chat("medgemma-4b-it", "gemma3", 4.3, _4B, context_tokens=_128K, modalities=_IMAGE, note=_NO_FLOAT16),
    _chat("medgemma-1.5-4b-it", "gemma3", 4.3, _4B, context_tokens=_128K, modalities=_IMAGE, note=_NO_FLOAT16),
    _chat("medgemma-27b-it", "gemma3", 27.4, _27B, context_tokens=_128K, modalities=_IMAGE, note=_NO_FLOAT16),
    _chat("medgemma-27b-text-it", "gemma3", 27.0, _27B, context_tokens=_128K, note=_NO_FLOAT16),
)
_TRANSLATEGEMMA = (
    _chat(
        "translategemma-4b-it",
        "gemma3",
        4.3,
        _4B,
        context_tokens=2_048,
        modalities=_IMAGE,
        dialect=None,
        note=_TRANSLATES,
    ),
    _chat(
        "translategemma-12b-it",
        "gemma3",
        12.2,
        _memory(24, 12, 6.6),
        context_tokens=2_048,
        modalities=_IMAGE,
        dialect=None,
        note=_TRANSLATES,
    ),
    _chat(
        "translategemma-27b-it",
        "gemma3",
        27.4,
        _27B,
        context_tokens=2_048,
        modalities=_IMAGE,
        dialect=None,
        note=_TRANSLATES,
    ),
)
_GEMMA_3N = (
    _chat(
        "gemma-3n-E2B-it",
        "gemma3n",
        5.5,
        _memory(11),
        context_tokens=_32K,
        modalities=_IMAGE_AUDIO,
        lora=False,
        note=f"{_NO_LORA}, nor pipeline parallelism; the engine needs timm; {_WEAK_AT_TOOLS}",
    ),
    _chat(
        "gemma-3n-E4B-it",
        "gemma3n",
        8.0,
        _memory(16),
        context_tokens=_32K,
        modalities=_IMAGE_AUDIO,
        lora=False,
        note=f"{_NO_LORA}, nor pipeline parallelism; the engine needs timm; {_WEAK_AT_TOOLS}",
    ),
)
_FUNCTIONGEMMA = (
    _chat(
        "functiongemma-270m-it",
        "functiongemma",
        0.27,
        _270M,
        context_tokens=_32K,
        dialect="functiongemma",
        note=f"made for tool calls, not for talk; {_NO_FLOAT16}",
    ),
)
_GEMMA_4 = (
    _chat(
        "gemma-4-E2B-it",
        "gemma4",
        5.0,
        _memory(11.4, 5.7, 2.9),
        context_tokens=_128K,
        modalities=_ALL,
        dialect="gemma4",
        note="vLLM 0.19.1 or later",
    ),
    _chat(
        "gemma-4-E4B-it",
        "gemma4",
        8.0,
        _memory(17.9, 8.9, 4.5),
        context_tokens=_128K,
        modalities=_ALL,
        dialect="gemma4",
        note="vLLM 0.19.1 or later",
    ),
    _chat(
        "gemma-4-12B-it",
        "gemma4",
        12.0,
        _memory(26.7, 13.4, 6.7),
        context_tokens=_256K,
        modalities=_ALL,
        dialect="gemma4",
        lora=False,
        note=f"vLLM 0.23 or later; {_NO_LORA}; vLLM's recipe sets a context of 131072",
    ),
    _chat(
        "gemma-4-26B-A4B-it",
        "gemma4",
        26.0,
        _4_26B,
        context_tokens=_256K,
        modalities=_VIDEO,
        dialect="gemma4",
        note="vLLM 0.25 or later; mixture of experts; vLLM's recipe sets a context of 131072",
    ),
    _chat(
        "gemma-4-31B-it",
        "gemma4",
        31.0,
        _memory(69.9, 34.9, 17.5),
        context_tokens=_256K,
        modalities=_VIDEO,
        dialect="gemma4",
        note="vLLM 0.19.1 or later",
    ),
    _chat(
        "diffusiongemma-26B-A4B-it",
        "gemma4",
        26.0,
        _4_26B,
        context_tokens=_256K,
        modalities=_VIDEO,
        dialect="gemma4",
        lora=False,
        note=f"vLLM 0.24 or later; {_NO_LORA}; answers in blocks of up to 256 tokens; run with --max-num-seqs 4",
    ),
)
_CLASSIFIERS = (
    Variant("shieldgemma-2b", "shieldgemma", "classification", _TEXT, _8K, None, parameters_b=2.6, memory_gb=_2_2B),
    Variant("shieldgemma-9b", "shieldgemma", "classification", _TEXT, _8K, None, parameters_b=9.2, memory_gb=_2_9B),
    Variant("shieldgemma-27b", "shieldgemma", "classification", _TEXT, _8K, None, parameters_b=27.2, memory_gb=_2_27B),
    Variant(
        "shieldgemma-2-4b-it",
        "shieldgemma2",
        "classification",
        _IMAGE,
        _128K,
        None,
        parameters_b=4.3,
        max_images=1,
        memory_gb=_4B,
        note='vLLM needs --hf-overrides \'{"architectures":["Gemma3ForConditionalGeneration"]}\'',
    ),
)
_EMBEDDERS = (
    Variant(
        "embeddinggemma-300m",
        "embeddinggemma",
        "embedding",
        _TEXT,
        2_048,
        None,
        lora=True,
        parameters_b=0.308,
        memory_gb=MappingProxyType({"bf16": 0.6}),
        note=_NO_FLOAT16,
    ),
    Variant(
        "embeddinggemma-2",
        "embeddinggemma",
        "embedding",
        _ALL,
        8_192,
        None,
        parameters_b=0.74,
        memory_gb=MappingProxyType({"bf16": 1.5}),
        note=f"vLLM 0.32 or later; {_NO_FLOAT16}",
    ),
)

TABLE: Final[tuple[Variant, ...]] = (
    *_GEMMA_4,
    *_GEMMA_3N,
    *_GEMMA_3,
    *_GEMMA_2,
    *_GEMMA_1,
    *_FUNCTIONGEMMA,
    *_TRANSLATEGEMMA,
    *_PALIGEMMA,
    *_CLASSIFIERS,
    *_EMBEDDERS,
)
"""In the order that `gateway models` prints."""
