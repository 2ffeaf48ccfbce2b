"""A small grammar: what a constraint is made of, and its text for the engine (EBNF as xgrammar reads it)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never


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
class Named:
    """A rule that is written once, under its name, however often it is used."""

    name: str
    rule: "Rule"


Rule = Text | Chars | Seq | Either | Times | Named


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


def ebnf(rule: Rule) -> str:
    """The grammar's text, its root `root`."""
    named: dict[str, str] = {}
    root = _written(rule, named)
    return "\n".join([f"root ::= {root}", *(f"{name} ::= {text}" for name, text in named.items()), ""])


def _written(rule: Rule, named: dict[str, str]) -> str:
    match rule:
        case Text():
            return json.dumps(rule.text, ensure_ascii=False)
        case Chars():
            return rule.charset + _times(rule.least, rule.most)
        case Seq():
            texts = [(part, _written(part, named)) for part in rule.parts]
            return " ".join(f"({text})" if isinstance(part, Either) else text for part, text in texts)
        case Either():
            return " | ".join(_written(option, named) for option in rule.options)
        case Times():
            return f"({_written(rule.rule, named)}){_times(rule.least, rule.most)}"
        case Named():
            if rule.name not in named:
                named[rule.name] = ""
                named[rule.name] = _written(rule.rule, named)
            return rule.name
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
