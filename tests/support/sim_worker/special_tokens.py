"""What becomes of special tokens between the model's turn and the reply's text. No I/O."""

import re
from dataclasses import dataclass

from .fields import Sampling
from .settings import Settings, Template
from .tokens import FUNCTIONGEMMA, GEMMA_3, GEMMA_4, Tokenizer

_TOKENIZERS: dict[Template, Tokenizer] = {"functiongemma": FUNCTIONGEMMA, "gemma4": GEMMA_4}
_CALL = re.compile(r"<\|tool_call>.*?(?:<tool_call\|>|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A turn's text as the engine gives it out; `stopped_by` is the stop token that ended it."""

    text: str
    stopped_by: int | None = None


def tokenizer_of(settings: Settings) -> Tokenizer:
    return _TOKENIZERS.get(settings.template, GEMMA_3)


def rest_of_turn(turn: str, prompt: str) -> str:
    """The turn without that beginning which the prompt ends with already."""
    longest = min(len(turn), len(prompt))
    return next((turn[size:] for size in range(longest, 0, -1) if prompt.endswith(turn[:size])), turn)


def spoken(turn: str, request: Sampling, settings: Settings) -> Spoken:
    """The text up to the first stop token; without its other special tokens unless the request wants to see them."""
    if settings.template not in _TOKENIZERS:
        return Spoken(turn)
    tokenizer = tokenizer_of(settings)
    stops = set(request.stop_token_ids or ())
    found = next((each for each in tokenizer.marker.finditer(turn) if tokenizer.ids[each[0]] in stops), None)
    text = turn[: found.start()] if found else turn
    if request.skip_special_tokens:
        text = tokenizer.marker.sub("", text)
    return Spoken(text, tokenizer.ids[found[0]] if found else None)


def without_calls(text: str) -> str:
    """What vLLM's gemma4 tool parser leaves of a text when nobody may call: the calls are read and thrown away."""
    return _CALL.sub("", text)
