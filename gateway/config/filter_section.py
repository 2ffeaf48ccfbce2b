"""Reads `filters`: named lists of rules."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from gateway.config.model import (
    Action,
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
    StreamWindow,
)
from gateway.config.pattern_syntax import PatternError, read_pattern
from gateway.config.section import MODEL_NAME, Section

_MAX_CHARS: Final = 10**9
MAX_PATTERN_CHARS: Final = 4096
"""Of a match of an operator's own expression: what a stream may have to hold back."""


def read_filters(root: Section) -> Mapping[str, FilterSettings]:
    """`filters`, by name."""
    return MappingProxyType({name: _read_filter(section) for name, section in root.entries("filters")})


def _read_filter(section: Section) -> FilterSettings:
    limits, stream = section.child("limits"), section.child("stream")
    settings = FilterSettings(
        input=tuple(_read_rule(rule) for rule in section.children("input")),
        output=tuple(_read_output_rule(rule) for rule in section.children("output")),
        limits=_read_limits(limits) if section.has("limits") else None,
        stream=_read_window(stream),
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


def _read_window(section: Section) -> StreamWindow:
    default = StreamWindow()
    window = StreamWindow(
        window_chars=section.integer("window_chars", default.window_chars, low=64, high=65_536),
        window_s=section.number("window_s", default.window_s, low=0.05, high=60),
    )
    section.close()
    return window


def _read_keywords(section: Section) -> KeywordsRule:
    words = section.texts("words")
    if not words:
        section.report("words", "at least one word is required")
    action: Action = section.choice("action", get_args(Action), "block")
    leetspeak = section.flag("leetspeak", default=False)
    return KeywordsRule(words, action, leetspeak, restore=_read_restore(section, action))


def _read_patterns(section: Section) -> PatternsRule:
    pattern_set: PatternSet | None = section.optional_choice("set", get_args(PatternSet))
    patterns = section.texts("patterns")
    for index, pattern in enumerate(patterns):
        try:
            if read_pattern(pattern).max_chars > MAX_PATTERN_CHARS:
                section.report("patterns", f"can match more than {MAX_PATTERN_CHARS} characters", item=index)
        except PatternError as error:
            section.report("patterns", str(error), item=index)
    if (pattern_set is None) == (not patterns):
        section.report("set", "give either `set` or `patterns`")
    action: Action = section.choice("action", get_args(Action), "redact")
    return PatternsRule(pattern_set, patterns, action, restore=_read_restore(section, action))


def _read_pii(section: Section) -> PiiRule:
    types: tuple[PiiType, ...] = section.choices("types", get_args(PiiType))
    if not types:
        section.report("types", "at least one type is required")
    action: Action = section.choice("action", get_args(Action), "redact")
    return PiiRule(types, action, restore=_read_restore(section, action))


def _read_restore(section: Section, action: Action) -> bool:
    restore = section.flag("restore", default=False)
    if restore and action != "redact":
        section.report("restore", "is for rules with `action: redact`")
    return restore


def _read_classifier(section: Section) -> ClassifierRule:
    default = ClassifierRule(model="")
    policies: tuple[Policy, ...] = section.choices("policies", get_args(Policy))
    if section.has("policies") and not policies:
        section.report("policies", "at least one policy is required")
    on_error: OnError = section.choice("on_error", get_args(OnError), default.on_error)
    action: Literal["block", "flag"] = section.choice("action", ("block", "flag"), "block")
    return ClassifierRule(
        model=section.text("model", MODEL_NAME),
        policies=policies,
        threshold=section.number("threshold", default.threshold, low=0, high=1),
        action=action,
        on_error=on_error,
        timeout_s=section.number("timeout_s", default.timeout_s, low=0.01, high=600),
    )


_KINDS: Final[Mapping[str, Callable[[Section], FilterRule]]] = MappingProxyType(
    {
        "keywords": _read_keywords,
        "patterns": _read_patterns,
        "pii": _read_pii,
        "classifier": _read_classifier,
    }
)


def _read_output_rule(section: Section) -> FilterRule:
    rule = _read_rule(section)
    if getattr(rule, "restore", False):
        section.report("restore", "is for rules of `input`: what they redact comes back in the answer")
    return rule


def _read_rule(section: Section) -> FilterRule:
    problems = len(section.problems)
    kind = section.required_choice("kind", tuple(_KINDS))
    if len(section.problems) > problems:
        # Which keys it may have depends on the kind: without one there is nothing more to say.
        return KeywordsRule(())
    rule = _KINDS[kind](section)
    section.close()
    return rule
