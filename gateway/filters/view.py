"""A text on its way through the rules: as it is, in its plain form, and the way back from there.

The arguments of calls are JSON: there the rules read what the strings say, escapes resolved, and nothing matches over
the end of a string.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.filters.folding import Folded, fold, fold_skeleton

BREAK: Final = "\x00"
"""Stands for a quote that begins or ends a string of JSON."""

_JSON_UNIT: Final = re.compile(
    r"(?P<open>\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u[0-9a-fA-F]{0,3})?)?\Z|\\(?:u[0-9a-fA-F]{0,3})?\Z)"
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\\"]+|\"",
    re.DOTALL,
)
"""`open`: an escape that may go on."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where a rule matches, in the text as it is."""

    start: int
    end: int
    label: str


class View:
    """One text, or the part of one that is at hand."""

    __slots__ = ("_ends", "_quoted", "_skeleton", "_starts", "folded", "raw", "text")

    def __init__(self, raw: str, *, json: bool = False, quoted: bool = False, whole: bool = True) -> None:
        """`json`: the text is JSON, and begins inside a string if `quoted`; `whole`: nothing comes behind it."""
        self.raw = raw
        self.text = raw
        """Without JSON's escapes."""
        self._starts: Sequence[int] | None = None
        self._ends: Sequence[int] | None = None
        self._quoted: Sequence[bool] | None = None
        if json and not (quoted and "\\" not in raw and '"' not in raw):
            self._decode(raw, quoted, whole)
        self.folded: Folded = fold(self.text)
        """What most rules read."""
        self._skeleton: Folded | None = None

    @property
    def skeleton(self) -> Folded:
        """The plain form with Latin letters for those that look like them; the same object where there are none."""
        if self._skeleton is None:
            found = self.folded if self.text.isascii() else fold_skeleton(self.text)
            self._skeleton = self.folded if found.text == self.folded.text else found
        return self._skeleton

    def span(self, start: int, end: int, label: str, form: Folded | None = None) -> Span:
        """Return where a match is, found in a folded form or in `text`."""
        if form is not None:
            start, end = form.start(start), form.end(end)
        return Span(self._raw_start(start), end if self._ends is None else self._ends[end - 1], label)

    def place(self, index: int, form: Folded | None = None) -> int:
        """Return where a character begins, of a folded form or of `text`; behind the last one: the text's end."""
        if form is not None:
            index = form.start(index) if index < len(form.text) else len(self.text)
        return self._raw_start(index)

    def is_quoted(self, place: int, default: bool) -> bool:
        """Whether a place in the text is inside a string of JSON."""
        if self._quoted is None or self._starts is None:
            return default
        at = next((at for at, start in enumerate(self._starts) if start >= place), len(self._quoted) - 1)
        return self._quoted[at] if self._quoted else default

    def _raw_start(self, index: int) -> int:
        if self._starts is None:
            return index
        return self._starts[index] if index < len(self._starts) else len(self.raw)

    def _decode(self, raw: str, inside: bool, whole: bool) -> None:
        pieces: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        quoted: list[bool] = []
        for unit in _JSON_UNIT.finditer(raw):
            said = unit[0]
            if unit["open"] is not None and not whole:
                self.raw = raw[: unit.start()]
                break
            if said == '"':
                inside = not inside
                said = BREAK
            elif said[0] == "\\":
                said = _unescaped(said)
            single = len(said) == 1
            pieces.append(said)
            starts += [unit.start()] if single else range(unit.start(), unit.end())
            ends += [unit.end()] if single else range(unit.start() + 1, unit.end() + 1)
            quoted += [inside] * len(said)
        self.text = "".join(pieces)
        self._starts, self._ends, self._quoted = starts, ends, quoted


def _unescaped(said: str) -> str:
    """Return what an escape stands for; one that is none stands for itself."""
    try:
        found: str = json.loads(f'"{said}"')
    except ValueError:
        return said
    return found if found.isascii() or found.encode("utf-8", "ignore") else "\ufffd"
