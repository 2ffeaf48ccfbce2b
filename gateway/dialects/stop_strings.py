"""The client's stop strings, looked for in content only: inside a call's arguments they would cut the call."""

import re
from collections.abc import Iterable
from typing import Final


class StopStrings:
    """Passes text on up to the first stop string; holds what may be the beginning of one."""

    __slots__ = ("_held", "_longest", "_pattern", "_stops", "found")

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops: Final = tuple(stops)
        self._pattern: Final = re.compile("|".join(map(re.escape, self._stops)))
        self._longest: Final = max(map(len, self._stops))
        self._held = ""
        self.found = False
        """A stop string came: nothing goes out any more."""

    def feed(self, text: str) -> str:
        """The text that is certain to stand before any stop string."""
        if self.found or not text:
            return ""
        whole = self._held + text
        match = self._pattern.search(whole)
        if match:
            self.found = True
            self._held = ""
            return whole[: match.start()]
        keep = self._suffix_length(whole)
        self._held = whole[len(whole) - keep :]
        return whole[: len(whole) - keep]

    def finish(self) -> str:
        """What was held: no stop string after all."""
        held, self._held = self._held, ""
        return held

    def _suffix_length(self, text: str) -> int:
        """Length of the longest end of `text` that begins some stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            suffix = text[len(text) - length :]
            if any(stop.startswith(suffix) for stop in self._stops):
                return length
        return 0
