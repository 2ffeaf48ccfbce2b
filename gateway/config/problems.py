"""What is wrong with a configuration file, said all at once."""

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SHOWN_CHARS: Final = 80
_COMPARED_CHARS: Final = 256
"""Longer words get no suggestion: comparing them costs the square of their length."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend, and where."""

    path: str
    """`models[0].workers[1].url`; empty: the file as a whole."""
    message: str
    """Never holds the value of a secret, nor of anything that came from the environment."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ConfigurationError(Exception):
    """The configuration can't be used. `problems` is never empty."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def key_path(path: str, key: str) -> str:
    """The path of `key` in the mapping at `path`; keys that aren't plain words are quoted: `limits["a/b"]`."""
    if _PLAIN_KEY.fullmatch(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{quoted(key)}]"


def quoted(text: str) -> str:
    """`text` for a message: in quotes, on one line, in ASCII, shortened."""
    return json.dumps(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` when one of `known` looks like `word`, else nothing."""
    if len(word) > _COMPARED_CHARS:
        return ""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"; did you mean {quoted(matches[0])}?" if matches else ""
