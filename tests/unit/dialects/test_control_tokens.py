"""Control tokens in client text become plain text, and come back whole in replies."""

import pytest

from gateway.dialects.control_tokens import BREAKER, MarkerGuard, MarkerRestorer, markers
from gateway.errors import InvalidRequest
from gateway.values import Family

FAMILIES: tuple[Family, ...] = ("gemma1", "gemma2", "gemma3", "gemma3n", "gemma4", "functiongemma", "shieldgemma")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_marker_of_the_family_is_broken_after_its_first_character(family: Family) -> None:
    """No tokenizer sees a control token in what a client wrote."""
    guard = MarkerGuard(family)
    for marker in markers(family):
        assert guard.neutralise(f"a{marker}b<{marker}") == f"a<{BREAKER}{marker[1:]}b<<{BREAKER}{marker[1:]}"


def test_text_without_a_marker_is_returned_as_the_same_object() -> None:
    """Callers tell by identity whether something was changed."""
    guard = MarkerGuard("gemma4")
    for text in ("plain", "a < b", "<p>html</p>", "<|TURN>", "<start_of_turn>"):
        assert guard.neutralise(text) is text


def test_markers_of_another_family_are_text() -> None:
    """Gemma 4's tokenizer knows no `<start_of_turn>`, Gemma 3's no `<turn|>`."""
    assert MarkerGuard("gemma3").neutralise("<turn|>") == "<turn|>"
    assert MarkerGuard("functiongemma").neutralise("<escape>") != "<escape>"
    assert MarkerGuard("gemma3").neutralise("<escape>") == "<escape>"


def test_reject_names_the_field() -> None:
    """The strict mode answers 400 for the message at fault."""
    with pytest.raises(InvalidRequest) as caught:
        MarkerGuard("gemma3", "reject").neutralise("x<end_of_turn>", "messages[0].content")
    assert caught.value.param == "messages[0].content"


def test_off_changes_nothing() -> None:
    """For operators whose clients write prompts on purpose."""
    assert MarkerGuard("gemma3", "off").neutralise("<end_of_turn>") == "<end_of_turn>"


def test_the_restorer_holds_only_what_may_still_become_a_marker() -> None:
    """The `<` goes out at once; a zero-width space elsewhere is the model's own."""
    restorer = MarkerRestorer("gemma3")
    assert restorer.feed("a<") == "a<"
    assert restorer.feed(BREAKER) == ""
    assert restorer.feed("eo") == ""
    assert restorer.feed("s>b") == "eos>b"
    assert restorer.feed(f"x{BREAKER}y") == f"x{BREAKER}y"
    assert restorer.feed(f"<{BREAKER}eox") == f"<{BREAKER}eox"
    assert restorer.feed(f"<{BREAKER}e") == "<"
    assert restorer.finish() == f"{BREAKER}e"
    assert restorer.finish() == ""
