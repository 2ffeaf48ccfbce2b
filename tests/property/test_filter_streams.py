"""Whatever the rules and the cuts, a stream gives what the filter makes of the whole text."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.filters.rules import RuleSet
from gateway.filters.screener import Findings, TextScreener, screen_text
from gateway.filters.view import View
from tests.support.filter_texts import COMPILED, RULE_SETS, TEXTS
from tests.support.linear import assert_linear


@settings(max_examples=300)
@given(RULE_SETS, TEXTS, st.booleans(), st.lists(st.integers(1, 7), min_size=1, max_size=12))
def test_a_stream_is_the_filter_of_the_whole(rules: RuleSet, text: str, json: bool, cuts: list[int]) -> None:
    """The joined pieces, and what was found, are the same for every cut, up to the first block."""
    whole, streamed = Findings(), Findings()
    expected = screen_text(rules, whole, text, json=json)
    screener = TextScreener(rules, streamed, json=json)
    out, at, turn = "", 0, 0
    while at < len(text):
        size = cuts[turn % len(cuts)]
        out += screener.feed(text[at : at + size])
        at, turn = at + size, turn + 1
    out += screener.finish()
    assert out == expected
    assert streamed.all() == whole.all()


@settings(max_examples=300)
@given(RULE_SETS, TEXTS)
def test_no_character_of_a_match_leaves(rules: RuleSet, text: str) -> None:
    """What leaves is the text without the matches, placeholders apart, cut at the first block."""
    acting = [match for match in rules.find(View(text)) if match.action != "flag"]
    blocks = [match.span.start for match in acting if match.action == "block"]
    end = min(blocks, default=len(text))
    hidden = {i for match in acting for i in range(match.span.start, match.span.end)}
    allowed = "".join(char for i, char in enumerate(text[:end]) if i not in hidden)
    said = screen_text(rules, Findings(), text)
    for label in {f"[{match.span.label.removeprefix('pii.').upper()}]" for match in acting if match.action == "redact"}:
        if label not in text:
            said = said.replace(label, "")
    assert said == allowed


def test_work_is_linear() -> None:
    """Four times the text takes about four times as long, clean or hostile."""
    rules = RuleSet(COMPILED)
    for unit in ("plain words of no harm, ", "1234 5678 ", "a@", "<scr", "h a ", "\u200bа", "user: "):

        def run(size: int, unit: str = unit) -> None:
            screen_text(rules, Findings(), (unit * size)[:size])

        assert_linear(run, 5_000)
