"""What each character folds to, as a numpy array.

1,000 characters of mixed scripts take 9 us this way and 70 us by `str.translate`
(deploy/decisions/003-filters-read-folded-text.md).
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.filters.folding import Folded
from gateway.filters.look_alikes import LOOK_ALIKES

Codes: TypeAlias = NDArray[np.uint32]

_CODES: Final = 0x110000
_TABLED: Final = (range(0x80, 0x3400), range(0xA000, 0xAC00), range(0xF900, 0x1_7000), range(0x1_B000, 0x2_0000))
"""Where characters can fold to others; between lie ideographs and Hangul, which stand for themselves."""
_GONE: Final = (
    *(range(0x300, 0x370), range(0x1AB0, 0x1B00), range(0x1DC0, 0x1E00), range(0x20D0, 0x2100), range(0xFE20, 0xFE30)),
    *(range(0x115F, 0x1161), range(0x17B4, 0x17B6), range(0x180B, 0x1810), range(0xFE00, 0xFE10)),
    *(range(0x3164, 0x3165), range(0xFFA0, 0xFFA1), range(0xE0000, 0xE1000)),
)
"""Combining marks that go with any letter, and what is displayed as nothing. Marks that belong to one script stay."""
_SHORT: Final = 24
"""Up to this length the characters are folded one by one: an array takes longer to set up."""
_MANY: Final = 0xFFFFFFFF
"""In the table of single results: none, or more than one."""
_SOURCES: Final = str.maketrans({c: letter for letter, likes in LOOK_ALIKES.items() for c in likes})


class FoldTable:
    """What each character folds to."""

    def __init__(self, special: Mapping[int, str]) -> None:
        """`special`: what codes fold to, where it isn't themselves."""
        self._special = special
        self._single: Codes = np.arange(_CODES, dtype=np.uint32)
        self._length = np.ones(_CODES, dtype=np.uint8)
        self._first: Codes = np.arange(_CODES, dtype=np.uint32)
        tail: list[int] = []
        for code, folded in special.items():
            self._single[code] = ord(folded) if len(folded) == 1 else _MANY
            self._length[code] = len(folded)
            self._first[code] = _CODES + len(tail)
            tail += map(ord, folded)
        self._all: Codes = np.concatenate((np.arange(_CODES, dtype=np.uint32), np.array(tail, dtype=np.uint32)))

    def fold(self, text: str) -> Folded:
        """Return the text in its plain form."""
        if len(text) <= _SHORT:
            return self._fold_short(text)
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        singles = self._single.take(codes)
        if singles.max() != _MANY:
            return Folded(_text_of(singles))
        lengths = self._length.take(codes)
        starts = np.repeat(np.arange(len(codes)), lengths)
        within = np.arange(len(starts)) - np.repeat(np.cumsum(lengths, dtype=np.int64) - lengths, lengths)
        folded = self._all.take(np.repeat(self._first.take(codes), lengths) + within)
        return Folded(_text_of(folded), _as_sequence(starts), _as_sequence(starts + 1))

    def _fold_short(self, text: str) -> Folded:
        special = self._special
        pieces = [special.get(ord(char), char) for char in text]
        if all(len(piece) == 1 for piece in pieces):
            return Folded("".join(pieces))
        starts = [at for at, piece in enumerate(pieces) for _ in piece]
        return Folded("".join(pieces), starts, [at + 1 for at in starts])


def _text_of(codes: Codes) -> str:
    return codes.tobytes().decode("utf-32-le", "surrogatepass")


def _as_sequence(values: "NDArray[np.int64]") -> Sequence[int]:
    found: list[int] = values.tolist()
    return found


@cache
def exact() -> Mapping[int, str]:
    """Return what codes fold to in the plain form, where it isn't themselves."""
    special: dict[int, str] = {}
    for code in _candidates():
        char = chr(code)
        folded = _fold_character(char)
        if folded != char:
            special[code] = folded
    return _with_all(special)


def skeleton(plain: Mapping[int, str]) -> Mapping[int, str]:
    """Return the same for the skeleton, by the plain form."""
    special = {code: folded.translate(_SOURCES) for code, folded in plain.items()}
    special.update({code: letter for code, letter in _SOURCES.items() if code >= _TABLED[0].start})
    return _with_all({code: folded for code, folded in special.items() if folded != chr(code)})


def _with_all(special: dict[int, str]) -> Mapping[int, str]:
    """Add what is the same in every form."""
    for code in (code for block in _GONE for code in block):
        special[code] = ""
    special.update((code, chr(code + 32)) for code in range(0x41, 0x5B))
    return special


def _candidates() -> Iterator[int]:
    for block in _TABLED:
        yield from block


def _fold_character(char: str) -> str:
    category = unicodedata.category(char)
    if category in ("Cf", "Cn", "Co"):
        return "" if category == "Cf" else char
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category == "Pd":
        return "-"
    if category == "Zs":
        return " "
    name = unicodedata.name(char, "")
    if name.startswith(("NEGATIVE SQUARED LATIN CAPITAL LETTER ", "NEGATIVE CIRCLED LATIN CAPITAL LETTER ")):
        return name[-1].lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", char).casefold())
    bare = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    if name.startswith(("LATIN", "GREEK")) and bare:
        folded = bare
    return "".join(c for c in folded if not (0x300 <= ord(c) < 0x370))
