"""Named filters of the configuration, ready to use."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.config.model import ClassifierRule, FilterLimits, FilterRule, FilterSettings, StreamWindow
from gateway.filters.findings import Side
from gateway.filters.judging import ClassifierCheck, check_of


@dataclass(frozen=True, slots=True)
class FilterPolicy:
    """One of `filters`, compiled."""

    name: str
    limits: FilterLimits | None
    stream: StreamWindow
    input_checks: tuple[ClassifierCheck, ...]
    output_checks: tuple[ClassifierCheck, ...]

    def checks(self, side: Side) -> tuple[ClassifierCheck, ...]:
        """Return what a classifier is to judge of one side."""
        return self.input_checks if side == "input" else self.output_checks


def compile_policy(name: str, settings: FilterSettings) -> FilterPolicy:
    """Build the policy of a named filter."""
    return FilterPolicy(name, settings.limits, settings.stream, _checks(settings.input), _checks(settings.output))


def compile_policies(filters: Mapping[str, FilterSettings]) -> Mapping[str, FilterPolicy]:
    """Build every policy, by name."""
    return MappingProxyType({name: compile_policy(name, settings) for name, settings in filters.items()})


def _checks(rules: tuple[FilterRule, ...]) -> tuple[ClassifierCheck, ...]:
    return tuple(check_of(rule) for rule in rules if isinstance(rule, ClassifierRule))
