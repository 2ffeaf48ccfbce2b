"""What a worker was started with; the names follow ``vllm serve``."""

from dataclasses import dataclass
from typing import Literal

Template = Literal["gemma3", "gemma3-vision", "plain", "functiongemma", "gemma4"]
DEFAULT_MODEL = "google/gemma-3-270m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    model: str = DEFAULT_MODEL
    max_model_len: int = 4096
    lora_modules: tuple[str, ...] = ()
    """Adapters that it has from its start on; the path of each is its name."""
    runtime_lora: bool = False
    """True has the routes that load and unload adapters, as an engine with `VLLM_ALLOW_RUNTIME_LORA_UPDATING=1` does:
    a path has an adapter when it holds an `adapter_config.json`."""
    api_key: str | None = None
    tool_parser: bool = False
    """True answers as an engine started with ``--enable-auto-tool-choice --tool-call-parser gemma4`` does: tools are
    accepted with any choice, and what the chat route says has lost its calls."""
    template: Template = "gemma3"
    """``gemma3`` checks turns as Gemma 3's chat template does, and takes text only; ``gemma3-vision`` takes images;
    ``plain`` accepts every order of roles; ``gemma4`` renders tools, too. ``functiongemma`` is Gemma 3's template. The
    last two have their family's special tokens: they are left out of the text unless ``skip_special_tokens`` is false,
    and end it where ``stop_token_ids`` say so."""
    embeddings: bool = True
    """False answers 404 on /v1/embeddings, as an engine that was started to generate does."""
    embedding_size: int = 640
    keep_alive_s: float = 5.0
    """uvicorn's default, and vLLM's."""
