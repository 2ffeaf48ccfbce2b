"""Neutralising and restoring, for any text and any cut."""

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.control_tokens import BREAKER, MarkerGuard, MarkerRestorer, markers
from gateway.values import Family

families: st.SearchStrategy[Family] = st.sampled_from(("gemma2", "gemma3", "gemma4", "functiongemma"))


@st.composite
def hostile(draw: st.DrawFn) -> tuple[Family, str]:
    """A family, and text that is dense in its markers, pieces of them and zero-width spaces."""
    family: Family = draw(families)
    names = markers(family)
    pieces = st.one_of(
        st.sampled_from(names),
        st.sampled_from(names).map(lambda marker: f"<{BREAKER}{marker[1:]}"),
        st.sampled_from(names).flatmap(lambda marker: st.integers(0, len(marker)).map(lambda end: marker[:end])),
        st.text("<>|\u200b ab\n", max_size=4),
        st.text(max_size=3),
    )
    return family, "".join(draw(st.lists(pieces, max_size=8)))


@settings(deadline=None)
@given(hostile())
def test_neutralised_text_holds_no_marker_and_stays_so(case: tuple[Family, str]) -> None:
    """Idempotent, and nothing a tokenizer could take for a control token is left."""
    family, text = case
    guard = MarkerGuard(family)
    clean = guard.neutralise(text)
    assert not re.search("|".join(map(re.escape, markers(family))), clean)
    assert guard.neutralise(clean) is clean
    assert clean.replace(BREAKER, "") == text.replace(BREAKER, "")


@settings(deadline=None)
@given(hostile(), st.data())
def test_a_restored_stream_is_the_same_for_every_cut(case: tuple[Family, str], data: st.DataObject) -> None:
    """What the client wrote comes back, however the reply was cut."""
    family, text = case
    echoed = MarkerGuard(family).neutralise(text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(echoed)), max_size=10)))
    restorer = MarkerRestorer(family)
    edges = [0, *cuts, len(echoed)]
    pieces = [restorer.feed(echoed[start:end]) for start, end in pairwise(edges)]
    expected = echoed
    for marker in markers(family):
        expected = expected.replace(f"<{BREAKER}{marker[1:]}", marker)
    assert "".join(pieces) + restorer.finish() == expected
