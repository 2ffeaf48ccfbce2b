"""Whatever is in a configuration file, reading it gives settings or problems, and never shows a secret."""

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.config.load import parse_settings
from gateway.config.problems import ConfigurationError
from gateway.config.yaml_tree import read_tree
from gateway.routing.catalog import VARIANTS, find_variant

KEYS = [
    "server",
    "host",
    "port",
    "workers",
    "max_body_mb",
    "redis",
    "url",
    "prefix",
    "on_failure",
    "admin",
    "key",
    "models",
    "name",
    "variant",
    "aliases",
    "weight",
    "api_key",
    "served_name",
    "dialect",
    "balance",
    "fallbacks",
    "context_length",
    "tenants",
    "id",
    "priority",
    "limits",
    "requests_per_minute",
    "model_limits",
    "filter",
    "keys",
    "secret",
    "secret_sha256",
    "expires",
    "filters",
    "input",
    "output",
    "kind",
    "words",
    "action",
    "set",
    "types",
    "model",
    "policies",
    "threshold",
    "on_error",
    "max_messages",
    "over",
    "fallback_providers",
    "observability",
    "log_content",
    "alerts",
    "window_s",
]
VALUES = (
    "keywords",
    "patterns",
    "pii",
    "classifier",
    "google/gemma-3-4b-it",
    "${NAME}",
    "${NOPE}",
    "a" * 64,
    "$",
    "2027-01-01",
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(VALUES)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=6),
    max_leaves=40,
)
roots = st.dictionaries(st.sampled_from(KEYS), trees)


def settles(text: str) -> None:
    """Reading ends in settings or in a ConfigurationError that has problems."""
    try:
        parse_settings(text, {"NAME": "zq-secret-zq"}, VARIANTS)
    except ConfigurationError as error:
        problems = [str(problem) for problem in error.problems]
    else:
        return
    assert problems
    assert all(problem.isprintable() and "zq-secret" not in problem for problem in problems)


@given(roots)
def test_any_tree_settles(tree: dict[str, object]) -> None:
    """Any shape under any known key; JSON is YAML."""
    settles(json.dumps(tree))


@given(trees)
def test_any_tree_as_a_model_and_a_tenant_settles(tree: object) -> None:
    """The sections in which most keys are."""
    settles(json.dumps({"models": [tree], "tenants": [tree], "filters": {"f": {"input": [tree]}}}))


@given(st.text() | st.text(alphabet="{}[]:,-?&*!|>'\"%@`#$<~ \nab1\\U"))
def test_any_text_settles(text: str) -> None:
    """YAML or not."""
    settles(text)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_variable_arrives_unchanged(value: str) -> None:
    """No value of a variable is taken for YAML or for another variable."""
    assert read_tree("{a: [${NAME}, x${NAME}]}", {"NAME": value}, []) == {"a": [value, f"x{value}"]}


@given(st.text())
def test_any_name_is_a_variant_or_none(name: str) -> None:
    """Looking up a name never fails, and what follows a known checkpoint's name doesn't change its variant."""
    assert find_variant(name) is None or "gemma" in name.lower()
    if "/" not in name:
        assert find_variant(f"google/gemma-3-4b-it-{name}") is VARIANTS["gemma-3-4b-it"]
