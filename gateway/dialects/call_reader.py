"""One call's arguments, from behind its opening brace to its end.

Two things can't be told when they come. An end marker inside a string: data, if the string still closes, else the
model forgot to close it. And text that doesn't parse: it is held up to the end of the call, then read by `repair`.
"""

from collections.abc import Collection
from typing import Final

from gateway.dialects.events import MAX_HELD_CHARS
from gateway.dialects.repair import mend
from gateway.dialects.scanner import ArgumentScanner
from gateway.dialects.schema_view import SchemaView

_AFTER_STRING: Final = ",}])"
_AFTER_KEY: Final = ":"


class CallReader:
    """Takes the tokens of one call and returns the JSON text that is certain."""

    def __init__(self, view: SchemaView, *, quote: str, end: str, breaks: Collection[str], marked: bool) -> None:
        """`end` closes a call; the markers in `breaks` end it, too, and are left over. `marked`: it began with one."""
        self.ended = False
        self.left: list[str] = []
        """Tokens that came after the call's end."""
        self.overflowed = False
        """Text came where only the end marker had a place."""
        self._view = view
        self._quote = quote
        self._end = end
        self._breaks = breaks
        self._marked = marked
        self._scanner = ArgumentScanner(view)
        self._emitted: list[str] = []
        self._held: list[str] | None = None
        self._held_quotes = 0
        self._size = 0
        self._doubtful: list[str] = []
        """Tokens since an end marker inside a string, that marker first."""
        self._closing: list[str] = []
        """Tokens since the string marker that follows a doubtful end, that marker first."""

    def push(self, token: str) -> str:
        """Takes one token; returns more of the JSON text."""
        if self._closing:
            self._judge(token)
        elif self._doubtful:
            self._doubt(token)
        else:
            self._take(token)
        return self._drain()

    def finish(self, *, cut: bool) -> str:
        """The text is over: the last of the JSON text. `cut`: by a length limit, somewhere."""
        if self._closing:
            self._confirm()
        elif self._doubtful:
            self._end_at_doubt([])
        if not self.ended:
            self._close(cut=cut, at_marker=False)
        return self._drain()

    def _drain(self) -> str:
        fresh = "".join(self._scanner.out)
        self._scanner.out.clear()
        if fresh:
            self._emitted.append(fresh)
        return fresh

    def _take(self, token: str) -> None:
        inside = self._in_string()
        if token == self._quote:
            self._give(token)
        elif token == self._end or (token in self._breaks and not inside):
            if inside:
                self._doubtful = [token]
                self._size = 0
                return
            self._close(cut=False, at_marker=True)
            if token != self._end:
                self.left.insert(0, token)
        else:
            self._give(token)

    def _in_string(self) -> bool:
        return self._scanner.in_string if self._held is None else self._held_quotes % 2 == 1

    def _give(self, token: str) -> None:
        """Hands a token to the scanner, or keeps it where the scanner broke."""
        if self._held is not None:
            self._held.append(token)
            self._held_quotes += token == self._quote
            self._size += len(token)
            if self._size > MAX_HELD_CHARS:
                self._close(cut=True, at_marker=False)
            return
        scanner = self._scanner
        if token == self._quote:
            scanner.quote(token)
        else:
            scanner.text(token)
        if scanner.broken:
            pending = scanner.pending()
            self._held = [pending]
            self._held_quotes = pending.count(self._quote)
            self._size = len(pending)
        elif scanner.extra:
            self.left.append(scanner.extra)
            self.ended = True
            self.overflowed = self._marked

    def _doubt(self, token: str) -> None:
        if token == self._quote:
            self._closing = [token]
            return
        self._doubtful.append(token)
        self._size += len(token)
        if self._size > MAX_HELD_CHARS:
            self._end_at_doubt([])

    def _judge(self, token: str) -> None:
        """What follows the string marker tells whether it closed the string or opened another."""
        marker = token == self._end or token in self._breaks
        start = "" if marker or token == self._quote else token.lstrip()[:1]
        if not marker and token != self._quote and not start:
            self._closing.append(token)
        elif marker or (start and start in (_AFTER_KEY if self._scanner.in_key else _AFTER_STRING)):
            self._confirm()
            self._take(token)
        else:
            self._end_at_doubt([*self._closing, token])

    def _confirm(self) -> None:
        """The doubtful end was data."""
        tokens = [*self._doubtful, *self._closing]
        self._doubtful, self._closing = [], []
        for token in tokens:
            if not self.ended:
                self._give(token)

    def _end_at_doubt(self, after: list[str]) -> None:
        """The string was never closed: the call ended at the first end marker."""
        left = [*self._doubtful[1:], *after]
        self._doubtful, self._closing = [], []
        self._close(cut=False, at_marker=True)
        self.left += left

    def _close(self, *, cut: bool, at_marker: bool) -> None:
        self.ended = True
        scanner = self._scanner
        if not cut and self._held is None:
            scanner.end_scalar()
            if scanner.broken:
                self._held = [scanner.pending()]
        if self._held is None:
            scanner.close()
            return
        self._drain()
        text = "".join(self._held)
        reading = mend(
            text,
            scanner,
            view=self._view,
            marker=self._quote,
            emitted="".join(self._emitted),
            may_go_on=not (self._marked or at_marker),
        )
        scanner.out.append(reading.json)
        if reading.extra:
            self.left.insert(0, reading.extra)
