"""The key that keeps requests with one beginning together."""

from typing import Any

import pytest

from gateway.pipeline.prompt_head import HEAD_CHARS, HEAD_TOKENS, head_key

LONG = "A long text that is always the same. " * 100
MODEL = "google/gemma-3-4b-it"


def key(*messages: tuple[str, Any], salt: str = "acme", model: str = MODEL) -> int:
    """Of a conversation."""
    return head_key(salt, model, {"messages": [{"role": role, "content": content} for role, content in messages]})


def prompt_key(prompt: Any) -> int:
    """Of a raw prompt."""
    return head_key("acme", MODEL, {"prompt": prompt})


def test_all_turns_of_a_conversation_have_one_key() -> None:
    """What comes behind the first question changes nothing."""
    first = key(("system", "Be kind."), ("user", "Hello"))
    assert first == key(("system", "Be kind."), ("user", "Hello"), ("assistant", "Hi"), ("user", "What now?"))


def test_questions_about_one_long_text_have_one_key() -> None:
    """In a system prompt, in front of the question, or as a part of its own."""
    assert key(("system", LONG), ("user", "One?")) == key(("system", LONG), ("user", "Two?"))
    assert key(("user", LONG + "One?")) == key(("user", LONG + "Two?"))
    parts = [[{"type": "text", "text": LONG}, {"type": "text", "text": question}] for question in ("One?", "Two?")]
    assert key(("user", parts[0])) == key(("user", parts[1]))


@pytest.mark.parametrize(
    "other",
    [
        key(("user", "Hello"), salt="other"),
        key(("user", "Hello"), model="support"),
        key(("user", "Hello.")),
        key(("system", "Hello")),
        key(("system", "H"), ("user", "ello")),
        key(("user", [{"type": "text", "text": "Hello"}, {"type": "image_url", "image_url": {"url": "data:,1"}}])),
    ],
)
def test_what_an_engine_does_not_share_has_another_key(other: int) -> None:
    """Another tenant, another adapter, another beginning."""
    assert key(("user", "Hello")) != other


def test_pictures_are_told_apart() -> None:
    """Their data begin alike; one of many megabytes costs no more than a small one."""
    pictures = [
        key(("user", [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5_000_000 + end}}]))
        for end in ("x", "y", "x")
    ]
    assert pictures[0] == pictures[2] != pictures[1]


def test_raw_prompts() -> None:
    """Text is cut like a conversation, tokens at as many as that is; of several prompts the first decides."""
    assert prompt_key("x" * HEAD_CHARS + "a") == prompt_key("x" * HEAD_CHARS + "b") != prompt_key("x")
    assert prompt_key([7] * HEAD_TOKENS + [1]) == prompt_key([7] * HEAD_TOKENS + [2]) != prompt_key([7])
    assert prompt_key(["a", "b"]) == prompt_key("a")
    assert prompt_key([[1, 2], [3]]) == prompt_key([1, 2])


def test_half_a_surrogate_is_no_trouble() -> None:
    """JSON may hold one; the key must not fail for it."""
    assert key(("user", "\ud800")) != key(("user", "\ud801"))


def test_what_has_no_text_has_a_key() -> None:
    """A message of nothing, and a part of a kind that isn't known."""
    assert key(("user", None)) == key(("user", ""))
    assert key(("user", [{"type": "file", "file": {}}])) != key(("user", ""))
