"""A small grammar: what a constraint is made of, and its text for the engine (EBNF as xgrammar 0.2 reads it)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, assert_never


@dataclass(frozen=True, slots=True)
class Text:
    """Exactly this text."""

    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """`least` to `most` characters of a class, `[0-9]` or `[^"]` as regular expressions write it."""

    charset: str
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Seq:
    """One after the other."""

    parts: "tuple[Rule, ...]"


@dataclass(frozen=True, slots=True)
class Either:
    """One of these."""

    options: "tuple[Rule, ...]"


@dataclass(frozen=True, slots=True)
class Times:
    """`least` to `most` times the same."""

    rule: "Rule"
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker of the model's: its token where the engine's number for it is known, else its text."""

    text: str


@dataclass(frozen=True, slots=True)
class Anything:
    """Any text without these markers."""

    markers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A rule that is written once, under its name, however often it is used."""

    name: str
    rule: "Rule"


Rule = Text | Chars | Seq | Either | Times | Marker | Anything | Named

MarkerIds = Mapping[str, int]
"""Markers and their token ids in one engine's tokenizer; empty where nothing is known."""
TEXT_ONLY: Final[MarkerIds] = {}


def seq(*parts: Rule) -> Rule:
    """A sequence, without empty texts."""
    kept = tuple(part for part in parts if part != Text(""))
    return kept[0] if len(kept) == 1 else Seq(kept) if kept else Text("")


def either(options: Sequence[Rule]) -> Rule:
    """A choice; one option is no choice."""
    unique = tuple(dict.fromkeys(options))
    return unique[0] if len(unique) == 1 else Either(unique)


def optional(rule: Rule) -> Rule:
    """Once or not at all."""
    return Times(rule, 0, 1)


def text_without(markers: Sequence[str], *, least: int = 0) -> Rule:
    """Text that holds none of the markers, and ends in the beginning of none."""
    return Times(_no_marker(tuple(markers)), least, None)


@lru_cache(maxsize=16)
def _no_marker(markers: tuple[str, ...]) -> Named:
    """One step of such a text; each dialect has the same markers always."""
    return Named("nomark", either([Chars(r"[^<\x0a]", 1, 1), Text("\n"), _astray("<", markers)]))


def _astray(begun: str, markers: Sequence[str]) -> Rule:
    """A beginning of markers, and where it leaves all of them."""
    following = sorted({marker[len(begun)] for marker in markers if marker.startswith(begun) and marker != begun})
    deeper = [char for char in following if any(marker.startswith(begun + char) for marker in markers)]
    options: list[Rule] = [Chars(f"[^<{''.join(map(_in_class, following))}]", 1, 1)]
    options += [_astray(begun + char, markers) for char in deeper if begun + char not in markers]
    return seq(Text(begun[-1]), either(options))


def _in_class(char: str) -> str:
    return f"\\{char}" if char in "]\\^-" else char


def ebnf(rule: Rule, ids: MarkerIds = TEXT_ONLY) -> str:
    """The grammar's text, its root `root`."""
    named: dict[str, str] = {}
    root = _written(rule, named, ids)
    return "\n".join([f"root ::= {root}", *(f"{name} ::= {text}" for name, text in named.items()), ""])


def _written(rule: Rule, named: dict[str, str], ids: MarkerIds) -> str:
    match rule:
        case Seq():
            texts = [(part, _written(part, named, ids)) for part in rule.parts]
            return " ".join(f"({text})" if isinstance(part, Either) else text for part, text in texts)
        case Either():
            return " | ".join(_written(option, named, ids) for option in rule.options)
        case Times():
            return f"({_written(rule.rule, named, ids)}){_times(rule.least, rule.most)}"
        case Anything():
            known = ", ".join(str(ids[marker]) for marker in rule.markers if marker in ids)
            return f"(ExcludeToken({known}))*" if known else _written(text_without(rule.markers), named, ids)
        case Named():
            if rule.name not in named:
                named[rule.name] = ""
                named[rule.name] = _written(rule.rule, named, ids)
            return rule.name
        case _:
            return _written_leaf(rule, ids)


def _written_leaf(rule: Text | Chars | Marker, ids: MarkerIds) -> str:
    match rule:
        case Text():
            return json.dumps(rule.text, ensure_ascii=False)
        case Chars():
            return rule.charset + _times(rule.least, rule.most)
        case Marker():
            return f"Token({ids[rule.text]})" if rule.text in ids else json.dumps(rule.text)
        case _:
            assert_never(rule)


def _times(least: int, most: int | None) -> str:
    if (least, most) == (1, 1):
        return ""
    if (least, most) == (0, 1):
        return "?"
    if most is None:
        return {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    return f"{{{least},{most}}}"
