"""The port between a policy and the models that judge texts and images for it.

A policy says with `ClassifierCheck` what it wants judged; a `Classifier` asks the model and answers with one `Verdict`
per passage or picture and policy, or fails. What follows from that is decided here, by `decide`, the same for input and
output.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from gateway.config.model import ClassifierRule, OnError, Policy
from gateway.filters.findings import Finding, Side

FailureReason = Literal["unavailable", "timeout", "nonsense", "too_much"]
"""`too_much`: the request asks for more verdicts than one may; nothing of it was judged."""


class ClassifierCheck(Struct, frozen=True):
    """One classifier rule of a policy."""

    model: str
    """Name or alias of a model of this gateway."""
    policies: tuple[Policy, ...]
    """Empty: all that the model was trained on."""
    threshold: float
    """Probability of a violation from which on the rule acts."""
    action: Literal["block", "flag"]
    on_error: OnError
    timeout_s: float
    """For all verdicts of one call of `judge` together."""


class Passage(Struct, frozen=True):
    """A text to judge."""

    text: str
    side: Side
    """`input`: what a user asks; `output`: what the model replies."""
    prompt: str = ""
    """What an output replies to: the last user text; empty when there is none."""


class Picture(Struct, frozen=True):
    """An image to judge."""

    url: str
    """As the engine gets it: a data URL, or one that the engine fetches."""


Judged = Passage | Picture


class Verdict(Struct, frozen=True):
    """What the model thinks of one passage or picture under one policy."""

    policy: Policy
    probability: float
    """Of a violation, 0 to 1."""


class ClassifierFailedError(Exception):
    """No verdict: the model is not there, took too long, or gave an answer that is none."""

    def __init__(self, reason: FailureReason, detail: str = "", verdicts: "Sequence[Sequence[Verdict]]" = ()) -> None:
        """`verdicts`: those that came before or beside the failure."""
        super().__init__(detail or reason)
        self.reason: FailureReason = reason
        self.verdicts = verdicts


class Classifier(Protocol):
    """Judges texts and images."""

    async def judge(self, check: ClassifierCheck, given: Sequence[Judged]) -> Sequence[Sequence[Verdict]]:
        """Return for each that was given a verdict per policy of the check; none for what the check's model doesn't
        judge: it takes either passages or pictures. Raises ClassifierFailedError.

        All calls that this takes go out in parallel. Cancelling it aborts them.
        """
        ...


def check_of(rule: ClassifierRule) -> ClassifierCheck:
    """Return what a rule of the configuration asks of a classifier."""
    return ClassifierCheck(rule.model, rule.policies, rule.threshold, rule.action, rule.on_error, rule.timeout_s)


def decide(check: ClassifierCheck, outcome: Sequence[Sequence[Verdict]] | ClassifierFailedError) -> tuple[Finding, ...]:
    """Return what follows from the verdicts: a finding per violated policy; none when the text may pass.

    Where verdicts are missing, `on_error: closed` acts as if there were a violation, and `open` leaves a flag for the
    log; those that came count either way. A request that asks for too many acts like a violation whatever `on_error`
    says: it is the client's doing, and would be a way past the rule.
    """
    counts: dict[Policy, int] = {}
    for verdicts in outcome.verdicts if isinstance(outcome, ClassifierFailedError) else outcome:
        for verdict in verdicts:
            if verdict.probability >= check.threshold:
                counts[verdict.policy] = counts.get(verdict.policy, 0) + 1
    found = tuple(Finding(f"classifier.{policy}", check.action, count) for policy, count in counts.items())
    if not isinstance(outcome, ClassifierFailedError):
        return found
    if outcome.reason == "too_much":
        return (*found, Finding("classifier.too_much", check.action))
    return (*found, Finding("classifier.unavailable", "flag" if check.on_error == "open" else check.action))
