"""What a start costs: nothing is imported or made that the configuration doesn't ask for, and nothing made too late."""

import subprocess
import sys

import pytest

from gateway.config.model import KeywordsRule, PiiRule
from gateway.filters import folding
from gateway.filters.rules import compile_rules


def test_the_server_imports_no_driver_that_it_may_not_need() -> None:
    """Redis, DNS, numpy and LiteLLM take as long to import as everything else together."""
    asked = "import sys, gateway.server; print([m for m in ('redis', 'dns', 'numpy', 'litellm') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("rule", "tables"),
    [(PiiRule(("email",), "redact"), {"exact"}), (KeywordsRule(("x",), "block"), {"exact", "skeleton"})],
)
def test_no_request_waits_for_the_table_of_characters(
    monkeypatch: pytest.MonkeyPatch, rule: PiiRule | KeywordsRule, tables: set[str]
) -> None:
    """It is made with the rules: a tenth of a second, in which no other request would be served."""
    made: set[str] = set()
    monkeypatch.setattr("gateway.filters.rules.fold_table", made.add)
    monkeypatch.setattr("gateway.filters.keywords.fold_table", made.add)
    compile_rules((rule,))
    assert made == tables
    assert compile_rules(()).rules == ()
    assert folding.fold_table("exact") is folding.fold_table("exact")
