"""Control tokens in text that clients wrote.

A tokenizer turns the characters `<end_of_turn>` into the real token wherever they stand, and no chat template escapes
anything: whoever puts them into a message, a tool result or a schema forges a turn or a call (measured on vLLM 0.32).
So a zero-width space goes after the `<` of every marker, which makes it plain text. A model that quotes such text
repeats the space; `MarkerRestorer` takes it out of the reply again.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final, Literal

from gateway.errors import InvalidRequest
from gateway.values import Family

GuardMode = Literal["neutralise", "reject", "off"]

BREAKER: Final = "\u200b"
"""Zero-width space."""

_GEMMA_1_TO_3: Final = (
    "<bos>",
    "<eos>",
    "<pad>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
    "<audio_soft_token>",
)
_FUNCTIONGEMMA: Final = (
    *_GEMMA_1_TO_3,
    "<start_function_declaration>",
    "<end_function_declaration>",
    "<start_function_call>",
    "<end_function_call>",
    "<start_function_response>",
    "<end_function_response>",
    "<escape>",
)
_GEMMA_4: Final = (
    "<bos>",
    "<eos>",
    "<pad>",
    "<|tool>",
    "<tool|>",
    "<|tool_call>",
    "<tool_call|>",
    "<|tool_response>",
    "<tool_response|>",
    '<|"|>',
    "<|think|>",
    "<|channel>",
    "<channel|>",
    "<|turn>",
    "<turn|>",
    "<|image>",
    "<image|>",
    "<|image|>",
    "<|audio>",
    "<audio|>",
    "<|audio|>",
    "<|video|>",
)
_BY_FAMILY: Final[dict[Family, tuple[str, ...]]] = {"gemma4": _GEMMA_4, "functiongemma": _FUNCTIONGEMMA}


def markers(family: Family) -> tuple[str, ...]:
    """The spellings that the family's tokenizer turns into control tokens; exact and case-sensitive."""
    return _BY_FAMILY.get(family, _GEMMA_1_TO_3)


def _any_of(texts: Iterable[str]) -> str:
    return "|".join(re.escape(text) for text in texts)


@cache
def _marker_start(family: Family) -> re.Pattern[str]:
    """The `<` of a marker."""
    return re.compile(f"<(?={_any_of(marker[1:] for marker in markers(family))})")


def _bodies(family: Family, *, json: bool) -> list[str]:
    """What follows the `<` of each marker, in plain or in JSON-escaped text."""
    return [marker[1:].replace('"', '\\"') if json else marker[1:] for marker in markers(family)]


@cache
def _broken_marker(family: Family, *, json: bool) -> re.Pattern[str]:
    """The zero-width space in a neutralised marker."""
    return re.compile(f"(?<=<){BREAKER}(?={_any_of(_bodies(family, json=json))})")


@cache
def _broken_prefixes(family: Family, *, json: bool) -> frozenset[str]:
    """Every proper prefix of what follows the `<` of a neutralised marker, from the zero-width space on."""
    bodies = [BREAKER + body for body in _bodies(family, json=json)]
    return frozenset(body[:length] for body in bodies for length in range(1, len(body)))


class MarkerGuard:
    """Makes client text harmless for one family: `neutralise` (the default), `reject` with 400, or `off`."""

    __slots__ = ("_pattern", "family", "mode")

    def __init__(self, family: Family, mode: GuardMode = "neutralise") -> None:
        self.family: Final[Family] = family
        self.mode: Final[GuardMode] = mode
        self._pattern: Final = _marker_start(family)

    def neutralise(self, text: str, param: str | None = None) -> str:
        """`text` with a zero-width space after the `<` of each marker; the same object when there is none.

        Raises InvalidRequest for `param` when the mode is `reject` and a marker is found.
        """
        if "<" not in text or self.mode == "off" or self._pattern.search(text) is None:
            return text
        if self.mode == "reject":
            raise InvalidRequest(
                "The text contains a control token of the model, which this model refuses.", param=param
            )
        return self._pattern.sub(f"<{BREAKER}", text)


class MarkerRestorer:
    """Undoes `MarkerGuard` in a reply that comes in pieces.

    The `<` itself always stays, so only a zero-width space right after one is held, together with what follows as
    long as that may still become a marker. `json`: the text is the inside of JSON, where quotes are escaped.
    """

    __slots__ = ("_after_angle", "_held", "_pattern", "_prefixes")

    def __init__(self, family: Family, *, json: bool = False) -> None:
        self._pattern: Final = _broken_marker(family, json=json)
        self._prefixes: Final = _broken_prefixes(family, json=json)
        self._held = ""
        self._after_angle = False
        """Whether the last character given out was `<`. Always so while something is held."""

    def feed(self, text: str) -> str:
        """What is certain so far, restored."""
        if not self._held and BREAKER not in text:
            if text:
                self._after_angle = text[-1] == "<"
            return text
        lead = 1 if self._after_angle else 0
        whole = "<" * lead + self._held + text
        cut = len(whole)
        start = whole.rfind("<" + BREAKER) + 1
        if start and whole[start:] in self._prefixes:
            cut = start
        self._held = whole[cut:]
        ready = self._pattern.sub("", whole[:cut])
        self._after_angle = ready.endswith("<")
        return ready[lead:]

    def finish(self) -> str:
        """What was held: the reply ended before it became a marker."""
        held, self._held = self._held, ""
        return held
