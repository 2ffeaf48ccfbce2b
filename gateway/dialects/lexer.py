"""Text in pieces → markers and the text between them, whole whatever the cuts."""

import re
from functools import cache


@cache
def _tables(markers: tuple[str, ...]) -> tuple[re.Pattern[str], frozenset[str]]:
    """A pattern that splits at markers, and all that may still become one."""
    known = sorted(markers, key=len, reverse=True)
    prefixes = frozenset(marker[:length] for marker in known for length in range(1, len(marker)))
    return re.compile("(" + "|".join(map(re.escape, known)) + ")"), prefixes


class MarkerLexer:
    """Splits a stream at its markers, which all begin with `<` and hold no second one.

    Tokens are strings: a marker, always whole, or text, which may come in any number of pieces. Held back is only what
    may still become a marker.
    """

    __slots__ = ("_held", "_pattern", "_prefixes")

    def __init__(self, markers: tuple[str, ...]) -> None:
        self._pattern, self._prefixes = _tables(markers)
        self._held = ""

    @property
    def holds(self) -> bool:
        """Whether some text is held back."""
        return bool(self._held)

    def feed(self, text: str) -> list[str]:
        """The tokens that are certain now."""
        if not self._held and "<" not in text:
            return [text] if text else []
        whole = self._held + text
        start = whole.rfind("<")
        if start >= 0 and whole[start:] in self._prefixes:
            self._held = whole[start:]
            whole = whole[:start]
        else:
            self._held = ""
        return [token for token in self._pattern.split(whole) if token]

    def finish(self) -> list[str]:
        """What was held: plain text."""
        held, self._held = self._held, ""
        return [held] if held else []
