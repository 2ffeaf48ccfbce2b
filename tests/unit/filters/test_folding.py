"""Folding: one plain form for what reads the same, character by character."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from gateway.filters.folding import fold, fold_skeleton, joins


def test_spellings_of_one_word_fold_alike() -> None:
    """Case, compatibility forms, accents of Latin letters, zero-width and combining characters make no difference."""
    for spelling in ("HATE", "ｈａｔｅ", "𝓱𝓪𝓽𝓮", "h\u200ba\u2060te", "hátè", "h\u0336a\u0336t\u0336e\u0336", "🅷🅰🆃🅴"):
        assert fold(spelling).text == "hate", spelling
    assert fold("１２３ ４").text == "123 4"
    assert fold("٣").text == "3"
    assert fold("a\u2014b\u00a0c").text == "a-b c"
    assert fold("ﬁn ß").text == "fin ss"


def test_letters_of_other_scripts_keep_to_themselves_but_in_the_skeleton() -> None:
    """A Cyrillic word folds to Cyrillic; only the skeleton reads its look-alikes as Latin."""
    assert fold("НАТЕ").text == "нате"
    assert fold_skeleton("һаtе").text == "hate"
    assert fold("仇恨").text == fold_skeleton("仇恨").text == "仇恨"


def test_what_folds_to_ascii_is_the_same_in_the_skeleton() -> None:
    """So keywords of ASCII need to be looked for in the skeleton only."""
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        folded = fold(char).text
        if folded and folded.isascii():
            assert fold_skeleton(char).text == folded, hex(code)


@given(st.text(max_size=80), st.integers(0, 80))
def test_a_text_folds_alike_however_it_is_cut(text: str, cut: int) -> None:
    """Each character folds by itself."""
    for form in (fold, fold_skeleton):
        assert form(text).text == form(text[:cut]).text + form(text[cut:]).text


@given(st.text(alphabet=st.characters() | st.sampled_from("ﬁßé\u200b½Ａ"), max_size=60))
def test_every_folded_character_knows_its_source(text: str) -> None:
    """The source of each character folds to something that holds it; places never go back."""
    folded = fold(text)
    before = 0
    for index, char in enumerate(folded.text):
        start, end = folded.start(index), folded.end(index + 1)
        assert before <= start < end <= len(text)
        assert char in fold(text[start:end]).text
        before = start


def test_words_join_but_not_where_a_script_has_no_spaces() -> None:
    """A border is between a letter and what is none, and anywhere in Chinese."""
    assert joins("a", "b")
    assert joins("a", "1")
    assert not joins("a", " ")
    assert not joins("仇", "恨")
    assert not joins("a", "恨")
