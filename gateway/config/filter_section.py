"""Reads `filters`: named lists of rules."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, get_args

from gateway.config.model import (
    BlockOrRedact,
    ClassifierRule,
    FilterLimits,
    FilterRule,
    FilterSettings,
    KeywordsRule,
    OnError,
    Over,
    PatternSet,
    PatternsRule,
    PiiRule,
    PiiType,
    Policy,
)
from gateway.config.section import MODEL_NAME, Section

_MAX_CHARS: Final = 10**9


def read_filters(root: Section) -> Mapping[str, FilterSettings]:
    """`filters`, by name."""
    return MappingProxyType({name: _read_filter(section) for name, section in root.entries("filters")})


def _read_filter(section: Section) -> FilterSettings:
    limits = section.child("limits")
    settings = FilterSettings(
        input=tuple(_read_rule(rule) for rule in section.children("input")),
        output=tuple(_read_rule(rule) for rule in section.children("output")),
        limits=_read_limits(limits) if section.has("limits") else None,
    )
    section.close()
    return settings


def _read_limits(section: Section) -> FilterLimits:
    over: Over = section.choice("over", get_args(Over), "reject")
    limits = FilterLimits(
        max_messages=section.optional_integer("max_messages", low=1, high=_MAX_CHARS),
        max_chars=section.optional_integer("max_chars", low=1, high=_MAX_CHARS),
        over=over,
    )
    section.close()
    return limits


def _read_keywords(section: Section) -> KeywordsRule:
    words = section.texts("words")
    if not words:
        section.report("words", "at least one word is required")
    action: BlockOrRedact = section.choice("action", get_args(BlockOrRedact), "block")
    return KeywordsRule(words, action)


def _read_patterns(section: Section) -> PatternsRule:
    pattern_set: PatternSet = section.required_choice("set", get_args(PatternSet))
    action: BlockOrRedact = section.choice("action", get_args(BlockOrRedact), "redact")
    return PatternsRule(pattern_set, action)


def _read_pii(section: Section) -> PiiRule:
    types: tuple[PiiType, ...] = section.choices("types", get_args(PiiType))
    if not types:
        section.report("types", "at least one type is required")
    action: BlockOrRedact = section.choice("action", get_args(BlockOrRedact), "redact")
    return PiiRule(types, action)


def _read_classifier(section: Section) -> ClassifierRule:
    default = ClassifierRule(model="")
    policies: tuple[Policy, ...] = section.choices("policies", get_args(Policy))
    if section.has("policies") and not policies:
        section.report("policies", "at least one policy is required")
    on_error: OnError = section.choice("on_error", get_args(OnError), default.on_error)
    section.choice("action", ("block",), "block")
    return ClassifierRule(
        model=section.text("model", MODEL_NAME),
        policies=policies or default.policies,
        threshold=section.number("threshold", default.threshold, low=0, high=1),
        on_error=on_error,
    )


_KINDS: Final[Mapping[str, Callable[[Section], FilterRule]]] = MappingProxyType(
    {
        "keywords": _read_keywords,
        "patterns": _read_patterns,
        "pii": _read_pii,
        "classifier": _read_classifier,
    }
)


def _read_rule(section: Section) -> FilterRule:
    problems = len(section.problems)
    kind = section.required_choice("kind", tuple(_KINDS))
    if len(section.problems) > problems:
        # Which keys it may have depends on the kind: without one there is nothing more to say.
        return KeywordsRule(())
    rule = _KINDS[kind](section)
    section.close()
    return rule
