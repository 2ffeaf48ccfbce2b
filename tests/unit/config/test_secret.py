"""A secret doesn't show."""

import traceback

from gateway.config.model import Secret


def test_a_secret_shows_in_no_formatting() -> None:
    """Neither in repr, str, format nor in a traceback's message."""
    secret = Secret("hush-hush")
    assert f"{secret} {secret!r} {secret!s} {[secret]}".count("hush") == 0
    assert "hush" not in "".join(traceback.format_exception(ValueError(secret)))
    assert secret.reveal() == "hush-hush"


def test_equal_secrets_are_equal() -> None:
    """Settings that hold them can be compared and hashed."""
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
