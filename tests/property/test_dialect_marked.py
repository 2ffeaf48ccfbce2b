"""Gemma 4 and FunctionGemma, for any arguments, any text and any cut."""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.dialects.marked_parser import MarkedParser
from gateway.dialects.marked_render import object_text
from gateway.dialects.marked_syntax import FUNCTIONGEMMA, GEMMA_4, MarkedSyntax
from gateway.dialects.reply import ReplyRules
from gateway.dialects.tool_set import DeclaredTool, ToolSet
from tests.support.json_trees import SPACE, arguments, cut, raw_arguments
from tests.support.linear import assert_linear
from tests.support.replies import ids, read_reply

SYNTAXES = [GEMMA_4, FUNCTIONGEMMA]
STRING = {"type": "string"}
SCHEMA = {"type": "object", "properties": {"q": STRING, "n": {"type": "integer"}, "o": {"type": ["object", "null"]}}}
TOOLS = ToolSet([DeclaredTool("any", "any", "", {}), DeclaredTool("get-it", "get-it", "", SCHEMA)])

prose = st.text(st.characters(exclude_characters="<`{[", exclude_categories=["Cs"]), max_size=20).filter(
    lambda text: not text.lstrip().startswith(("t", "c", ":"))
)


def parser(syntax: MarkedSyntax) -> MarkedParser:
    return MarkedParser(syntax, TOOLS, ReplyRules(ids()))


@pytest.mark.parametrize("syntax", SYNTAXES)
@settings(deadline=None)
@given(st.data())
def test_rendered_calls_come_back_for_every_cut(syntax: MarkedSyntax, data: st.DataObject) -> None:
    """Text, calls, text: the same arguments, digit for digit, and nothing of a marker in the content."""
    before, after = data.draw(prose), data.draw(prose)
    written: list[dict[str, Any]] = data.draw(st.lists(arguments, min_size=1, max_size=3))
    texts = [json.dumps(each, ensure_ascii=False) for each in written]
    calls = [
        f"{syntax.openers[0]}call:any{object_text(raw_arguments(text), syntax.quote)}{syntax.end}" for text in texts
    ]
    assume(not any(syntax.quote in text.replace("\\", "") for text in texts))  # it can't be written
    pieces = data.draw(st.composite(cut)(before + "".join(calls) + after))
    reply = read_reply(parser(syntax), pieces)
    assert [(name, json.loads(text)) for name, text in reply.calls] == [("any", each) for each in written]
    assert reply.content == before.rstrip(SPACE) + after.lstrip(SPACE)
    assert reply.finish_reason == "tool_calls"


def fragments(syntax: MarkedSyntax) -> st.SearchStrategy[str]:
    """Text that is dense in everything the parser looks at."""
    pieces = [
        *syntax.markers,
        "call:",
        "any",
        "get-it",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ":",
        ",",
        '"',
        "'",
        "`",
        "q",
        "n",
        "o",
    ]
    pieces += [
        " ",
        "\n",
        "1",
        "-2.5",
        "true",
        "null",
        "hello",
        "thought\n",
        "BEGIN_ARG:\nv\nEND_ARG",
        "<",
        "|",
        "\\",
        "zzz",
    ]
    pieces += [
        f"{syntax.openers[0]}call:get-it{{",
        f"q:{syntax.quote}",
        f"{syntax.quote}}}{syntax.end}",
        f"{syntax.quote},n:",
    ]
    return st.lists(st.sampled_from(pieces) | st.text(max_size=3), max_size=25).map("".join)


@pytest.mark.parametrize("syntax", SYNTAXES)
@settings(deadline=None)
@given(st.data())
def test_no_text_breaks_the_parser_and_no_cut_changes_the_reply(syntax: MarkedSyntax, data: st.DataObject) -> None:
    """Whole, by character, in any pieces; arguments always are JSON objects."""
    text = data.draw(fragments(syntax))
    reason = data.draw(st.sampled_from(("stop", "length")))
    whole = read_reply(parser(syntax), [text], reason)
    assert read_reply(parser(syntax), text, reason) == whole
    assert read_reply(parser(syntax), data.draw(st.composite(cut)(text)), reason) == whole


Q, OPEN, END = GEMMA_4.quote, GEMMA_4.openers[0], GEMMA_4.end


@pytest.mark.parametrize(
    "piece",
    [
        "[{(",
        "<",
        " ",
        Q,
        OPEN,
        f"{OPEN}call:",
        f"{OPEN}call:get-it{{q:{Q}x}}{END}",
        "}",
        "[",
        "a:{",
        f"x{Q}",
        END,
        "\\",
        '" x ',
    ],
)
@pytest.mark.parametrize("before", ["", f"{OPEN}call:get-it{{q:{Q}", f"{OPEN}call:any{{a:", f"{OPEN}call:get-it{{q:"])
def test_time_is_linear_in_hostile_text(before: str, piece: str) -> None:
    """Four times the text takes about four times as long: a quadratic parser would take sixteen."""

    def read(chars: int) -> None:
        text = before + piece * (chars // len(piece))
        read_reply(parser(GEMMA_4), [text[at : at + 16] for at in range(0, len(text), 16)])

    assert_linear(read)
