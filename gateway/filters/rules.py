"""The rules of one side of a policy, compiled."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from gateway.config.model import Action, FilterRule, KeywordsRule, PatternsRule, PiiRule
from gateway.config.pattern_syntax import read_pattern
from gateway.filters.expressions import Expression, ExpressionFinder, Finder
from gateway.filters.folding import fold_table
from gateway.filters.keywords import KeywordFinder
from gateway.filters.skimming import Skimmer
from gateway.filters.view import Span, View


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule that reads text by itself."""

    finder: Finder
    action: Action
    untrusted_only: bool = False
    """For text of users and tools only."""
    restore: bool = False
    """What is redacted comes back in the answer."""


@dataclass(frozen=True, slots=True)
class Match:
    """Where a rule acts."""

    span: Span
    action: Action
    restore: bool = False


@dataclass(frozen=True)
class RuleSet:
    """Rules in the order of the configuration."""

    rules: tuple[CompiledRule, ...]

    @cached_property
    def trusted(self) -> "RuleSet":
        """The rules for text of neither users nor tools."""
        return RuleSet(tuple(rule for rule in self.rules if not rule.untrusted_only))

    @property
    def restores(self) -> bool:
        """Whether something that is redacted comes back."""
        return any(rule.restore for rule in self.rules)

    @cached_property
    def skimmer(self) -> Skimmer:
        """The same rules at a glance."""
        return Skimmer(self, [rule.finder for rule in self.rules])

    def find(self, view: View) -> list[Match]:
        """Return every match by its begin, those of earlier rules first."""
        found = [Match(span, rule.action, rule.restore) for rule in self.rules for span in rule.finder.find(view)]
        found.sort(key=lambda match: match.span.start)
        return found

    def hold(self, view: View) -> int:
        """Return up to where everything is decided, whatever follows."""
        return min((rule.finder.hold(view) for rule in self.rules), default=len(view.raw))


def compile_rules(rules: Sequence[FilterRule]) -> RuleSet:
    """Build the rules that need no classifier, and what they read text by."""
    if rules:
        fold_table("exact")
    compiled = (_compile(rule) for rule in rules)
    return RuleSet(tuple(rule for rule in compiled if rule is not None))


def _compile(rule: FilterRule) -> CompiledRule | None:
    match rule:
        case KeywordsRule(words, action, leetspeak, restore):
            return CompiledRule(KeywordFinder(words, leetspeak=leetspeak), action, restore=restore)
        case PatternsRule(None, patterns, action, restore):
            own = [Expression("patterns", read_pattern(pattern)) for pattern in patterns]
            return CompiledRule(ExpressionFinder(own, form="text"), action, restore=restore)
        case PatternsRule(str() as name, _, action, restore):
            # Built-in sets are read where they are used: reading them all takes longer than many a start.
            from gateway.filters.pattern_sets import SETS, UNTRUSTED_ONLY  # noqa: PLC0415

            finder = ExpressionFinder(SETS[name], form="folded")
            return CompiledRule(finder, action, untrusted_only=name in UNTRUSTED_ONLY, restore=restore)
        case PiiRule(types, action, restore):
            from gateway.filters.pii import EXPRESSIONS  # noqa: PLC0415

            expressions = [each for kind in dict.fromkeys(types) for each in EXPRESSIONS[kind]]
            return CompiledRule(ExpressionFinder(expressions, form="folded"), action, restore=restore)
        case _:
            return None
