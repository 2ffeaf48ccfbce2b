"""Paths and messages are one line of plain text each, whatever is in the file."""

from gateway.config.problems import ConfigurationError, Problem, did_you_mean, key_path, quoted


def test_paths_read_like_the_file() -> None:
    """Plain keys with dots, others quoted."""
    assert key_path("", "models") == "models"
    assert key_path("models[0]", "name") == "models[0].name"
    assert key_path("limits", "a/b") == 'limits["a/b"]'
    assert key_path("", "a\nb\ud800") == '["a\\nb\\ud800"]'


def test_quoted_text_is_short_and_on_one_line() -> None:
    """No terminal is confused by a key of the file."""
    assert quoted("a\x1b[0m") == '"a\\u001b[0m"'
    assert len(quoted("x" * 1000)) < 100


def test_suggestions_need_likeness() -> None:
    """A far-fetched one would mislead; a huge word isn't compared at all."""
    assert did_you_mean("servr", ["server", "redis"]) == '; did you mean "server"?'
    assert did_you_mean("zebra", ["server", "redis"]) == ""
    assert did_you_mean("x" * 100_000, ["x" * 100_000]) == ""


def test_an_error_prints_every_problem() -> None:
    """One line each; a problem of the file as a whole has no path."""
    assert str(ConfigurationError([Problem("a", "is bad"), Problem("", "empty")])) == "a: is bad\nempty"
