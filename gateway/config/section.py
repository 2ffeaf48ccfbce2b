"""One mapping of the file while it is read: hands out typed values and notes what is wrong with them.

A reader takes every key it knows and then calls `close`, which reports the keys that nobody took. A value that is
missing or wrong is noted and replaced by a stand-in, so that reading goes on and finds the other problems; with a
problem noted the settings are thrown away.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeVar

from gateway.config.model import MAX_SECRET_CHARS
from gateway.config.problems import Problem, did_you_mean, key_path, quoted
from gateway.config.yaml_tree import FromEnvironment, Tree

_Choice = TypeVar("_Choice", bound=str)
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,18}(?:\.[0-9]{0,18})?")


@dataclass(frozen=True, slots=True)
class Form:
    """What a text has to look like."""

    pattern: re.Pattern[str]
    says: str
    """Goes on after "must be"."""


NON_EMPTY: Final = Form(re.compile(r"(?s).+"), "not empty")
SECRET: Final = Form(
    re.compile(rf"[!-~]{{8,{MAX_SECRET_CHARS}}}"), f"8 to {MAX_SECRET_CHARS} visible ASCII characters without spaces"
)
ID: Final = Form(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"), "1 to 64 letters, digits, dots, underscores and hyphens"
)
MODEL_NAME: Final = Form(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,255}"), "1 to 256 letters, digits and any of . _ : / @ + -"
)
GLOB: Final = Form(re.compile(r"[A-Za-z0-9._:/@+*?\[\]!-]{1,256}"), "a model's name, in which * ? and [] match others")


class Section:
    """A mapping at a path."""

    def __init__(self, tree: Tree, path: str, problems: list[Problem]) -> None:
        self.path = path
        self.problems = problems
        self._taken: set[str] = set()
        if tree is not None and not isinstance(tree, dict):
            self.report("", f"must be a mapping, not {_kind(tree)}")
        self._tree: Mapping[str, Tree] = tree if isinstance(tree, dict) else {}

    def report(self, key: str, message: str, *, item: int | None = None) -> None:
        """Note a problem with the value of `key`, or one item of it; with an empty key, with the section itself."""
        path = key_path(self.path, key) if key else self.path
        self.problems.append(Problem(path if item is None else f"{path}[{item}]", message))

    def has(self, key: str) -> bool:
        """Whether the key has a value; `key:` with nothing behind it has none."""
        return self._tree.get(key) is not None

    def names(self) -> tuple[str, ...]:
        """Every key in the file."""
        return tuple(self._tree)

    def take(self, key: str) -> Tree:
        """The raw value; None when there is none."""
        self._taken.add(key)
        return self._tree.get(key)

    def close(self) -> None:
        """Report every key that wasn't taken."""
        for key in [key for key in self._tree if key not in self._taken]:
            self.report(key, f"unknown key{did_you_mean(key, self._taken)}")

    def child(self, key: str) -> Self:
        """The mapping under `key`; an empty one when there is none."""
        return type(self)(self.take(key), key_path(self.path, key), self.problems)

    def entries(self, key: str) -> Iterator[tuple[str, Self]]:
        """Name and mapping of each entry under `key`, where names are the operator's own."""
        mapping = self.child(key)
        for name in mapping.names():
            yield name, mapping.child(name)

    def children(self, key: str) -> list[Self]:
        """The mappings in the list under `key`."""
        return [type(self)(item, path, self.problems) for path, item in self._items(key)]

    def texts(self, key: str, form: Form = NON_EMPTY) -> tuple[str, ...]:
        """The texts in the list under `key`."""
        texts = (self._text(item, path, form) for path, item in self._items(key))
        return tuple(text for text in texts if text is not None)

    def choices(self, key: str, options: Sequence[_Choice]) -> tuple[_Choice, ...]:
        """The words in the list under `key`, each one of `options`."""
        words = (self._choice(item, path, options) for path, item in self._items(key))
        return tuple(word for word in words if word is not None)

    def text(self, key: str, form: Form = NON_EMPTY) -> str:
        """A required text; empty when it is missing or wrong."""
        if not self._require(key):
            return ""
        return self.optional_text(key, form) or ""

    def optional_text(self, key: str, form: Form = NON_EMPTY) -> str | None:
        """A text, or None."""
        value = self.take(key)
        return None if value is None else self._text(value, key_path(self.path, key), form)

    def choice(self, key: str, options: Sequence[_Choice], default: _Choice) -> _Choice:
        """One of `options`."""
        value = self.take(key)
        if value is None:
            return default
        return self._choice(value, key_path(self.path, key), options) or default

    def optional_choice(self, key: str, options: Sequence[_Choice]) -> _Choice | None:
        """One of `options`, or None."""
        value = self.take(key)
        return None if value is None else self._choice(value, key_path(self.path, key), options)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.take(key)
        if isinstance(value, FromEnvironment) and value in ("true", "false"):
            return value == "true"
        if value is None:
            return default
        if not isinstance(value, bool):
            self.report(key, f"must be true or false, not {_kind(value)}")
            return default
        return value

    def required_choice(self, key: str, options: Sequence[_Choice]) -> _Choice:
        """One of `options`, the first when it is missing or wrong."""
        self._require(key)
        return self.choice(key, options, options[0])

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        found = self.optional_integer(key, low=low, high=high)
        return default if found is None else found

    def required_integer(self, key: str, *, low: int, high: int) -> int:
        """A whole number from `low` to `high`; `low` when it is missing or wrong."""
        self._require(key)
        return self.integer(key, low, low=low, high=high)

    def optional_integer(self, key: str, *, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`, or None."""
        value = self.take(key)
        if isinstance(value, FromEnvironment) and _INTEGER.fullmatch(value):
            value = int(value)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            self.report(key, f"must be a whole number, not {_kind(value)}")
        elif not low <= value <= high:
            self.report(key, f"must be from {low} to {high}")
        else:
            return value
        return None

    def number(self, key: str, default: float, *, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        found = self.optional_number(key, low=low, high=high)
        return default if found is None else found

    def optional_number(self, key: str, *, low: float, high: float) -> float | None:
        """A number from `low` to `high`, or None."""
        value = self.take(key)
        if isinstance(value, FromEnvironment) and _NUMBER.fullmatch(value):
            value = float(value)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.report(key, f"must be a number, not {_kind(value)}")
        elif not (math.isfinite(value) and low <= value <= high):
            self.report(key, f"must be from {low:g} to {high:g}")
        else:
            return value
        return None

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.take(key)
        if isinstance(value, FromEnvironment) and value in ("true", "false"):
            value = value == "true"
        if value is None:
            return default
        if not isinstance(value, bool):
            self.report(key, f"must be true or false, not {_kind(value)}")
            return default
        return value

    def _require(self, key: str) -> bool:
        if not self.has(key):
            self.take(key)
            self.report(key, "is required")
        return self.has(key)

    def _items(self, key: str) -> Iterator[tuple[str, Tree]]:
        value = self.take(key)
        path = key_path(self.path, key)
        if isinstance(value, list):
            yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))
        elif value is not None:
            self.report(key, f"must be a list, not {_kind(value)}")

    def _text(self, value: Tree, path: str, form: Form) -> str | None:
        if not isinstance(value, str):
            hint = "; put it in quotes" if isinstance(value, int | float) else ""
            self.problems.append(Problem(path, f"must be text, not {_kind(value)}{hint}"))
            return None
        if not form.pattern.fullmatch(value):
            self.problems.append(Problem(path, f"must be {form.says}"))
            return None
        return str(value)

    def _choice(self, value: Tree, path: str, options: Sequence[_Choice]) -> _Choice | None:
        for option in options:
            if value == option:
                return option
        shown = isinstance(value, str) and not isinstance(value, FromEnvironment)
        found = f", not {quoted(str(value))}" if shown else ""
        expected = " or ".join(", ".join(options).rsplit(", ", 1))
        self.problems.append(Problem(path, f"must be {expected}{found}"))
        return None


def _kind(value: Tree) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"
