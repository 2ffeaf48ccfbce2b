"""What screening found, as facts for the answer, the log and the metrics; never a piece of the text itself."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from gateway.config.model import Action

Side = Literal["input", "output"]
RuleLabel = str
"""Which rule acted, from a closed set: `keywords`, `markup`, `injection`, `patterns`, `pii.email` …, `classifier.hate`
…, `classifier.unavailable`, `classifier.too_much`, `max_messages`, `max_chars`. Safe as a metric's label."""


class Finding(Struct, frozen=True):
    """One rule that acted, and how often."""

    rule: RuleLabel
    action: Action
    count: int = 1


def blocked_by(findings: Iterable[Finding]) -> RuleLabel | None:
    """Return the first rule that blocks, None when none does."""
    return next((finding.rule for finding in findings if finding.action == "block"), None)
