"""Text as rules read it: one spelling for what reads the same.

Every character is folded by itself: compatibility forms (fullwidth, mathematical, circled), case, accents of Latin and
Greek letters, digits of any script, dashes and spaces each become one plain form; zero-width characters and loose
combining marks vanish. So a text folds alike however it is cut, and each folded character knows where it came from.
The skeleton goes further: letters of other scripts that look like Latin ones become these (UTS #39).

ASCII folds by `str.lower`. For the rest the table is a numpy array: 1,000 characters of mixed scripts take 9 us this
way and 70 us by `str.translate` (deploy/decisions/003-filters-read-folded-text.md).
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

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

_UNSPACED: Final = (
    *(range(0x0E00, 0x0F00), range(0x1000, 0x10A0), range(0x1780, 0x1800), range(0x3040, 0x3100)),
    *(range(0x31F0, 0x3200), range(0x3400, 0xA000), range(0xF900, 0xFB00), range(0x20000, 0x40000)),
)
"""Scripts that are written without spaces: Thai, Lao, Burmese, Khmer, Japanese, Chinese."""


def is_unspaced(char: str) -> bool:
    """Whether the character is of a script in which words aren't set apart."""
    code = ord(char)
    return code >= 0x0E00 and any(code in block for block in _UNSPACED)


def joins(left: str, right: str) -> bool:
    """Whether two neighbours are inside one word."""
    return left.isalnum() and right.isalnum() and not (is_unspaced(left) or is_unspaced(right))


@dataclass(frozen=True, slots=True)
class Folded:
    """Folded text. `starts` and `ends` tell where each character's source begins and ends; None: in the same place."""

    text: str
    starts: Sequence[int] | None = None
    ends: Sequence[int] | None = None

    def start(self, index: int) -> int:
        """Where the source of a character begins."""
        return index if self.starts is None else int(self.starts[index])

    def end(self, index: int) -> int:
        """Where the source of everything before `index` ends; `index` is over 0."""
        return index if self.ends is None else int(self.ends[index - 1])


def fold(text: str) -> Folded:
    """Return the text in its plain form."""
    if text.isascii():
        return Folded(text.lower())
    return _table("exact").fold(text)


def fold_skeleton(text: str) -> Folded:
    """Return the text in its plain form, with Latin letters for those that look like them."""
    if text.isascii():
        return Folded(text.lower())
    return _table("skeleton").fold(text)


class _Table:
    """What each character folds to."""

    def __init__(self, special: dict[int, str]) -> None:
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
def _table(kind: Literal["exact", "skeleton"]) -> _Table:
    special: dict[int, str] = {}
    for code in _candidates():
        char = chr(code)
        folded = _fold_character(char)
        if kind == "skeleton":
            folded = char.translate(_SOURCES) if ord(char) in _SOURCES else folded.translate(_SOURCES)
        if folded != char:
            special[code] = folded
    for code in (code for block in _GONE for code in block):
        special[code] = ""
    special.update((code, chr(code + 32)) for code in range(0x41, 0x5B))
    return _Table(special)


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
