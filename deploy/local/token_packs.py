"""Conversations as tokens to learn from, and several of them in one sequence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

END_OF_TURN = "<end_of_turn>"


class Tokenizer(Protocol):
    """What is used of Hugging Face's tokenizer."""

    def apply_chat_template(self, conversation: Sequence[Any], **options: Any) -> Any: ...

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any: ...


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """A conversation; `learned` tells of each token whether the model has to write it itself."""

    tokens: list[int]
    learned: list[bool]


@dataclass(frozen=True, slots=True)
class Pack:
    """Sequences that begin alike, laid end to end with their common beginning only once.

    Branch 0 is the beginning, which all see; every other branch sees it and itself.
    """

    tokens: list[int]
    learned: list[bool]
    positions: list[int]
    branches: list[int]


class ConversationTokenizer:
    """Tokenises conversations in which user and assistant alternate, with a chat template (Jinja)."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self._tokenizer = tokenizer
        self._template = template
        (self._end_of_turn,) = tokenizer(END_OF_TURN, add_special_tokens=False)["input_ids"]

    def sequence(self, messages: Sequence[Any]) -> TokenSequence:
        """The tokens; the assistant's messages, and the token that ends each, are to be learned."""
        tokens: list[int] = []
        learned: list[bool] = []
        for end in range(2, len(messages) + 1, 2):
            prompt = self._tokens(messages[: end - 1], add_generation_prompt=True)
            whole = self._tokens(messages[:end], add_generation_prompt=False)
            whole = whole[: len(whole) - whole[::-1].index(self._end_of_turn)]
            if whole[: len(prompt)] != prompt or prompt[: len(tokens)] != tokens:
                raise ValueError(f"these turns are not tokenised one by one: {messages[:end]}")
            learned += [False] * (len(prompt) - len(tokens)) + [True] * (len(whole) - len(prompt))
            tokens = whole
        return TokenSequence(tokens, learned)

    def _tokens(self, messages: Sequence[Any], *, add_generation_prompt: bool) -> list[int]:
        text = self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def pack(sequences: Sequence[TokenSequence]) -> Pack:
    """Lay sequences end to end. What is learned, and the token that it is told from, are never in the beginning."""
    limit = min(sequence.learned.index(True) for sequence in sequences) - 1
    first = sequences[0].tokens
    common = next(
        (i for i in range(limit) if any(sequence.tokens[i] != first[i] for sequence in sequences)),
        limit,
    )
    packed = Pack(first[:common], [False] * common, list(range(common)), [0] * common)
    for branch, sequence in enumerate(sequences, start=1):
        rest = len(sequence.tokens) - common
        packed.tokens.extend(sequence.tokens[common:])
        packed.learned.extend(sequence.learned[common:])
        packed.positions.extend(range(common, common + rest))
        packed.branches.extend([branch] * rest)
    return packed
