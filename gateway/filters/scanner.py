"""RE2 over UTF-8, without what its Python interface adds: 0.8 us to search a word in place of 3.7."""

from typing import Final

import re2

_UNANCHORED: Final = re2._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001  # the binding under the interface; locked


class Scanner:
    """One compiled expression."""

    __slots__ = ("_match",)

    def __init__(self, pattern: str) -> None:
        """Raises re2.error for what is no expression."""
        options = re2.Options()
        options.log_errors = False
        self._match: Final = re2.compile(pattern.encode(), options)._regexp.Match  # noqa: SLF001  # as above

    def search(self, data: bytes, at: int = 0) -> tuple[int, int] | None:
        """Return where the leftmost match from `at` on begins and ends, in bytes."""
        found = self._match(_UNANCHORED, data, at, len(data))[0]
        return None if found[0] < 0 else found
