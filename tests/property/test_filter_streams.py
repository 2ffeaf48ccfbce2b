"""Whatever the rules and the cuts, a stream gives what the filter makes of the whole text."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.model import KeywordsRule, PatternsRule, PiiRule
from gateway.filters.rules import RuleSet, compile_rules
from gateway.filters.screener import Findings, TextScreener, screen_text
from gateway.filters.view import View
from tests.support.linear import assert_linear

RULES = (
    KeywordsRule(("hate", "kill yourself", "仇恨", "pédé"), "block"),
    KeywordsRule(("damn",), "redact", leetspeak=True),
    PatternsRule(None, (r"ab{1,3}c", r"c(?:d|ef){1,2}"), "redact"),
    PiiRule(("email", "phone", "credit_card", "iban", "ip", "ssn", "cpr", "api_key", "nino"), "redact"),
    PatternsRule("markup"),
    PatternsRule("injection", action="flag"),
)
COMPILED = tuple(compile_rules((rule,)).rules[0] for rule in RULES)
PIECES = st.sampled_from(
    (
        *(
            "hate",
            "ha",
            " te",
            "kill",
            "  yourself",
            "a",
            "b",
            "c",
            "ab",
            "bc",
            "cd",
            "ef",
            " ",
            "me",
            ".",
            "1",
            ", ",
            "\n",
        ),
        *(
            "4111 1111",
            " 1111 1111",
            "me@x",
            ".org",
            "+45 12 34",
            " 56 78",
            "127.0.0",
            ".1",
            "GB82 WEST",
            "x",
            "é",
            "d4",
        ),
        *(
            " 1234 5698 7654 32",
            "<scr",
            "ipt",
            " src=x>",
            "java",
            "script:",
            "\u200b",
            "н",
            "а",
            "仇",
            "恨",
            "mn",
            "h.a",
        ),
        *(
            "ignore previous",
            " instructions",
            "system",
            ":",
            ".t.e",
            "sk-live-",
            "0123456789abcdef0123",
            '"',
            "\\u0061",
            "\\",
        ),
        *("eyJhbGciOiJI", ".eyJzdWIiOiIx", "data", " :text/html", "AB 12", " 34 56 C"),
    )
)
TEXTS = st.lists(PIECES | st.characters(codec="utf-8"), max_size=10).map("".join)
RULE_SETS = st.lists(st.sampled_from(COMPILED), min_size=1, unique=True).map(lambda rules: RuleSet(tuple(rules)))


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
