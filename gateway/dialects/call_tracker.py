"""Finds where a call in Python's or JSON's syntax ends, piece by piece: brackets outside strings, and strings."""

import re
from typing import Final

from gateway.dialects.events import MAX_NESTING

_CLOSERS: Final = {"(": ")", "[": "]", "{": "}"}
_OUTSIDE: Final = re.compile(r"[\"'()\[\]{},`]")
_STRINGS: Final = re.compile(r"""(?:"[^"\\]++"|'[^'\\]++'|"{6}|'{6})++""")
"""Strings without escapes from end to end, one after the other; six quotes are an empty long one."""
_PAIRS: Final = re.compile(r"(?:\(\)|\[\]|\{\})++")
"""Brackets with nothing inside, one pair after the other."""
_FENCE: Final = 3


class CallTracker:
    """`end` is the number of characters up to the end of the call, once it is known.

    A call ends with the bracket that closes its first one; in a fence (`fenced`) at three backticks outside brackets.
    """

    def __init__(self, *, fenced: bool = False) -> None:
        self.end: int | None = None
        self.failed = False
        """Brackets that don't match, or too many: no call."""
        self.safe = 0
        """Characters up to the last place where the text may be cut off and closed."""
        self.chars = 0
        """Characters seen."""
        self._offset = 0
        self._fenced = fenced
        self._stack: list[str] = []
        self._quote = ""
        """The quote of the open string, three times for a long one."""
        self._run = 0
        """Quotes or backticks in a row, just seen."""
        self._fresh = False
        """The run stands at a string's opening."""
        self._escaped = False
        self._in_string = False

    @property
    def closing(self) -> str:
        """What would close everything that is open."""
        return (self._quote if self._in_string else "") + self.brackets

    @property
    def in_string(self) -> bool:
        """Whether the text ends inside a string."""
        return self._in_string

    @property
    def brackets(self) -> str:
        """The closing brackets that are missing."""
        return "".join(reversed(self._stack))

    def feed(self, text: str, start: int = 0) -> int:
        """Goes over a piece of the call, from `start` on; returns how many of its characters belong to it."""
        position = start
        self._offset = self.chars - start
        while position < len(text) and self.end is None and not self.failed:
            step = self._string if self._in_string or self._fresh else self._plain
            position = step(text, position)
        self.chars += position - start
        return position - start

    def _string(self, text: str, position: int) -> int:
        char = text[position]
        if self._fresh:
            return self._opening(char, position)
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == self._quote[0]:
            self._run += 1
            if self._run == len(self._quote):
                self._in_string = False
                self._run = 0
            return position + 1
        else:
            return self._skip(text, position)
        self._run = 0
        return position + 1

    def _skip(self, text: str, position: int) -> int:
        """Jumps to what may matter next inside a string."""
        self._run = 0
        ends = [found for mark in ("\\", self._quote[0]) if (found := text.find(mark, position)) >= 0]
        return min(ends) if ends else len(text)

    def _opening(self, char: str, position: int) -> int:
        """Behind a string's first quote: one more is an empty string, or the beginning of a long one."""
        if char == self._quote:
            self._run += 1
            if self._run == _FENCE:
                self._quote = char * _FENCE
                self._fresh, self._in_string, self._run = False, True, 0
            return position + 1
        self._in_string = self._run == 1
        self._fresh, self._run = False, 0
        return position

    def _plain(self, text: str, position: int) -> int:
        if self._run and text[position] != "`":
            self._run = 0
        found = _OUTSIDE.search(text, position)
        if found is None:
            self._run = 0
            return len(text)
        if found.start() > position:
            self._run = 0
        strings = _STRINGS.match(text, found.start())
        if strings:
            self._run = 0
            return strings.end()
        inside = self._fenced or self._stack  # else they end the call
        if inside and len(self._stack) < MAX_NESTING and (pairs := _PAIRS.match(text, found.start())):
            self._run = 0
            self.safe = self._offset + pairs.end()
            return pairs.end()
        self._mark(found[0], self._offset + found.start())
        return found.end()

    def _mark(self, char: str, at: int) -> None:
        if char in "\"'":
            self._quote, self._fresh, self._run = char, True, 1
        elif char == "`":
            self._run += 1
            if self._fenced and self._run == _FENCE and not self._stack:
                self.end = at + 1
        elif char == ",":
            self.safe = at
        elif char in _CLOSERS:
            self._stack.append(_CLOSERS[char])
            self.safe = at + 1
            self.failed = len(self._stack) > MAX_NESTING
        elif not self._stack or self._stack.pop() != char:
            self.failed = True
        else:
            self.safe = at + 1
            if not self._stack and not self._fenced:
                self.end = at + 1
