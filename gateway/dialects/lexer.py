"""Text in pieces → markers and the text between them, whole whatever the cuts."""

import re
from collections.abc import Iterable
from typing import Final


class MarkerLexer:
    """Splits a stream at its markers, which all begin with `<` and hold no second one.

    Tokens are strings: a marker, always whole, or text, which may come in any number of pieces. Held back is only what
    may still become a marker.
    """

    __slots__ = ("_held", "_pattern", "_prefixes")

    def __init__(self, markers: Iterable[str]) -> None:
        known = sorted(markers, key=len, reverse=True)
        self._pattern: Final = re.compile("(" + "|".join(map(re.escape, known)) + ")")
        self._prefixes: Final = frozenset(marker[:length] for marker in known for length in range(1, len(marker)))
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
