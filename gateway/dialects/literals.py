"""Python and JSON literals as models write them: both kinds of quotes, trailing commas, either spelling of constants.

A recursive reader over a whole text, never an evaluator: what is no literal is an error that callers answer by leaving
the text alone. Digits are kept as written.
"""

import re
from typing import Final

from gateway.dialects.arguments import Bare, Raw
from gateway.dialects.events import MAX_NESTING

_SPACE: Final = re.compile(r"\s*")
_NUMBER: Final = re.compile(r"[-+]?(?:\d[\d_]*)?(?:\.\d*)?(?:(?<=[\d.])[eE][+-]?\d+)?(?<=[\d.])(?!\w)")
_BARE_POINT: Final = re.compile(r"(?<!\d)\.(?=\d)")
_TRAILING_POINT: Final = re.compile(r"\.(?!\d)")
_WORD: Final = re.compile(r"[^\W\d]\w*")
_CONSTANTS: Final = {"true": "true", "false": "false", "null": "null", "none": "null"}
_STRING_START: Final = re.compile(r"(?:[rR]|[uU]|[bB])?(\"\"\"|'''|\"|')")
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(\r?\n)|(.))", re.DOTALL)
_SIMPLE_ESCAPES: Final = {
    '"': '"',
    "'": "'",
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
_SURROGATES: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_CLOSERS: Final = {"[": "]", "(": ")", "{": "}"}


def is_bare_key(name: str) -> bool:
    """Whether a key can stand without quotes in a written call: an identifier of word characters only.

    Python's identifiers have a few more (`A·`), which no reader of calls takes for part of a word.
    """
    return name.isidentifier() and _WORD.fullmatch(name) is not None


class NotALiteral(Exception):
    """The text is something else at this place."""


class LiteralReader:
    """Reads values off a text; `position` is where it stands."""

    __slots__ = ("position", "text")

    def __init__(self, text: str, position: int = 0) -> None:
        self.text: Final = text
        self.position = position

    def skip_space(self) -> str:
        """Moves to the next visible character and returns it; empty at the end."""
        char = self.text[self.position : self.position + 1]
        if not char.isspace():
            return char
        found = _SPACE.match(self.text, self.position)
        self.position = found.end() if found else self.position
        return self.text[self.position : self.position + 1]

    def take(self, token: str) -> bool:
        """Moves behind `token` if it stands here, white space before it aside."""
        self.skip_space()
        if not self.text.startswith(token, self.position):
            return False
        self.position += len(token)
        return True

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Moves behind the pattern if it stands here, white space before it aside."""
        self.skip_space()
        found = pattern.match(self.text, self.position)
        if found:
            self.position = found.end()
        return found

    def value(self, depth: int = 0) -> Raw:
        """One literal. Raises NotALiteral."""
        char = self.skip_space()
        if char in _CLOSERS:
            if depth >= MAX_NESTING:
                raise NotALiteral
            self.position += 1
            return self._object(depth + 1) if char == "{" else self._array(_CLOSERS[char], depth + 1)
        start = self.match(_STRING_START)
        if start:
            return self._string(start[0])
        number = self.match(_NUMBER)
        if number and number[0] not in ("", "."):
            return Bare(_json_number(number[0]))
        word = self.match(_WORD)
        constant = _CONSTANTS.get(word[0].lower()) if word else None
        if constant is None:
            raise NotALiteral
        return Bare(constant)

    def _array(self, closer: str, depth: int) -> Raw:
        items: list[Raw] = []
        commas = 0
        while not self.take(closer):
            items.append(self.value(depth))
            if self.take(","):
                commas += 1
            elif not self.take(closer):
                raise NotALiteral
            else:
                break
        # `(1)` is 1, `(1,)` and `()` are tuples
        return items[0] if closer == ")" and len(items) == 1 and not commas else items

    def _object(self, depth: int) -> Raw:
        members: dict[str, Raw] = {}
        while not self.take("}"):
            key = self.value(depth)
            if not self.take(":"):
                raise NotALiteral
            members[_key_text(key)] = self.value(depth)
            if not self.take(",") and self.skip_space() != "}":
                raise NotALiteral
        return members

    def _string(self, opening: str) -> str:
        raw = opening[0] in "rR"
        quote = opening.lstrip("rRuUbB")
        pieces: list[str] = [self._string_body(quote, raw=raw)]
        # adjacent strings are one, as in Python
        while following := self.match(_STRING_START):
            raw = following[0][0] in "rR"
            pieces.append(self._string_body(following[1], raw=raw))
        return "".join(pieces)

    def _string_body(self, quote: str, *, raw: bool) -> str:
        start = end = self.position
        while True:
            end = self.text.find(quote, end)
            if end < 0:
                raise NotALiteral
            first = end
            while first > start and self.text[first - 1] == "\\":
                first -= 1
            if (end - first) % 2 == 0:
                break
            end += 1
        self.position = end + len(quote)
        body = self.text[start:end]
        return body if raw or "\\" not in body else unescape(body)


def _json_number(text: str) -> str:
    """Python's number in JSON's spelling: `.5`, `5.` and `1_000` have another there."""
    text = text.removeprefix("+").replace("_", "")
    if "." in text:
        text = _TRAILING_POINT.sub(".0", _BARE_POINT.sub("0.", text))
    return text


def _key_text(key: Raw) -> str:
    if isinstance(key, Bare):
        return key.text
    if isinstance(key, str):
        return key
    raise NotALiteral


def unescape(body: str) -> str:
    """The text of a string literal; unknown escapes stay as they are."""

    def replace(found: re.Match[str]) -> str:
        for digits in (found[1], found[2], found[3]):
            if digits:
                code = int(digits, 16)
                return chr(code) if code < 0x110000 else found[0]
        if found[4]:
            return ""
        return _SIMPLE_ESCAPES.get(found[5], found[0])

    text = _ESCAPE.sub(replace, body)
    return _SURROGATES.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
