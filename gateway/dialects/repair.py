"""Arguments that don't parse: other readings of what the model wrote, tried in a fixed order.

Models forget a string's opening or closing marker, use other quotes, or write a text without any. Each candidate is the
text since the last certain point with the marks put where they may belong. The first whose arguments fit the tool's
schema wins, else the first that parses; else the text becomes one string, or is dropped where no value is due.
What is already out is never changed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.dialects.arguments import conforms, read_json
from gateway.dialects.scanner import ArgumentScanner, State
from gateway.dialects.schema_view import SchemaView

_EFFORT: Final = 4
"""Characters that may be scanned per character of text."""
_FREE_CHARS: Final = 4096
_OTHER_QUOTES: Final = re.compile(r"\s*(['`])(.*?)\1", re.DOTALL)
_AFTER_STRING: Final = re.compile(r"\s*(?:[,}\]]|$)")


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read the text: the JSON that it adds, and what follows the call."""

    json: str
    extra: str = ""
    lossy: bool = False
    """Some of the text has no place in it."""


@dataclass(slots=True)
class _Effort:
    """What may still be spent: keeps hostile text linear."""

    chars: int
    places: int = 32
    """Broken places that are mended one after the other."""


class Repair:
    """Finds a reading of the broken end of one call."""

    def __init__(self, view: SchemaView, marker: str, emitted: str, effort: _Effort, *, may_go_on: bool) -> None:
        """`may_go_on`: no end marker was seen, so that the reply's own text may follow the call."""
        self._view = view
        self._marker = marker
        self._emitted = emitted
        self._effort = effort
        self._may_go_on = may_go_on

    def read(self, text: str, scanner: ArgumentScanner) -> Reading:
        """The best reading of `text`, which begins at the scanner's last certain point."""
        parsed: Reading | None = None
        for candidate, lossy in _candidates(text, scanner, self._marker):
            reading = self._attempt(candidate, scanner, lossy=lossy)
            if reading is None:
                continue
            if not reading.lossy and self._fits(reading):
                return reading
            if parsed is None or (parsed.lossy and not reading.lossy):
                parsed = reading
        return parsed or self._last_resort(text, scanner)

    def _fits(self, reading: Reading) -> bool:
        whole = read_json(self._emitted + reading.json)
        return whole is not None and conforms(whole, self._view)

    def _attempt(self, text: str, scanner: ArgumentScanner, *, lossy: bool) -> Reading | None:
        if len(text) > self._effort.chars or self._effort.places < 0:
            return None
        self._effort.chars -= len(text)
        fork = scanner.fork()
        unread = _run(fork, text, self._marker)
        fork.end_scalar()
        if fork.broken:
            rest = fork.pending() + unread
            return self._mend_rest(fork, rest, lossy=lossy) if len(rest) < len(text) else None
        if fork.in_string or (fork.extra and not self._may_go_on):
            return None
        fork.close()
        return Reading("".join(fork.out), fork.extra, lossy)

    def _mend_rest(self, fork: ArgumentScanner, rest: str, *, lossy: bool) -> Reading:
        """The candidate broke at a later place: what is left from there is read in the same way."""
        gained = "".join(fork.out)
        self._effort.places -= 1
        inner = Repair(self._view, self._marker, self._emitted + gained, self._effort, may_go_on=self._may_go_on)
        reading = inner.read(rest, fork)
        return Reading(gained + reading.json, reading.extra, lossy or reading.lossy)

    def _last_resort(self, text: str, scanner: ArgumentScanner) -> Reading:
        """One string of it all where a value is due, else nothing."""
        fork = scanner.fork()
        if scanner.mark is State.VALUE:
            fork.quote(self._marker)
            fork.text(text.replace(self._marker, ""))
        fork.close()
        return Reading("".join(fork.out), lossy=True)


def mend(
    text: str, scanner: ArgumentScanner, *, view: SchemaView, marker: str, emitted: str, may_go_on: bool
) -> Reading:
    """The best reading of `text`, from the scanner's last certain point; `emitted` is the JSON that is out."""
    effort = _Effort(_FREE_CHARS + _EFFORT * len(text))
    return Repair(view, marker, emitted, effort, may_go_on=may_go_on).read(text, scanner)


def _run(scanner: ArgumentScanner, text: str, marker: str) -> str:
    """Scans the text; returns what was not reached because the scanner broke."""
    piece, found, rest = text.partition(marker)
    while True:
        if _broke(scanner, piece, marker) or not found:
            return found + rest
        if _broke(scanner, marker, marker):
            return rest
        piece, found, rest = rest.partition(marker)


def _broke(scanner: ArgumentScanner, token: str, marker: str) -> bool:
    if token == marker:
        scanner.quote(marker)
    else:
        scanner.text(token)
    return scanner.broken


def _candidates(text: str, scanner: ArgumentScanner, marker: str) -> Iterator[tuple[str, bool]]:
    """Texts to try, and whether something of the original is missing."""
    yield text, False
    next_key = _next_key(scanner.keys)
    if scanner.mark is not State.VALUE:
        found = next_key.search(text) if next_key else None
        yield text[found.start() :] if found else "", True
        return
    if quoted := _OTHER_QUOTES.match(text):
        rest = text[quoted.end() :].removeprefix(marker)
        if _AFTER_STRING.match(rest):
            yield f"{marker}{quoted[2]}{marker}{rest}", False
    if marker in text:
        yield marker + text, False
    body, closers = _split_closers(text, scanner.depth)
    if text.count(marker) % 2:
        yield body + marker + closers, False
    found = next_key.search(text) if next_key else None
    raw, rest = (text[: found.start()], text[found.start() :]) if found else (body, closers)
    yield f"{marker}{raw.replace(marker, '').strip()}{marker}{rest}", False


def _next_key(keys: list[str]) -> re.Pattern[str] | None:
    """A comma, a key of the schema and its colon."""
    return re.compile(r",\s*(?:" + "|".join(map(re.escape, keys)) + r")\s*:") if keys else None


def _split_closers(text: str, depth: int) -> tuple[str, str]:
    """The text without the closing brackets at its end, `depth` at most, and those."""
    end = len(text.rstrip())
    for _ in range(depth):
        if end and text[end - 1] in "})]":
            end = len(text[: end - 1].rstrip())
    return text[:end], text[end:]
