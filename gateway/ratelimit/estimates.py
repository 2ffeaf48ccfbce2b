"""How many tokens a request may use, before anybody has counted them. Pure."""

from collections import deque
from typing import Final

from gateway.values import ModelName

BYTES_PER_TOKEN: Final = 3
"""Of a prompt. Gemma's tokens hold four to five bytes of prose; text of digits only has one byte per token."""
FIRST_OUTPUT_TOKENS: Final = 1_024
"""Assumed of an answer while a model's own are unknown."""
REMEMBERED_ANSWERS: Final = 200
KNOWN_FROM_ANSWERS: Final = 20
RECOUNT_EVERY: Final = 10
QUANTILE: Final = 0.9


def estimate_prompt_tokens(prompt_bytes: int, media_tokens: int = 0) -> int:
    """Return an upper estimate of a prompt's tokens from the bytes of its text."""
    return -(-prompt_bytes // BYTES_PER_TOKEN) + media_tokens


def asked_output_tokens(max_tokens: int | None, max_completion_tokens: int | None = None) -> int | None:
    """Return what a client asked for: the smaller of both, None without one."""
    if max_tokens is None or max_completion_tokens is None:
        return max_completion_tokens if max_tokens is None else max_tokens
    return min(max_tokens, max_completion_tokens)


class OutputEstimates:
    """What answers without a maximum of the client's have needed, by model: nine of ten stay under the estimate."""

    def __init__(self) -> None:
        self._answers: dict[ModelName, deque[int]] = {}
        self._estimates: dict[ModelName, int] = {}
        self._until_recount: dict[ModelName, int] = {}

    def estimate(self, model: ModelName) -> int:
        """Return the tokens to reserve for one answer."""
        return self._estimates.get(model, FIRST_OUTPUT_TOKENS)

    def learn(self, model: ModelName, completion_tokens: int) -> None:
        """Take an answer's real size in; the estimate follows every `RECOUNT_EVERY` answers."""
        answers = self._answers.setdefault(model, deque(maxlen=REMEMBERED_ANSWERS))
        answers.append(completion_tokens)
        left = self._until_recount.get(model, KNOWN_FROM_ANSWERS) - 1
        if left <= 0:
            left = RECOUNT_EVERY
            self._estimates[model] = max(1, sorted(answers)[int(len(answers) * QUANTILE)])
        self._until_recount[model] = left
