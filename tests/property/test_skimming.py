"""A glance at a text never lets more leave than the rules do, and never passes a match by."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config.model import FilterRule, KeywordsRule, PatternsRule, PiiRule
from gateway.config.pattern_syntax import read_pattern
from gateway.filters.rules import RuleSet, compile_rules
from gateway.filters.skimming import UNCLEAR
from gateway.filters.view import View

RULES: tuple[FilterRule, ...] = (
    KeywordsRule(("hate", "top drawer", "mail", "ten")),
    KeywordsRule(("kilo",), leetspeak=True),
    PatternsRule(None, ("ab c", "(?i)To b", "of{1,2}")),
    PatternsRule(None, ("a[ ,]{1,2}b",)),
    PatternsRule(None, ("c[.,;!?]d?", "[a-z]{2}[.]? ?[0-9]")),
    PatternsRule(None, ("[a-z]{14}", "z(?:a{0,3} ){1,2}[0-9]", "e(?: |n)[ ]x")),
    PiiRule(("email", "iban", "nino", "api_key", "codice_fiscale")),
    PiiRule(("phone",)),
    PatternsRule(None, ("to (?:be )?of[0-9]", "ab c[0-9]")),
    PatternsRule("markup"),
    PatternsRule("injection"),
    PatternsRule(None, ("be[,;][0-9]",)),
)
COMPILED = tuple(compile_rules((rule,)).rules[0] for rule in RULES)
RULE_SETS = st.sampled_from(COMPILED).map(lambda rule: RuleSet((rule,))) | st.lists(
    st.sampled_from(COMPILED), min_size=2, max_size=3
).map(lambda chosen: RuleSet(tuple(chosen)))
WORDS = (
    *("a", "b", "c", "e", "x", "ab", "to", "To", "be", "of", "za", "en", "AB", "hat", "hate", "top", "drawer", "dr"),
    *("ma", "mail", "kil", "ignore", "previous", "instructions", "eyj", "asia", "rssmra", "qwertyuiopasdf", "q" * 30),
    *("2", "12", "x1", "it's", "rssmraplmpaplmpa"),
)
BETWEEN = (*[" "] * 8, ". ", ", ", "; ", "! ", "? ", ".", ",", "  ", " - ", "\n", "@", "a")
ENDS = ("", "", "", " ", ".", ",", ";", "!", "?", ":", ". ", "@")
TEXTS = st.tuples(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(BETWEEN)), max_size=5),
    st.sampled_from(WORDS),
    st.sampled_from(ENDS),
).map(lambda drawn: "".join(word + gap for word, gap in drawn[0]) + drawn[1] + drawn[2])
PLAIN = st.tuples(
    st.lists(
        st.tuples(st.sampled_from(WORDS[:-4]), st.sampled_from((" ", " ", " ", ". ", ", "))), min_size=1, max_size=4
    ),
    st.sampled_from(WORDS[:-4]),
    st.sampled_from(("", "", "", ".", ",")),
).map(lambda drawn: "".join(word + gap for word, gap in drawn[0]) + drawn[1] + drawn[2])


@settings(max_examples=600)
@given(RULE_SETS, TEXTS | PLAIN, st.integers(0, 1), st.sampled_from(("", " ", "a", ".")))
@example(RuleSet(COMPILED[2:3]), "nab c", 1, "")
@example(RuleSet(COMPILED[3:4]), "xa b", 1, "")
@example(RuleSet(COMPILED[4:5]), " end abc.", 1, "")
@example(RuleSet(COMPILED[6:7]), "t rssmraplmpaplmpa of", 1, "")
@example(RuleSet(COMPILED[:1]), " t e n", 0, "")
@example(RuleSet(COMPILED[:1]), " t en", 0, "")
@example(RuleSet(COMPILED[:1]), " ab hat", 0, "")
@example(RuleSet(COMPILED[8:9]), " to be of", 0, "")
@example(RuleSet(COMPILED[-1:]), " of be,", 0, "")
def test_a_glance_lets_no_more_leave_than_the_rules(rules: RuleSet, text: str, lead: int, first: str) -> None:
    """Where it is clear there is no match, and what may still become one stays.

    What would begin in the lead can't become one: it has left.
    """
    text = first + text
    view = View(text, whole=False)
    matches = [match for match in rules.find(view) if match.span.start >= lead]
    found = rules.skimmer.decided(text, lead)
    if found == UNCLEAR:
        assert matches
    else:
        assert not matches
        held = rules.hold(view)
        assert found >= lead
        assert found <= held or held < lead


@given(TEXTS)
def test_words_of_addresses_are_held_exactly(text: str) -> None:
    """Rules of which every word may begin a match hold the last word, and what a glance adds to that is nothing."""
    rules = RuleSet(COMPILED[6:7])
    found = rules.skimmer.decided(text, 0)
    if found != UNCLEAR:
        assert found == rules.hold(View(text, whole=False))


def test_what_an_expression_begins_with() -> None:
    """Letters behind a space, and marks, are seen through choices, repetitions, classes and flags."""
    of_words = (
        "ab c",
        "a[ ,]b",
        "a(?: |x)b",
        "(?:a ){2}",
        "(?i)A B",
        r"a\sb",
        "a.{1,3}9",
        "a ?b",
        "(?:x|y z)1",
        "a {0,9}b",
    )
    alone = ("ab", "ab 9", "a9 b", "(?:a|b){2}[0-9] a", "[a-z]{3} ?[0-9]", "x@ b", "[0-9] a")
    assert [pattern for pattern in of_words if not read_pattern(pattern).is_of_words] == []
    assert [pattern for pattern in alone if read_pattern(pattern).is_of_words] == []
    with_marks = ("a,", "a[,x]b", "a(?:!|x)", "a.", "[^a-z]9")
    without = ("ab", r"a\.b", "a9,", "a:b")
    assert [pattern for pattern in with_marks if not read_pattern(pattern).takes_marks] == []
    assert [pattern for pattern in without if read_pattern(pattern).takes_marks] == []
