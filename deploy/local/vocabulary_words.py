"""Whole words of a tokenizer's vocabulary: a wide choice of values to copy, without a word list of our own."""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

MOST: Final = 12_000
"""Words of each kind; the vocabulary is sorted by how common a word is."""

_WORD: Final = re.compile("\u2581([a-z]{4,11}|[A-Z][a-z]{3,11})")


@dataclass(frozen=True, slots=True)
class VocabularyWords:
    """Words as they are written in a text (`harbour`) and names (`Seville`), the most common first."""

    words: tuple[str, ...]
    names: tuple[str, ...]

    @classmethod
    def of_tokenizer(cls, file: Path, held_out: Collection[str]) -> Self:
        """From a `tokenizer.json`, without the `held_out` words, which are in lower case."""
        vocabulary: dict[str, int] = json.loads(file.read_text(encoding="utf-8"))["model"]["vocab"]
        return cls.of_tokens(sorted(vocabulary, key=vocabulary.__getitem__), held_out)

    @classmethod
    def of_tokens(cls, tokens: Iterable[str], held_out: Collection[str]) -> Self:
        """From tokens that write the space before a word as U+2581."""
        whole = [match[1] for match in map(_WORD.fullmatch, tokens) if match and match[1].lower() not in held_out]
        words = [word for word in whole if word[0].islower()]
        names = [word for word in whole if word[0].isupper()]
        return cls(tuple(words[:MOST]), tuple(names[:MOST]))


def words_of(text: str) -> frozenset[str]:
    """All words of a text, in lower case: what to hold out of a training that this text is to test."""
    return frozenset(word.lower() for word in re.findall("[A-Za-z]+", text))
