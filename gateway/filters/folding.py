"""Text as rules read it: one spelling for what reads the same.

Every character is folded by itself: compatibility forms (fullwidth, mathematical, circled), case, accents of Latin and
Greek letters, digits of any script, dashes and spaces each become one plain form; zero-width characters and loose
combining marks vanish. So a text folds alike however it is cut, and each folded character knows where it came from.
The skeleton goes further: letters of other scripts that look like Latin ones become these (UTS #39).

ASCII folds by `str.lower`, the rest by a table that is made once, before the first text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from gateway.filters.fold_table import FoldTable

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
    return fold_table("exact").fold(text)


def fold_skeleton(text: str) -> Folded:
    """Return the text in its plain form, with Latin letters for those that look like them."""
    if text.isascii():
        return Folded(text.lower())
    return fold_table("skeleton").fold(text)


@cache
def fold_table(kind: Literal["exact", "skeleton"]) -> "FoldTable":
    """Return the table. It takes a tenth of a second to make, so call this before the first text comes."""
    # Here, because it takes numpy: a gateway without filters starts without it.
    from gateway.filters.fold_table import FoldTable, exact, skeleton  # noqa: PLC0415

    return FoldTable(exact() if kind == "exact" else skeleton(exact()))
