"""Named filters of the configuration, ready to use."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.config.model import ClassifierRule, FilterLimits, FilterRule, FilterSettings, LogContent, StreamWindow
from gateway.filters.findings import Side
from gateway.filters.judging import ClassifierCheck, check_of
from gateway.filters.rules import RuleSet, compile_rules


@dataclass(frozen=True, slots=True)
class FilterPolicy:
    """One of `filters`, compiled."""

    name: str
    limits: FilterLimits | None
    stream: StreamWindow
    input: RuleSet
    output: RuleSet
    input_checks: tuple[ClassifierCheck, ...]
    output_checks: tuple[ClassifierCheck, ...]
    log_content: LogContent = "hash"
    salt: bytes = field(default=b"", repr=False)
    """Of the hashes of content in the log."""

    @property
    def reads_answers(self) -> bool:
        """Whether there are rules for answers."""
        return bool(self.output.rules or self.output_checks)

    def checks(self, side: Side) -> tuple[ClassifierCheck, ...]:
        """Return what a classifier is to judge of one side."""
        return self.input_checks if side == "input" else self.output_checks

    def shown(self, texts: Sequence[str], images: Sequence[str] = ()) -> str | None:
        """Return what the log may tell of content: its salted hash, the content, or nothing.

        Images, given by their URLs, are named by a salted hash each, never shown.
        """
        if self.log_content == "off":
            return None
        said = "\n".join([*texts, *(f"[image {self._hash(url)}]" for url in images)])
        return said if self.log_content == "full" else self._hash(said)

    def _hash(self, text: str) -> str:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self.salt, digest_size=16).hexdigest()


def compile_policy(
    name: str, settings: FilterSettings, *, log_content: LogContent = "hash", salt: bytes = b""
) -> FilterPolicy:
    """Build the policy of a named filter."""
    return FilterPolicy(
        name,
        settings.limits,
        settings.stream,
        compile_rules(settings.input),
        compile_rules(settings.output),
        _checks(settings.input),
        _checks(settings.output),
        log_content,
        salt,
    )


class PolicyBook:
    """The policies in force, by name; a reload swaps them all at once."""

    def __init__(
        self, filters: Mapping[str, FilterSettings], *, log_content: LogContent = "hash", salt: bytes = b""
    ) -> None:
        """`salt`: 16 to 64 bytes that only this gateway knows."""
        self._log_content: Final[LogContent] = log_content
        self._salt: Final = salt
        self._settings: Mapping[str, FilterSettings] = {}
        self._policies: Mapping[str, FilterPolicy] = {}
        self.use(filters)

    def use(self, filters: Mapping[str, FilterSettings]) -> None:
        """Put other filters in force; those that are the same as before aren't built again."""
        self._policies = {
            name: self._policies[name] if self._settings.get(name) == settings else self._compile(name, settings)
            for name, settings in filters.items()
        }
        self._settings = filters

    def get(self, name: str) -> FilterPolicy | None:
        """Return a policy, None if there is none of that name."""
        return self._policies.get(name)

    def _compile(self, name: str, settings: FilterSettings) -> FilterPolicy:
        return compile_policy(name, settings, log_content=self._log_content, salt=self._salt)


def _checks(rules: tuple[FilterRule, ...]) -> tuple[ClassifierCheck, ...]:
    return tuple(check_of(rule) for rule in rules if isinstance(rule, ClassifierRule))
