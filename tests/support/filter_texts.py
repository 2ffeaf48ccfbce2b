"""Rules of every kind, and pieces of text that they nearly, and sometimes, match."""

from collections.abc import Sequence

from hypothesis import strategies as st

from gateway.config.model import KeywordsRule, PatternsRule, PiiRule
from gateway.filters.rules import RuleSet, compile_rules

RULES = (
    KeywordsRule(("hate", "kill yourself", "仇恨", "pédé"), "block"),
    KeywordsRule(("damn",), "redact", leetspeak=True),
    KeywordsRule(("secret", "top  drawer", "kilo"), "redact"),
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


def cut(text: str, sizes: Sequence[int]) -> list[str]:
    """Return the text in pieces of these lengths, over and over."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    return pieces
