"""Keywords: whole words and phrases, found by Aho-Corasick whatever their spelling.

A text is searched in its plain form, and again as its skeleton where letters of other scripts pass for Latin ones, and
with `leetspeak` again with signs read as letters. Latin letters set apart one by one (`h.a.t.e`) are put together.
Between the words of a phrase there may be up to `MAX_GAP` characters that are no letters or digits. A keyword with
accents asks for them; one without is found with and without. Chinese, Japanese, Thai … have no spaces: their keywords
are found anywhere.
"""

import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import ahocorasick_rs

from gateway.filters.expressions import Check, ExpressionFinder, expression
from gateway.filters.folding import Folded, fold, fold_skeleton, fold_table, is_unspaced, joins
from gateway.filters.scanner import Scanner
from gateway.filters.view import Span, View

LABEL: Final = "keywords"
MAX_GAP: Final = 8
MIN_SPREAD: Final = 3
"""Letters that a keyword has at least to be looked for letter by letter."""
MAX_DFA_WORDS: Final = 20_000
"""Up to here an automaton that is a fifth faster is worth its memory: 0.7 MB per thousand keywords."""

_GAP: Final = re.compile(rf"(?:[^\w\x00]|_){{1,{MAX_GAP}}}")
_WORD: Final = re.compile(r"[^\W_]+")
_PHRASE: Final = re.compile(r"[^\W_]+(?:[\s'_.-]+[^\W_]+)*")
_APART: Final = r"[^\pL\pN\x00]{1,3}"
_SPREAD: Final = rf"\b[a-z0-9](?:{_APART}[a-z0-9]){{2,23}}"
_SPREAD_HINT: Final = rf"\b[a-z0-9]{_APART}[a-z0-9]{_APART}[a-z0-9](?:[^a-z0-9]|$)"
_LONE: Final = re.compile("(?<![a-z0-9])[a-z0-9](?![a-z0-9])")
"""What letters set apart begin with, in folded ASCII text."""
_SPREAD_TAIL: Final = r"(?:^|[^a-z0-9])[a-z0-9](?:[^a-z0-9\x00]{1,3}[a-z0-9]){0,23}(?:[^a-z0-9\x00]{0,3}|(?s:.))\z"
"""The same up to the text's end, where they may go on; the character before them included."""
_APART_HINT: Final = Scanner(_SPREAD_HINT)
_APART_TAIL: Final = Scanner(_SPREAD_TAIL)
_ALNUM: Final = string.ascii_letters + string.digits
_SIGNS: Final = "013457@$!|+8"
_LEET: Final = str.maketrans(_SIGNS + "l", "oieastasiitb" + "i")
_SIGN: Final = re.compile(f"[{re.escape(_SIGNS)}]")


WordLookup = tuple[Callable[[str], Sequence[object]], frozenset[str]]
"""Finds what may be a keyword, or the first word of one; and all that a keyword's word may begin with."""


@dataclass(slots=True)
class _Entry:
    """What may begin where one text of the automaton is found."""

    alone: bool = False
    """The text itself is a keyword."""
    accented: set[str] | None = field(default_factory=set[str])
    """Then its spellings with accents that count; None: with or without."""
    phrases: set[str] = field(default_factory=set[str])
    """Keywords of several words, by one space apart, of which it is the first."""
    max_words: int = 1


class _Automaton:
    """Finds the keywords of one list in one form of a text."""

    def __init__(self, keywords: Iterable[tuple[str, str | None]]) -> None:
        """`keywords`: each in the form it is looked for, and its spelling with accents if it insists on them."""
        entries: dict[str, _Entry] = {}
        prefixes: set[str] = set()
        phrase_prefixes: set[str] = set()
        for keyword, accented in keywords:
            words = _WORD.findall(keyword) if _PHRASE.fullmatch(keyword) else [keyword]
            said = " ".join(words)
            entry = entries.setdefault(words[0], _Entry())
            if len(words) > 1:
                entry.phrases.add(said)
                entry.max_words = max(entry.max_words, len(words))
                phrase_prefixes.update(said[:length] for length in range(1, len(said) + 1))
                continue
            entry.alone = True
            if accented is None:
                entry.accented = None
            elif entry.accented is not None:
                entry.accented.add(accented)
            prefixes.update(said[:length] for length in range(1, len(said) + 1))
        self.words: Final = frozenset(word for word, entry in entries.items() if entry.alone)
        self._entries: Final = tuple(entries.values())
        kind = ahocorasick_rs.Implementation.DFA if len(entries) <= MAX_DFA_WORDS else None
        self._found: Final = ahocorasick_rs.AhoCorasick(list(entries), implementation=kind) if entries else None
        self._prefixes: Final = frozenset(prefixes)
        self._phrase_prefixes: Final = frozenset(phrase_prefixes)
        self._word_prefixes: Final = self._prefixes | self._phrase_prefixes
        self._anywhere: Final = any(not char.isalnum() or is_unspaced(char) for char in "".join(prefixes))
        self._max_chars: Final = max(map(len, prefixes), default=0)
        self._max_phrase_chars: Final = max(
            (len(said) + MAX_GAP * said.count(" ") for said in phrase_prefixes), default=0
        )

    def find(self, text: str, plain: str) -> Iterator[tuple[int, int, _Entry | None]]:
        """Yield where keywords are, with the entry where accents are to be checked. `plain` tells words' borders."""
        if self._found is None:
            return
        for which, start, end in self._found.find_matches_as_indexes(text, overlapping=True):
            if not _is_border(plain, start) or not _is_border(plain, end):
                continue
            entry = self._entries[which]
            if entry.alone:
                yield start, end, entry if entry.accented is not None else None
            if entry.phrases:
                yield from ((start, stop, None) for stop in _phrase_ends(text, start, end, entry))

    def skim(self, text: str) -> int:
        """Return where a keyword may begin that the end of ASCII text cuts off; -1 if there may be one already.

        Where the first word of no phrase is found, only the last word of the text can begin one.
        """
        if self._found is not None and self._found.find_matches_as_indexes(text):
            return -1
        if self._anywhere:
            return self.hold(text, anywhere=False)
        at = len(text.rstrip(_ALNUM))
        return at if text[at:] in self._word_prefixes else len(text)

    @property
    def lookup(self) -> "WordLookup | None":
        """How to skim words that are a space apart; None where keywords may begin elsewhere."""
        if self._found is None or self._anywhere:
            return None
        return self._found.find_matches_as_indexes, self._word_prefixes

    def hold(self, text: str, *, anywhere: bool) -> int:
        """Return where a keyword may have begun that the text's end cuts off; its length if nowhere."""
        length = len(text)
        at = length
        if anywhere or self._anywhere:
            first = max(0, length - self._max_chars)
            at = next((i for i in range(first, length) if text[i:] in self._prefixes), length)
        else:
            start = length
            while start and length - start <= self._max_chars and text[start - 1].isalnum():
                start -= 1
            if start < length and text[start:] in self._prefixes:
                at = start
        if self._phrase_prefixes:
            at = min(at, self._hold_phrase(text))
        return at

    def _hold_phrase(self, text: str) -> int:
        first = max(0, len(text) - self._max_phrase_chars - 1)
        words = list(_WORD.finditer(text, first))
        behind = text[words[-1].end() :] if words else ""
        if words and len(behind) <= MAX_GAP:
            said = [word[0] for word in words]
            for index, word in enumerate(words):
                if " ".join(said[index:]) + (" " if behind else "") in self._phrase_prefixes:
                    return word.start()
        return len(text)


def _is_border(text: str, index: int) -> bool:
    return not 0 < index < len(text) or not joins(text[index - 1], text[index])


def _phrase_ends(text: str, start: int, end: int, entry: _Entry) -> Iterator[int]:
    said = text[start:end]
    for _ in range(entry.max_words - 1):
        gap = _GAP.match(text, end)
        word = _WORD.match(text, gap.end()) if gap else None
        if word is None:
            return
        end = word.end()
        said = f"{said} {word[0]}"
        if said in entry.phrases:
            yield end


class KeywordFinder:
    """Finds the keywords of one rule."""

    def __init__(self, words: Sequence[str], *, leetspeak: bool) -> None:
        exact = [(fold(word).text, _insists(word)) for word in words]
        fold_table("skeleton")
        skeleton = [(fold_skeleton(word).text, accented) for word, (_, accented) in zip(words, exact, strict=True)]
        self._ascii: Final = all(word.isascii() for word in words)
        """Then a keyword in the plain form is one in the skeleton too, which leaves ASCII as it is."""
        self._exact: Final = _Automaton(exact)
        self._skeleton: Final = self._exact if self._ascii else _Automaton(skeleton)
        self._leet: Final = _Automaton((text.translate(_LEET), None) for text, _ in skeleton) if leetspeak else None
        spread = frozenset(word for word in self._skeleton.words if len(word) >= MIN_SPREAD and word.isascii())
        self._spread: Final = ExpressionFinder(
            [expression(LABEL, _SPREAD, _spread_check(spread), _SPREAD_HINT)], form="skeleton"
        )
        self._spreads: Final = bool(spread)
        self.lookup: Final = None if leetspeak else self._exact.lookup
        """How to skim folded ASCII words; None if that isn't enough."""

    def find(self, view: View) -> list[Span]:
        """Return every keyword."""
        skeleton = view.skeleton
        found = [] if self._ascii else self._spans(view, view.folded, self._exact, view.folded.text)
        if self._ascii or skeleton is not view.folded:
            found += self._spans(view, skeleton, self._skeleton, skeleton.text)
        if self._leet is not None and _SIGN.search(skeleton.text):
            signs = skeleton.text.translate(_LEET)
            found += [
                view.span(start, end, LABEL, skeleton)
                for start, end, _ in self._leet.find(signs, skeleton.text)
                if _SIGN.search(skeleton.text, start, end)
            ]
        if self._spreads:
            found += self._spread.find(view)
        return found

    def hold(self, view: View) -> int:
        """Return where the first keyword may begin that isn't decided yet."""
        folded, skeleton = view.folded, view.skeleton
        at = len(view.raw)
        if not self._ascii:
            at = view.place(self._exact.hold(folded.text, anywhere=False), folded)
        if self._ascii or skeleton is not folded:
            at = min(at, view.place(self._skeleton.hold(skeleton.text, anywhere=False), skeleton))
        if self._leet is not None:
            at = min(at, view.place(self._leet.hold(skeleton.text.translate(_LEET), anywhere=True), skeleton))
        return min(at, self._spread.hold(view)) if self._spreads else at

    def skim(self, text: str, lead: int) -> int:
        """Return where the first keyword may begin that isn't decided yet in folded ASCII text.

        -1 if there may be one already; `lead` characters have left before.
        """
        at = self._exact.skim(text)
        if at < 0:
            return -1
        if self._leet is not None:
            signs = text.translate(_LEET)
            if _SIGN.search(text) and self._leet.skim(signs) < 0:
                return -1
            at = min(at, self._leet.hold(signs, anywhere=True))
        if self._spreads and _LONE.search(text, lead) is not None:
            data = text.encode()
            if _APART_HINT.search(data) is not None:
                return -1
            tail = _APART_TAIL.search(data)
            at = at if tail is None else min(at, tail[0])
        return at

    def _spans(self, view: View, form: Folded, automaton: _Automaton, text: str) -> list[Span]:
        return [
            view.span(start, end, LABEL, form)
            for start, end, entry in automaton.find(text, text)
            if entry is None or _accented(view.text[form.start(start) : form.end(end)]) in (entry.accented or ())
        ]


def _accented(text: str) -> str:
    """Return a spelling with its accents, one for all ways to write them."""
    said = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(char for char in said if unicodedata.category(char) != "Cf")


def _insists(word: str) -> str | None:
    accented = _accented(word)
    return None if accented == fold(word).text else accented


def _spread_check(words: frozenset[str]) -> Check:
    """Accept letters that begin with one of the words, up to its end."""

    def check(text: str, start: int, end: int) -> tuple[int, int] | None:
        if start and text[start - 1].isalnum():
            return None
        letters = [at for at in range(start, end) if text[at].isalnum()]
        if end < len(text) and text[end].isalnum():
            letters.pop()
        said = "".join(text[at] for at in letters)
        length = next((n for n in range(len(said), MIN_SPREAD - 1, -1) if said[:n] in words), 0)
        return (start, letters[length - 1] + 1) if length else None

    return check
