"""A glance at text in which most likely nothing is found: what a chunk of a stream costs.

ASCII text folds by `str.lower`, so all rules read one text, and their expressions are searched as one: one search for
what may still become a match, one for what a match can't be without. Letters and spaces alone need no second one where
no expression takes so few of them. Keywords are looked up in their automaton. Where any of that finds something, and in
other text, the rules themselves are asked.

Most chunks are words and no more, one space apart. Where no expression takes a letter behind a space, what may still
become a match begins in the last of them; where every word may begin one, as an address does, it is all of that word,
without a search. A single letter could be one of several that are set apart, unless a longer word follows.
"""

import re
import string
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.config.pattern_syntax import MARKS
from gateway.filters.expressions import Expression, ExpressionFinder, Finder
from gateway.filters.keywords import KeywordFinder
from gateway.filters.scanner import Scanner
from gateway.filters.view import Span, View

UNCLEAR: Final = -1
LONGEST_WORD: Final = 24
"""Letters of a word that is taken for one of many."""
_AROUND: Final = 2
"""Characters behind a word that a match may have: a point or a mark, and a space."""
_LONE: Final = "[a-z](?= [a-z]{3})"
_ENDS: Final = f"{string.ascii_lowercase}.{MARKS}"
_SAMPLES: Final = ("e", "an", "the", "zebra", "q" * LONGEST_WORD)


class _Acting(Protocol):
    @property
    def span(self) -> Span: ...


class _Rules(Protocol):
    def find(self, view: View) -> Sequence[_Acting]: ...

    def hold(self, view: View) -> int: ...


class _Scan:
    """The expressions of several rules that read one form of the text."""

    __slots__ = ("free_ends", "held_ends", "hints", "is_folded", "longest_word", "plain_chars", "undecided")

    def __init__(self, expressions: Sequence[Expression], *, is_folded: bool) -> None:
        self.is_folded: Final = is_folded
        hints = dict.fromkeys(each.hint or each.pattern.text for each in expressions)
        self.hints: Final = Scanner("|".join(f"(?:{hint})" for hint in hints)).search
        undecided = "|".join(each.undecided for each in expressions)
        self.undecided: Final = Scanner(f"(?:{undecided})\\z").search
        self.plain_chars: Final = min(each.pattern.plain_chars for each in expressions)
        is_of_words = any(each.pattern.is_of_words for each in expressions)
        self.longest_word: Final = 0 if is_of_words else min(LONGEST_WORD, self.plain_chars - _AROUND - 1)
        """Letters of a word, one of many, that has no match in it."""
        self.held_ends: Final = frozenset(end for end in _ENDS if all(self._holds(word + end) for word in _SAMPLES))
        """Last characters of words that may begin a match, whatever is before them. To hold more than that is right."""
        self.free_ends: Final = frozenset("" if any(each.pattern.takes_marks for each in expressions) else MARKS)
        """Last characters of words that can't be in a match."""

    def _holds(self, word: str) -> bool:
        return self.undecided(f" {word}".encode()) == (1, 1 + len(word))


class Skimmer:
    """Glances at the end of one text after the other, for one set of rules."""

    __slots__ = ("_are_words", "_free_ends", "_held_ends", "_keywords", "_rules", "_scans", "_words")

    def __init__(self, rules: _Rules, finders: Sequence[Finder]) -> None:
        """`rules`: what is asked where a glance isn't enough."""
        self._rules: Final = rules
        keywords = [finder for finder in finders if isinstance(finder, KeywordFinder)]
        self._keywords: Final = tuple(finder.skim for finder in keywords)
        self._words: Final = tuple(finder.lookup for finder in keywords if finder.lookup is not None)
        own = [each for each in finders if isinstance(each, ExpressionFinder)]
        folded = [each for finder in own if finder.form != "text" for each in finder.expressions]
        text = [each for finder in own if finder.form == "text" for each in finder.expressions]
        forms = ((folded, True), (text, False))
        self._scans: Final = tuple(_Scan(listed, is_folded=is_folded) for listed, is_folded in forms if listed)
        longest = min((scan.longest_word for scan in self._scans), default=LONGEST_WORD)
        is_able = longest > 1 and len(self._words) == len(keywords)
        word, end = f"[a-z]{{2,{longest}}}", f"[.{MARKS}]?"
        words = f"(?:{word})?(?:{end} (?:{word}|{_LONE}))+{end}"
        self._are_words: Final = re.compile(words if is_able else "(?!)").fullmatch
        self._held_ends: Final = frozenset[str]().union(*(scan.held_ends for scan in self._scans))
        self._free_ends: Final = frozenset(_ENDS).intersection(*(scan.free_ends for scan in self._scans))

    def decided(self, text: str, lead: int) -> int:
        """Return up to where a text that goes on may leave; UNCLEAR if a rule matches.

        The first `lead` characters have left already, and are there to judge a word's border by.
        """
        if not text.isascii():
            return self._look(text, lead)
        lower = text.lower()
        if self._are_words(lower, lead) is None:
            return self._glance(text, lower, lead)
        at = len(lower)
        last, end = lower.rfind(" ") + 1, lower[-1]
        if end in self._held_ends:
            at = last
        elif end not in self._free_ends:
            at = self._undecided(text, lower)
        for finds, beginnings in self._words:
            if finds(lower):
                return self._look(text, lead)
            if at > last and lower[last:] in beginnings:
                at = last
        return at if at > last else last  # noqa: FURB136  # a third of what `max` takes

    def _glance(self, text: str, lower: str, lead: int) -> int:
        at = chars = len(text)
        for skim in self._keywords:
            found = skim(lower, lead)
            if found < at:
                if found < 0:
                    return self._look(text, lead)
                at = found
        for scan in self._scans:
            data = (lower if scan.is_folded else text).encode()
            tail = scan.undecided(data)
            if tail is not None and tail[0] < at:
                at = tail[0]
            if (chars >= scan.plain_chars or not text.replace(" ", "").isalpha()) and scan.hints(data) is not None:
                return self._look(text, lead)
        return max(at, lead)

    def _undecided(self, text: str, lower: str) -> int:
        tails = (scan.undecided((lower if scan.is_folded else text).encode()) for scan in self._scans)
        return min((tail[0] for tail in tails if tail is not None), default=len(text))

    def _look(self, text: str, lead: int) -> int:
        view = View(text, whole=False)
        if any(match.span.start >= lead for match in self._rules.find(view)):
            return UNCLEAR
        return max(self._rules.hold(view), lead)
