"""What crosses the borders between the steps of a request: frozen values, no behaviour beyond their own arithmetic.

What is made for every request is a `msgspec.Struct`: it is built in C, a frozen dataclass attribute by attribute in
Python.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NewType

from msgspec import Struct

ModelName = NewType("ModelName", str)
"""The name under `models[].name`: what clients send, `/v1/models` lists and answers carry."""
TenantId = NewType("TenantId", str)
KeyId = NewType("KeyId", str)
"""The public name of an API key; safe in logs and metrics."""
RequestId = NewType("RequestId", str)
WorkerId = NewType("WorkerId", str)
"""`host:port` of a worker: what `x-gateway-worker`, logs and metrics show."""

Family = Literal[
    "gemma1", "gemma2", "gemma3", "gemma3n", "gemma4", "functiongemma", "shieldgemma", "shieldgemma2", "embeddinggemma"
]
"""Members of a family share turn markers, chat template and stop tokens."""
Modality = Literal["text", "image", "audio", "video"]
Task = Literal["chat", "completion", "embedding", "classification"]
"""`completion`: base checkpoints without a chat template of their own."""
DialectName = Literal[
    "gemma3-python", "gemma3-json", "gemma3-toolcode", "gemma3-functioncall", "functiongemma", "gemma4", "engine"
]
Precision = Literal["bf16", "8-bit", "4-bit"]


@dataclass(frozen=True, slots=True)
class Variant:
    """One member of the Gemma family as published: what it can take in, how it speaks, what it needs."""

    name: str
    """Short name, `gemma-3-4b-it`; the Hugging Face id is `google/` in front of it."""
    family: Family
    task: Task
    modalities: frozenset[Modality]
    context_tokens: int
    dialect: DialectName | None
    """How it writes tool calls; None: it has no tool use (embedding, classification)."""
    thinking: bool = False
    lora: bool = False
    """Whether vLLM can serve LoRA adapters of it."""
    max_audio_s: float | None = None
    """How long a clip may be."""
    max_images: int | None = None
    """In one prompt; None: as many as the context holds."""
    parameters_b: float | None = None
    """Parameters in units of 10^9."""
    memory_gb: Mapping[Precision, float] | None = None
    """Weights only, GB."""
    note: str = ""


class Usage(Struct, frozen=True, gc=False):
    """Tokens of one request as the worker counted them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """Return the sum of both."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


class LimitState(Struct, frozen=True):
    """Where a caller stands with one of its limits; as `GET /v1/usage` shows it."""

    scope: Literal["tenant", "key", "model"]
    limit: str
    """As in the configuration: `requests_per_minute`."""
    amount: int
    used: int
    """What is reserved for requests in flight counts."""
    remaining: int
    reset_s: float | None
    """Until everything that is used now has left the window; None for requests in flight: nobody knows their end."""
    model: ModelName | None = None
    """Of which model, where the scope is one."""


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker told about itself when it joined."""

    max_context_tokens: int | None
    """vLLM's `max_model_len` for the served model."""
    stop_token_ids: tuple[int, ...]
    """The variant's end-of-turn markers, resolved with the worker's own tokenizer."""
    marker_ids: Mapping[str, int] = field(default_factory=dict[str, int])
    """The markers of the variant's calls and thoughts, resolved as well; one that isn't one token is left out."""
    adapters: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    """LoRA adapters of the served model that it has loaded, and the path that each was loaded from, where it tells."""
    parses_calls: bool | None = None
    """It was started with a tool parser, which takes calls out of the text and loses them; None: not known yet."""
