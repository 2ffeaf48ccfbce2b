"""Placeholders of a request: numbered, nobody else's, and put back where the model repeats them."""

import pytest

from gateway.config.model import PiiRule
from gateway.filters.restoring import Placeholders, TextRestorer
from gateway.filters.rules import compile_rules
from gateway.filters.screener import Findings, screen_text

RULES = compile_rules((PiiRule(("email", "phone"), restore=True), PiiRule(("ip",))))


def redact(placeholders: Placeholders, text: str) -> str:
    """The text as a model gets it."""
    return screen_text(RULES, Findings(), text, placeholders=placeholders)


def test_values_are_numbered_by_kind() -> None:
    """One value has one placeholder wherever it stands; a rule without `restore` keeps the plain one."""
    placeholders = Placeholders()
    said = redact(placeholders, "a@x.org to b@x.org, +45 12 34 56 78, a@x.org from 127.0.0.1, A@x.org")
    assert said == "[EMAIL_1] to [EMAIL_2], [PHONE_1], [EMAIL_1] from [IP], [EMAIL_3]"
    assert placeholders.restore("Dear [EMAIL_2], [EMAIL_3] [IP]") == "Dear b@x.org, A@x.org [IP]"


def test_who_writes_a_placeholder_gets_no_value() -> None:
    """A number that the request's own text has is nobody's: what its author wrote comes back as it was."""
    texts = ["Who is [EMAIL_1]? And [EMAIL_2]?", "secret: a@x.org"]
    placeholders = Placeholders(texts)
    said = [redact(placeholders, text) for text in texts]
    assert said == ["Who is [EMAIL_1]? And [EMAIL_2]?", "secret: [EMAIL_3]"]
    assert placeholders.restore("[EMAIL_1] is not [EMAIL_3]") == "[EMAIL_1] is not a@x.org"


@pytest.mark.parametrize(
    "said", ["[EMAIL_4]", "[email_1]", "[EMAIL_01]", "[EMAIL_1", "[EMAIL_ 1]", "EMAIL_1]", "[EMAIL]"]
)
def test_only_what_was_given_out_is_put_back(said: str) -> None:
    """A model that makes placeholders up gets nothing for them."""
    placeholders = Placeholders()
    redact(placeholders, "a@x.org")
    assert placeholders.restore(said) == said


def test_a_value_that_looks_like_a_placeholder_is_not_read_again() -> None:
    """What is put back stays as it is, also where the text around makes a placeholder of it."""
    placeholders = Placeholders()
    first = placeholders.add("PATTERNS", "[EMAIL_1]")
    second = placeholders.add("EMAIL", "a@x.org")
    assert placeholders.restore(f"{first}{second}") == "[EMAIL_1]a@x.org"
    third = placeholders.add("PATTERNS", "[EMA")
    restorer = TextRestorer(placeholders, json=False)
    assert restorer.feed(third) + restorer.feed("IL_1]") + restorer.finish() == "[EMAIL_1]"


def test_requests_know_nothing_of_each_other() -> None:
    """What one request redacted isn't there for another."""
    one, other = Placeholders(), Placeholders()
    redact(one, "a@x.org")
    redact(other, "b@x.org")
    assert other.restore("[EMAIL_1]") == "b@x.org"
    assert not Placeholders()


def test_values_are_escaped_in_json() -> None:
    """A quote or a line's end in a value doesn't end the string that it is put in."""
    placeholders = Placeholders()
    said = placeholders.add("PATTERNS", 'a"b\\\n')
    assert placeholders.restore(f'{{"x": "{said}"}}', json=True) == '{"x": "a\\"b\\\\\\n"}'


def test_only_a_beginning_of_a_placeholder_waits() -> None:
    """Brackets that can become none leave at once."""
    placeholders = Placeholders()
    redact(placeholders, "a@x.org")
    restorer = TextRestorer(placeholders, json=False)
    assert [restorer.feed(piece) for piece in ("x[", "1], [EM", "AIL", "_1", "] [PH")] == [
        "x",
        "[1], ",
        "",
        "",
        "a@x.org [PH",
    ]
    assert restorer.feed("[EMA") == ""
    assert restorer.finish() == "[EMA"


def test_nothing_is_shown_by_accident() -> None:
    """The object's text, as a log or a stack trace would have it, has no value."""
    placeholders = Placeholders()
    redact(placeholders, "a@x.org")
    assert "x.org" not in repr(placeholders)
