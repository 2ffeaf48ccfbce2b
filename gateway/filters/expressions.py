"""Rules made of regular expressions, matched by RE2: its time is linear in the text, whatever the expression.

Matches may overlap: every place is tried, whatever matched before it. So what matches at a place depends on the text
from one character before it up to the longest match, never on where a search began, and a text gives the same matches
whole and in pieces.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from gateway.config.pattern_syntax import Pattern, read_pattern
from gateway.filters.folding import Folded
from gateway.filters.scanner import Scanner
from gateway.filters.view import Span, View

Form = Literal["text", "folded", "skeleton"]
Check = Callable[[str, int, int], tuple[int, int] | None]
"""Of a text and where it may match: where it does."""


class Finder(Protocol):
    """Finds the matches of one rule."""

    def find(self, view: View) -> list[Span]:
        """Return every match."""
        ...

    def hold(self, view: View) -> int:
        """Return where the first match may begin that isn't decided before more text comes; the text's end if none."""
        ...


def anywhere(text: str, start: int, end: int) -> tuple[int, int]:
    """Accept every match."""
    del text
    return start, end


def alone(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Accept a match that no letter or digit touches."""
    if (start and text[start - 1].isalnum()) or (end < len(text) and text[end].isalnum()):
        return None
    return start, end


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression of a rule."""

    label: str
    pattern: Pattern
    check: Check = anywhere
    """May look at one character before the match and at two behind it."""
    hint: str | None = None
    """Is found, cheaply, in every text in which the pattern matches."""

    tail: str | None = None
    """Matches, up to a text's end, all that may still become a match or stop being one, and maybe a little more."""

    @property
    def undecided(self) -> str:
        """Matches, up to a text's end, what may still become a match or stop being one."""
        return self.tail or f"(?:{self.pattern.beginnings}|(?:{self.pattern.text})(?s:.))"


def expression(
    label: str, pattern: str, check: Check = anywhere, hint: str | None = None, tail: str | None = None
) -> Expression:
    """Read a built-in expression."""
    return Expression(label, read_pattern(pattern), check, hint, tail)


def open_tail(head: str, rest: str) -> str:
    """Return the tail of an expression that is a head and then characters of one class.

    Counting these characters would make a large automaton of it.
    """
    return f"(?:{read_pattern(head).beginnings}|(?:{head}){rest}*(?s:.)?)"


class ExpressionFinder:
    """Finds the matches of several expressions in one form of the text."""

    def __init__(self, expressions: Sequence[Expression], *, form: Form) -> None:
        self.form: Final[Form] = form
        self.expressions: Final = tuple(expressions)
        self._compiled: Final = [(each, Scanner(each.pattern.text)) for each in expressions]
        hints = dict.fromkeys(each.hint or each.pattern.text for each in expressions)
        self._hints: Final = Scanner("|".join(f"(?:{hint})" for hint in hints))
        undecided = "|".join(each.undecided for each in expressions)
        self._undecided: Final = Scanner(f"(?:{undecided})\\z")
        self._max_chars: Final = max(each.pattern.max_chars for each in expressions)

    def find(self, view: View) -> list[Span]:
        """Return every match."""
        form = self._form_of(view)
        text = view.text if form is None else form.text
        data = text.encode("utf-8", "surrogatepass")
        if self._hints.search(data) is None:
            return []
        found: list[Span] = []
        for each, compiled in self._compiled:
            places = _Places(text, data)
            at = 0
            while at < len(data) and (match := compiled.search(data, at)) is not None:
                start, end = places.char(match[0]), places.char(match[1])
                accepted = each.check(text, start, end)
                if accepted is not None:
                    found.append(view.span(*accepted, each.label, form))
                at = places.byte(start + 1)
        return found

    def hold(self, view: View) -> int:
        """Return where the first match may begin that isn't decided yet."""
        form = self._form_of(view)
        text = view.text if form is None else form.text
        skipped = max(0, len(text) - self._max_chars - 2)
        data = text[skipped:].encode("utf-8", "surrogatepass")
        found = self._undecided.search(data)
        if found is None:
            return len(view.raw)
        index = skipped + len(data[: found[0]].decode("utf-8", "surrogatepass"))
        return view.place(index, form)

    def _form_of(self, view: View) -> Folded | None:
        if self.form == "text":
            return None
        return view.folded if self.form == "folded" else view.skeleton


class _Places:
    """Turns places in UTF-8 into places in the text, and back, in one pass over both."""

    def __init__(self, text: str, data: bytes) -> None:
        self.text = text
        self.data = data
        self._plain = len(data) == len(text)
        self._char = self._byte = 0

    def char(self, byte: int) -> int:
        """Return the index of the character at a byte."""
        if self._plain:
            return byte
        if byte >= self._byte:
            self._char += len(self.data[self._byte : byte].decode("utf-8", "surrogatepass"))
        else:
            self._char -= len(self.data[byte : self._byte].decode("utf-8", "surrogatepass"))
        self._byte = byte
        return self._char

    def byte(self, char: int) -> int:
        """Return the byte at which a character begins."""
        if self._plain:
            return char
        if char >= self._char:
            self._byte += len(self.text[self._char : char].encode("utf-8", "surrogatepass"))
        else:
            self._byte -= len(self.text[char : self._char].encode("utf-8", "surrogatepass"))
        self._char = char
        return self._byte
