"""Each kind of personal data: a number of its kind is found, one with a wrong check digit is not.

The numbers are the examples of python-stdnum's documentation and of the registries.
"""

from typing import get_args

import pytest

from gateway.config.model import PiiRule, PiiType
from gateway.filters.findings import Finding
from gateway.filters.rules import compile_rules
from gateway.filters.screener import Findings, screen_text

NUMBERS: tuple[tuple[PiiType, str, str], ...] = (
    ("credit_card", "5555 5555 5555 4444", "5555 5555 5555 4445"),
    ("credit_card", "378282246310005", "378282246310006"),
    ("iban", "GR16 0110 1050 0000 1054 7023 795", "GR16 0110 1050 0000 1054 7023 796"),
    ("iban", "NO9386011117947", "NO9386011117948"),
    ("ssn", "536-90-4399", "666-90-4399"),
    ("cpr", "211062-5629", "311162-5629"),
    ("cpr", "2110625629", "2110625628"),
    ("personnummer", "880320-0016", "880320-0018"),
    ("fodselsnummer", "151086 95088", "151086 95077"),
    ("hetu", "131052-308T", "131052-308U"),
    ("nino", "AB 12 34 56 C", "AB 12 34 56 E"),
    ("nir", "2 95 10 99 126 111 93", "2 95 10 99 126 111 94"),
    ("dni", "54362315-K", "54362315-Z"),
    ("dni", "X2482300W", "X2482300A"),
    ("codice_fiscale", "RCCMNL83S18D969H", "RCCMNL83S18D969A"),
    ("steuer_id", "36 574 261 809", "36 574 261 890"),
    ("pesel", "44051401359", "44051401358"),
    ("cpf", "390.533.447-05", "390.533.447-06"),
    ("aadhaar", "2341 2341 2346", "2341 2341 2347"),
    ("ip", "2001:db8::ff00:42:8329", "2001:db8::ff00:42:8329:1:2:3:4"),
    ("ip", "10.1.2.255", "10.1.2.256"),
)
EVERYTHING = compile_rules([PiiRule(get_args(PiiType))])


@pytest.mark.parametrize(("kind", "right", "wrong"), NUMBERS)
def test_a_number_is_redacted_and_one_that_is_none_stays(kind: PiiType, right: str, wrong: str) -> None:
    """Whatever stands around it, as long as it is no letter or digit."""
    rules = compile_rules([PiiRule((kind,))])
    findings = Findings()
    said = screen_text(rules, findings, f"It is {right}, I think. Or ({wrong})?")
    assert said == f"It is [{kind.upper()}], I think. Or ({wrong})?"
    assert findings.all() == (Finding(f"pii.{kind}", "redact"),)
    assert screen_text(rules, Findings(), f"a{right}b") == f"a{right}b"


@pytest.mark.parametrize(("kind", "right", "wrong"), NUMBERS)
def test_all_kinds_together_find_what_each_finds(kind: PiiType, right: str, wrong: str) -> None:
    """One rule with every kind leaves nothing of a number."""
    del kind, wrong
    said = screen_text(EVERYTHING, Findings(), f"It is {right}, I think.")
    assert said.startswith("It is [")
    assert said.endswith("], I think.")


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-0123456789abcdefghijABCD",
        "gk-acme-prod-0123456789abcdefghijABCDEFGHIJKL",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEFGHIJKLMNOP",
        "glpat-0123456789abcdefghij",
        "xoxb-0123456789-abcdef",
        "hf_0123456789abcdefghijABCDEFGHIJ",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ],
)
def test_keys_of_services_are_found_by_their_shape(key: str) -> None:
    """The gateway's own among them."""
    rules = compile_rules([PiiRule(("api_key",))])
    assert screen_text(rules, Findings(), f"key={key};") == "key=[API_KEY];"


def test_every_kind_has_a_test() -> None:
    """A kind that is added brings its number."""
    assert {kind for kind, _, _ in NUMBERS} | {"email", "phone", "api_key"} == set(get_args(PiiType))
