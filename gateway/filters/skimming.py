"""A glance at text in which most likely nothing is found: what a chunk of a stream costs.

ASCII text folds by `str.lower`, so all rules read one text, and their expressions are searched as one: one search for
what may still become a match, one for what a match can't be without. Letters and spaces alone need no second one where
no expression takes so few of them. Keywords are looked up in their automaton. Where any of that finds something, and in
other text, the rules themselves are asked.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from gateway.filters.expressions import Expression, ExpressionFinder, Finder
from gateway.filters.keywords import KeywordFinder
from gateway.filters.scanner import Scanner
from gateway.filters.view import Span, View

UNCLEAR: Final = -1


class _Acting(Protocol):
    @property
    def span(self) -> Span: ...


class _Rules(Protocol):
    def find(self, view: View) -> Sequence[_Acting]: ...

    def hold(self, view: View) -> int: ...


class _Scan:
    """The expressions of several rules that read one form of the text."""

    __slots__ = ("hints", "is_folded", "plain_chars", "undecided")

    def __init__(self, expressions: Sequence[Expression], *, is_folded: bool) -> None:
        self.is_folded: Final = is_folded
        hints = dict.fromkeys(each.hint or each.pattern.text for each in expressions)
        self.hints: Final = Scanner("|".join(f"(?:{hint})" for hint in hints)).search
        undecided = "|".join(each.undecided for each in expressions)
        self.undecided: Final = Scanner(f"(?:{undecided})\\z").search
        self.plain_chars: Final = min(each.pattern.plain_chars for each in expressions)


class Skimmer:
    """Glances at the end of one text after the other, for one set of rules."""

    __slots__ = ("_keywords", "_rules", "_scans")

    def __init__(self, rules: _Rules, finders: Sequence[Finder]) -> None:
        """`rules`: what is asked where a glance isn't enough."""
        self._rules: Final = rules
        self._keywords: Final = tuple(finder.skim for finder in finders if isinstance(finder, KeywordFinder))
        own = [each for each in finders if isinstance(each, ExpressionFinder)]
        folded = [each for finder in own if finder.form != "text" for each in finder.expressions]
        text = [each for finder in own if finder.form == "text" for each in finder.expressions]
        forms = ((folded, True), (text, False))
        self._scans: Final = tuple(_Scan(listed, is_folded=is_folded) for listed, is_folded in forms if listed)

    def decided(self, text: str, lead: int) -> int:
        """Return up to where a text that goes on may leave; UNCLEAR if a rule matches.

        The first `lead` characters have left already, and are there to judge a word's border by.
        """
        if not text.isascii():
            return self._look(text, lead)
        at = chars = len(text)
        lower = text.lower()
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
        return at if at > lead else lead  # noqa: FURB136  # a third of what `max` takes

    def _look(self, text: str, lead: int) -> int:
        view = View(text, whole=False)
        if any(match.span.start >= lead for match in self._rules.find(view)):
            return UNCLEAR
        return max(self._rules.hold(view), lead)
