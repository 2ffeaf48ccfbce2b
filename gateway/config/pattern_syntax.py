"""Regular expressions in RE2's syntax, read as far as is needed to know how long a match can be and how one begins.

A rule on a stream must know which text at its end may still become a match. So the patterns of filters are of bounded
length, and `beginnings` makes of each one the pattern of everything that a match can begin with.
"""

import math
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, TypeAlias

import re2

MARKS: Final = ",;!?"
"""What ends a word and belongs to nothing else."""
_PLAIN: Final = f"{string.ascii_letters} .{MARKS}"
MAX_NESTING: Final = 50
_ROUNDS: Final = 4
"""Of a repetition: more of them tell a walk along words nothing new."""
_ATOM: Final = re.compile(
    r"\[\^?\]?(?:\[:\^?[a-z]+:\]|\\[pP](?:\{[^}]*\}|.)|\\.|[^\]\\])*\]"
    r"|\\[pP](?:\{\^?\w+\}|\w)|\\x(?:\{[0-9A-Fa-f]+\}|[0-9A-Fa-f]{2})|\\[^AbBzQECGgkKRXZ0-9]|[^\\()\[|*+?]",
    re.DOTALL,
)
_ASSERTION: Final = re.compile(r"\\[AbBz]|[\^$]")
_OPENING: Final = re.compile(r"\((?:\?(?:P?<[A-Za-z_]\w*>|[imsU]*(?:-[imsU]+)?:))?(?!\?)")
_FLAGS: Final = re.compile(r"\(\?([ims]+)\)")
_REPEAT: Final = re.compile(r"([*+?]|\{(\d+)(,?)(\d*)\})(\??)")


class PatternError(ValueError):
    """The pattern can't be used; the text says why, for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class _Char:
    text: str


@dataclass(frozen=True, slots=True)
class _Assertion:
    text: str


@dataclass(frozen=True, slots=True)
class _Sequence:
    items: "tuple[_Node, ...]"


@dataclass(frozen=True, slots=True)
class _Choice:
    items: "tuple[_Node, ...]"
    opening: str = "(?:"


@dataclass(frozen=True, slots=True)
class _Repeat:
    item: "_Node"
    low: int
    high: int
    lazy: str


_Node: TypeAlias = _Char | _Assertion | _Sequence | _Choice | _Repeat


@dataclass(frozen=True, slots=True)
class Pattern:
    """A checked expression."""

    text: str
    max_chars: int
    """Of its longest match."""
    beginnings: str = field(repr=False)
    """Matches every non-empty text with which a match can begin, whole matches included."""
    plain_chars: float
    """Of the shortest match of plain characters: ASCII letters, spaces, points and `MARKS`; infinite if none."""
    is_of_words: bool
    """Whether a match can begin with plain characters that have a letter behind a space. True where unsure."""
    takes_marks: bool
    """Whether a match can begin with plain characters that have one of `MARKS`. True where unsure."""


def read_pattern(text: str) -> Pattern:
    """Check an expression and find out its shape. Raises PatternError."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(text, options)
    except re2.error as error:
        raise PatternError(f"is no expression in RE2's syntax: {_said(error)}") from error
    if compiled.search("") is not None:
        raise PatternError("matches the empty text")
    flags = _FLAGS.match(text)
    reader = _Reader(text, flags.end() if flags else 0)
    node = reader.choice(0)
    if reader.at < len(text):
        raise PatternError(f"has something at position {reader.at + 1} that filters don't take")
    beginnings = _beginnings(node)
    opening = f"(?{flags[1]}:" if flags else "(?:"
    walk = _PlainWalk(node)
    pattern = Pattern(
        text, _max_chars(node), f"{opening}{beginnings})", _plain_chars(node), walk.is_of_words, walk.takes_marks
    )
    try:
        re2.compile(f"{pattern.beginnings}\\z", options)
    except re2.error as error:
        raise PatternError("is too large") from error
    return pattern


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


class _Reader:
    """Reads an expression that RE2 has found good."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self.at = at

    def choice(self, depth: int, opening: str = "(?:") -> _Node:
        if depth > MAX_NESTING:
            raise PatternError("is nested too deeply")
        items = [self._sequence(depth)]
        while self._text.startswith("|", self.at):
            self.at += 1
            items.append(self._sequence(depth))
        return _Choice(tuple(items), opening)

    def _sequence(self, depth: int) -> _Node:
        return _Sequence(tuple(self._items(depth)))

    def _items(self, depth: int) -> Iterator[_Node]:
        while self.at < len(self._text) and self._text[self.at] not in "|)":
            node = self._item(depth)
            while found := _REPEAT.match(self._text, self.at):
                self.at = found.end()
                node = _repeated(node, found)
            yield node

    def _item(self, depth: int) -> _Node:
        if found := _OPENING.match(self._text, self.at):
            self.at = found.end()
            opening = found[0] if found[0].endswith(":") else "(?:"
            node = self.choice(depth + 1, opening)
            self.at += 1
            return node
        for form, kind in ((_ASSERTION, _Assertion), (_ATOM, _Char)):
            if found := form.match(self._text, self.at):
                self.at = found.end()
                return kind(found[0])
        raise PatternError(f"has something at position {self.at + 1} that filters don't take")


def _repeated(node: _Node, found: re.Match[str]) -> _Node:
    sign, low, comma, high, lazy = found.groups()
    if sign == "?":
        return _Repeat(node, 0, 1, lazy)
    if sign in ("*", "+") or (comma and not high):
        raise PatternError("can match any length: give every repetition a bound, {0,100} in place of *")
    return _Repeat(node, int(low), int(high or low), lazy)


def _max_chars(node: _Node) -> int:
    match node:
        case _Char():
            return 1
        case _Assertion():
            return 0
        case _Sequence(items):
            return sum(map(_max_chars, items))
        case _Choice(items):
            return max(map(_max_chars, items))
        case _Repeat(item, _, high):
            return high * _max_chars(item)


def _plain_chars(node: _Node) -> float:
    match node:
        case _Char(text):
            return 1 if _takes_plain(text) else math.inf
        case _Assertion():
            return 0
        case _Sequence(items):
            return sum(map(_plain_chars, items))
        case _Choice(items):
            return min(map(_plain_chars, items))
        case _Repeat(item, low):
            return low * _plain_chars(item) if low else 0


class _PlainWalk:
    """Walks through an expression along all texts of plain characters that it takes.

    What is known of such a text is whether it has a space: False or True in a set of both.
    """

    def __init__(self, node: _Node) -> None:
        self.is_of_words = self.takes_marks = False
        self._walk(node, frozenset([False]))

    def _walk(self, node: _Node, spaced: frozenset[bool]) -> frozenset[bool]:
        """Return what is known behind the node, for every way through it; nothing if there is none."""
        match node:
            case _Char(text):
                return self._take(text, spaced)
            case _Assertion():
                return spaced
            case _Sequence(items):
                for item in items:
                    spaced = self._walk(item, spaced)
                return spaced
            case _Choice(items):
                return frozenset[bool]().union(*(self._walk(item, spaced) for item in items))
            case _Repeat(item, low, high):
                behind = spaced if low == 0 else frozenset[bool]()
                for _ in range(min(high, _ROUNDS)):
                    spaced = self._walk(item, spaced)
                    behind |= spaced
                return behind

    def _take(self, atom: str, spaced: frozenset[bool]) -> frozenset[bool]:
        takes_letter, takes_mark = _takes_plain(atom, string.ascii_letters), _takes_plain(atom, MARKS)
        self.is_of_words = self.is_of_words or (takes_letter and True in spaced)
        self.takes_marks = self.takes_marks or (takes_mark and bool(spaced))
        behind = spaced if takes_letter or takes_mark or _takes_plain(atom, ".") else frozenset[bool]()
        return behind | {True} if spaced and _takes_plain(atom, " ") else behind


@cache
def _takes_plain(atom: str, chars: str = _PLAIN) -> bool:
    """Whether one character's expression takes one of these ASCII characters, whatever the case is worth."""
    return any(re2.compile(f"(?{flags}:{atom})").search(chars) is not None for flags in ("", "i"))


def _written(node: _Node) -> str:
    match node:
        case _Char(text) | _Assertion(text):
            return text
        case _Sequence(items):
            return "".join(map(_written, items))
        case _Choice(items, opening):
            return f"{opening}{'|'.join(map(_written, items))})"
        case _Repeat(item, low, high, lazy):
            return f"(?:{_written(item)}){{{low},{high}}}{lazy}"


def _beginnings(node: _Node) -> str:
    match node:
        case _Char(text):
            return text
        case _Assertion():
            return "[^\\x{0}-\\x{10FFFF}]"
        case _Sequence(items):
            return _beginnings_of_sequence(items)
        case _Choice(items, opening):
            return f"{opening}{'|'.join(map(_beginnings, items))})"
        case _Repeat(item, _, high):
            if high == 0:
                return "[^\\x{0}-\\x{10FFFF}]"
            before = f"(?:{_written(item)}){{0,{high - 1}}}" if high > 1 else ""
            return f"(?:{before}{_beginnings(item)})"


def _beginnings_of_sequence(items: Sequence[_Node]) -> str:
    """A text begins a sequence when it begins its first item, or is that item and begins the rest."""
    said = "[^\\x{0}-\\x{10FFFF}]"
    for item in reversed(items):
        if isinstance(item, _Char):
            said = f"(?:{item.text}(?:{said})?)"
        elif isinstance(item, _Assertion):
            said = f"(?:{item.text}{said})"
        else:
            said = f"(?:{_beginnings(item)}|{_written(item)}{said})"
    return said
