"""Redacted values that come back: placeholders that are numbered, and what they stand for.

A placeholder is of one request: the same value has the same one, another value another, in the order in which they are
found. What looks like one in the request's own text keeps its number to itself, so that nobody gets a value by writing
its placeholder. Values live as long as the request, and are in no log, error or metric.
"""

import json
import re
from collections.abc import Iterable
from typing import Final

_LIKE_PLACEHOLDER: Final = re.compile(r"\[[A-Z][A-Z_]*_[1-9][0-9]*\]")


class Placeholders:
    """What was redacted in one request, to be put back in the answer to it."""

    __slots__ = ("_beginnings", "_by_value", "_counts", "_taken", "_values")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """`texts`: all of the request."""
        self._taken: Final = frozenset(said for text in texts for said in _LIKE_PLACEHOLDER.findall(text))
        self._values: Final[dict[str, str]] = {}
        self._by_value: Final[dict[tuple[str, str], str]] = {}
        self._counts: Final[dict[str, int]] = {}
        self._beginnings: Final[set[str]] = set()

    def __bool__(self) -> bool:
        return bool(self._values)

    def add(self, kind: str, value: str) -> str:
        """Return the placeholder of a value: `[EMAIL_1]` for the first of the kind EMAIL."""
        said = self._by_value.get((kind, value))
        while said is None:
            self._counts[kind] = number = self._counts.get(kind, 0) + 1
            candidate = f"[{kind}_{number}]"
            if candidate not in self._taken:
                said = self._by_value[kind, value] = candidate
                self._values[said] = value
                self._beginnings.update(said[:length] for length in range(1, len(said)))
        return said

    def restore(self, text: str, *, json: bool = False) -> str:
        """Return a text with the values in their places; `json`: it is JSON, and the places are in its strings."""
        if "[" not in text:
            return text

        def value_of(found: re.Match[str]) -> str:
            value = self._values.get(found[0])
            if value is None:
                return found[0]
            return _escaped(value) if json else value

        return _LIKE_PLACEHOLDER.sub(value_of, text)

    def hold(self, text: str) -> int:
        """Return where a placeholder may begin that the text's end cuts off; its length if nowhere."""
        at = text.rfind("[")
        return at if at >= 0 and text[at:] in self._beginnings else len(text)


class TextRestorer:
    """Puts values back in one text that comes in pieces. Held back is only what may become a placeholder."""

    __slots__ = ("_json", "_placeholders", "held")

    def __init__(self, placeholders: Placeholders, *, json: bool) -> None:
        self._placeholders: Final = placeholders
        self._json: Final = json
        self.held = ""

    def feed(self, text: str) -> str:
        """Take a piece; return what may leave now."""
        text = self.held + text
        end = self._placeholders.hold(text)
        self.held = text[end:]
        return self._placeholders.restore(text[:end], json=self._json)

    def finish(self) -> str:
        """Return the rest: nothing comes behind it."""
        rest, self.held = self.held, ""
        return rest


def _escaped(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]
