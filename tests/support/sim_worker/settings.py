"""What a worker was started with; the names follow ``vllm serve``."""

from dataclasses import dataclass

DEFAULT_MODEL = "google/gemma-3-270m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    model: str = DEFAULT_MODEL
    max_model_len: int = 4096
    lora_modules: tuple[str, ...] = ()
    api_key: str | None = None
    tool_parser: bool = False
    """True answers as an engine started with ``--enable-auto-tool-choice`` does: tools are accepted."""
    template: str = "gemma3"
    """``gemma3`` checks turns as Gemma 3's chat template does; ``plain`` accepts every order of roles."""
    embeddings: bool = True
    """False answers 404 on /v1/embeddings, as an engine that was started to generate does."""
    embedding_size: int = 640
    keep_alive_s: float = 5.0
    """uvicorn's default, and vLLM's."""
