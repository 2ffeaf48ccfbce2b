"""What follows from a classifier's verdicts."""

from gateway.config.model import ClassifierRule, FilterSettings
from gateway.filters.findings import Finding, blocked_by
from gateway.filters.judging import ClassifierFailedError, Verdict, check_of, decide
from gateway.filters.policy import compile_policy

RULE = ClassifierRule("shieldgemma", policies=("hate", "sexual"), threshold=0.5)


def test_a_probability_at_the_threshold_is_a_violation() -> None:
    """Each violated policy is one finding that counts the passages."""
    verdicts = [[Verdict("hate", 0.5), Verdict("sexual", 0.49)], [Verdict("hate", 0.9), Verdict("sexual", 0.1)]]
    assert decide(check_of(RULE), verdicts) == (Finding("classifier.hate", "block", 2),)


def test_text_below_the_threshold_passes() -> None:
    """No finding means that the text may pass."""
    assert decide(check_of(RULE), [[Verdict("hate", 0.1), Verdict("sexual", 0.0)]]) == ()


def test_without_verdicts_closed_blocks_and_open_flags() -> None:
    """`on_error` says what a classifier that doesn't answer means; the outcome is seen either way."""
    failed = ClassifierFailedError("timeout")
    closed = ClassifierRule("shieldgemma", on_error="closed")
    flagging = ClassifierRule("shieldgemma", on_error="closed", action="flag")
    opened = ClassifierRule("shieldgemma", on_error="open")
    assert blocked_by(decide(check_of(closed), failed)) == "classifier.unavailable"
    assert decide(check_of(flagging), failed) == (Finding("classifier.unavailable", "flag"),)
    assert decide(check_of(opened), failed) == (Finding("classifier.unavailable", "flag"),)
    assert failed.reason == "timeout"


def test_asking_for_too_much_is_no_way_past_a_rule() -> None:
    """It is the client's doing: `open` is for a classifier that fails, and doesn't let it pass."""
    failed = ClassifierFailedError("too_much")
    opened = ClassifierRule("shieldgemma", on_error="open")
    flagging = ClassifierRule("shieldgemma", on_error="closed", action="flag")
    assert blocked_by(decide(check_of(opened), failed)) == "classifier.too_much"
    assert decide(check_of(flagging), failed) == (Finding("classifier.too_much", "flag"),)


def test_the_log_tells_images_by_hashes() -> None:
    """Also where it may show content: an image is large, and not readable there."""
    hidden = compile_policy("strict", FilterSettings(), log_content="hash", salt=b"salt")
    full = compile_policy("strict", FilterSettings(), log_content="full", salt=b"salt")
    off = compile_policy("strict", FilterSettings(), log_content="off", salt=b"salt")
    assert hidden.shown(["text"], ["data:one"]) != hidden.shown(["text"], ["data:two"])
    assert hidden.shown(["text"], ["data:one"]) != hidden.shown(["text"])
    shown = full.shown(["text"], ["data:one"])
    assert shown is not None
    assert shown.startswith("text\n[image ")
    assert "data:one" not in shown
    assert off.shown(["text"], ["data:one"]) is None


def test_a_policy_names_what_a_classifier_is_asked_on_each_side() -> None:
    """Input and output rules are apart."""
    policy = compile_policy("strict", FilterSettings(output=(RULE,)))
    assert policy.name == "strict"
    assert policy.checks("input") == ()
    assert policy.checks("output") == (check_of(RULE),)


def test_verdicts_that_came_count_when_others_are_missing() -> None:
    """`open` forgives what is unknown, not a violation that is known."""
    failed = ClassifierFailedError("timeout", verdicts=[[Verdict("hate", 0.9)]])
    opened = ClassifierRule("shieldgemma", policies=("hate", "sexual"), on_error="open")
    findings = decide(check_of(opened), failed)
    assert blocked_by(findings) == "classifier.hate"
    assert findings[1] == Finding("classifier.unavailable", "flag")
