"""Any arguments a tool may be called with, for Hypothesis."""

from typing import Any

from hypothesis import strategies as st

from gateway.dialects.arguments import Raw, read_json

Json = Any
SPACE = " \t\n\r"
"""The white space that goes next to a call."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    (
        "",
        " ",
        "a, b",
        "}",
        "]}",
        "\\",
        "\\n",
        '"',
        "'",
        "`",
        "\n}",
        "call:f{",
        "true",
        "null",
        "02139",
        "1.0",
        "a:1",
        "{",
        "<",
        "<|",
        "😀",
    )
)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
arguments: st.SearchStrategy[dict[str, Json]] = st.dictionaries(texts, values, max_size=4)


def raw_arguments(text: str) -> dict[str, Raw]:
    """The arguments as a dialect's writer takes them."""
    raw = read_json(text)
    assert isinstance(raw, dict)
    return raw


def cut(draw: st.DrawFn, text: str) -> list[str]:
    """The text in pieces."""
    edges = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[start:end] for start, end in zip([0, *edges], [*edges, len(text)], strict=True)]
