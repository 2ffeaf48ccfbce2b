"""What ends a turn, per family.

The gateway always sends `stop_token_ids`: an engine started with `--generation-config vllm` doesn't know the
checkpoint's own list, and Gemma 4 without `<|tool_response>` repeats it up to the length limit. A stop token isn't part
of the text; the worker reports it as `stop_reason` (measured on vLLM 0.32).
"""

from typing import Final

from gateway.values import Family

_GEMMA_TURN: Final = ("<eos>", "<end_of_turn>")
_MARKERS: Final[dict[Family, tuple[str, ...]]] = {
    "gemma4": ("<eos>", "<turn|>", "<|tool_response>"),
    "functiongemma": (*_GEMMA_TURN, "<start_function_response>"),
    "embeddinggemma": (),
}
_DEFAULT_IDS: Final[dict[Family, tuple[int, ...]]] = {
    "gemma1": (1, 107),
    "gemma2": (1, 107),
    "gemma3": (1, 106),
    "gemma3n": (1, 106),
    "gemma4": (1, 106, 50),
    "functiongemma": (1, 106, 50),
    "shieldgemma": (1, 107),
    "shieldgemma2": (1, 106),
    "embeddinggemma": (),
}


def stop_markers(family: Family) -> tuple[str, ...]:
    """The markers whose ids a worker's tokenizer is asked for when it joins."""
    return _MARKERS.get(family, _GEMMA_TURN)


def default_stop_token_ids(family: Family) -> tuple[int, ...]:
    """The ids in the published checkpoints, in the order of `stop_markers`: for workers that can't be asked."""
    return _DEFAULT_IDS[family]
