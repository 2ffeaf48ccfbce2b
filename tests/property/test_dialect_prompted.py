"""The prompted dialects, for any arguments, any text and any cut."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.history import AnsweredCall
from gateway.dialects.prompted_head import Kind, judge, judge_in_fence
from gateway.dialects.prompted_parser import PromptedParser
from gateway.dialects.prompted_text import FunctionCallStyle, JsonStyle, PromptedStyle, PythonStyle, ToolCodeStyle
from gateway.dialects.reply import ReplyRules
from gateway.dialects.tool_set import DeclaredTool, ToolSet
from tests.support.json_trees import SPACE, arguments, cut, raw_arguments
from tests.support.linear import assert_linear
from tests.support.replies import ids, read_reply

STYLES = [PythonStyle(), JsonStyle(), ToolCodeStyle(), FunctionCallStyle()]
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}, "n": {"type": "integer"}}}
TOOLS = ToolSet([DeclaredTool("any", "any", "", {}), DeclaredTool("f", "f", "", SCHEMA)])

prose = st.text(st.characters(exclude_characters="<`{[-*", exclude_categories=["Cs"]), max_size=20).filter(
    lambda text: not any(word in text for word in ("any", "f(", "print"))
)


def parser() -> PromptedParser:
    return PromptedParser(TOOLS, ReplyRules(ids()))


@pytest.mark.parametrize("style", STYLES, ids=lambda style: type(style).__name__)
@settings(deadline=None)
@given(st.data())
def test_rendered_calls_come_back_for_every_cut(style: PromptedStyle, data: st.DataObject) -> None:
    """The turn that the dialect writes into the history is the one that it reads, with text around it."""
    before, after = data.draw(prose), data.draw(prose)
    written: list[dict[str, Any]] = data.draw(st.lists(arguments, min_size=1, max_size=3))
    calls = [AnsweredCall("", "any", raw_arguments(json.dumps(each, ensure_ascii=False)), "") for each in written]
    text = f"{before}\n{style.calls(calls)}\n{after}"
    reply = read_reply(parser(), data.draw(st.composite(cut)(text)))
    assert [(name, json.loads(each)) for name, each in reply.calls] == [("any", each) for each in written]
    assert reply.content == before.rstrip(SPACE) + after.lstrip(SPACE)


pieces = ["[", "f(", "any(", "n=1", 'q="x"', ",", ")", "]", "{", "}", '"', "'", "`", "```", "```python\n", "```json\n"]
pieces += ["```tool_code\n", "\n", " ", "FUNCTION_CALL:", "function_call: f(n=1)", "- ", '"name"', '"f"', ":", ";", "."]
pieces += [
    '"arguments": {',
    "print(",
    "r = ",
    "<tool_call>",
    "</tool_call>",
    "<tool>",
    "</tool>",
    "hello",
    "\\",
    "\r\n",
]
pieces += ['**{"a": 1}', "unknown(a=1)", "[f(n=1)]", '{"name": "f", "parameters": {"n": 1}}', "(", '"""']
fragments = st.lists(st.sampled_from(pieces) | st.text(max_size=3), max_size=20).map("".join)


@settings(deadline=None)
@given(fragments, st.sampled_from(("stop", "length")), st.data())
def test_no_text_breaks_the_parser_and_no_cut_changes_the_reply(text: str, reason: str, data: st.DataObject) -> None:
    """Whole, by character, in any pieces; without a call every character is content."""
    whole = read_reply(parser(), [text], reason)
    assert read_reply(parser(), text, reason) == whole
    assert read_reply(parser(), data.draw(st.composite(cut)(text)), reason) == whole
    if not whole.calls:
        assert whole.content == text


fillers = st.sampled_from(
    ("x", " ", "a word ", "line\n", "\n", "\t", "- item\n", "[1, 2] ", "{a: b} ", "```\n", "f\n", "é ")
)
long_texts = st.lists(
    fragments | st.builds(lambda filler, chars: filler * (chars // len(filler)), fillers, st.integers(1, 3000)),
    min_size=3,
    max_size=7,
).map("".join)


@settings(deadline=None)
@given(long_texts, st.sampled_from((7, 100, 2047)), st.sampled_from(("stop", "length")))
def test_a_long_piece_is_read_as_its_parts_are(text: str, width: int, reason: str) -> None:
    """Pieces over 2,048 characters are searched for what may begin a call; the reply is what small pieces give."""
    parts = [text[at : at + width] for at in range(0, len(text), width)]
    assert read_reply(parser(), [text], reason) == read_reply(parser(), parts, reason)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: type(style).__name__)
@pytest.mark.parametrize("chars", range(2030, 2070))
def test_a_call_at_the_edge_of_what_is_searched_is_found(style: PromptedStyle, chars: int) -> None:
    """Wherever a call stands in a long answer that comes in one piece, and whatever line precedes it."""
    call = style.calls([AnsweredCall("", "any", raw_arguments('{"a": 1}'), "")])
    for before, after in (
        ("x" * chars, ""),
        ("", "x" * chars),
        ("a\n" * chars, "\nb" * chars),
        ("x" * chars, "y" * chars),
    ):
        reply = read_reply(parser(), [f"{before}\n{call}\n{after}"])
        assert reply.calls == [("any", '{"a":1}')]
        assert reply.content == before.rstrip("\n") + after.lstrip("\n")


@pytest.mark.parametrize(
    "piece",
    ["[", "[f(", "{", '{"name": "f", ', "```\n", "```python\nf(", "`", "<tool_call>", "[f(n=1)] x ", "FUNCTION_CALL: "],
)
@pytest.mark.parametrize("before", ["", '[f(q="', "[f(q=", "<tool>"])
def test_time_is_linear_in_hostile_text(before: str, piece: str) -> None:
    """Four times the text takes about four times as long: a quadratic parser would take sixteen."""

    def read(chars: int) -> None:
        text = before + piece * (chars // len(piece))
        read_reply(parser(), [text[at : at + 16] for at in range(0, len(text), 16)])

    assert_linear(read)


begun = st.sampled_from(("[", "{", "<", "`", "```", "-", "*", "f", "any", "p"))


@settings(deadline=None)
@given(st.builds(str.__add__, begun, fragments), st.booleans(), st.booleans())
def test_what_is_decided_about_a_beginning_stays_decided(text: str, line_start: bool, in_fence: bool) -> None:
    """So the shortest decided beginning can be searched by halving."""
    kinds = [
        judge_in_fence(text[:end], TOOLS) if in_fence else judge(text[:end], TOOLS, line_start=line_start)
        for end in range(1, len(text) + 1)
    ]
    decided = [kind for kind in kinds if kind is not Kind.MAYBE]
    assert len(set(decided)) <= 1
    assert kinds == [Kind.MAYBE] * (len(kinds) - len(decided)) + decided
