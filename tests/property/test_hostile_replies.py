"""Replies of a megabyte that are made to take long, in every dialect."""

import time
from collections.abc import Callable

import pytest

from gateway.dialects.events import ReplyParser
from gateway.dialects.json_calls import read_whole_json
from gateway.dialects.marked_parser import MarkedParser
from gateway.dialects.marked_syntax import FUNCTIONGEMMA, GEMMA_4
from gateway.dialects.prompted_parser import PromptedParser
from gateway.dialects.reply import ReplyRules
from gateway.dialects.tool_set import DeclaredTool, ToolSet
from tests.support.replies import ids, read_reply

TOOLS = ToolSet([DeclaredTool("any", "any", "", {})])
PARSERS: dict[str, tuple[Callable[[], ReplyParser], str]] = {
    "gemma4": (
        lambda: MarkedParser(GEMMA_4, TOOLS, ReplyRules(ids()), whole_json=read_whole_json),
        "<|tool_call>call:any{a:",
    ),
    "functiongemma": (
        lambda: MarkedParser(FUNCTIONGEMMA, TOOLS, ReplyRules(ids())),
        "<start_function_call>call:any{a:",
    ),
    "prompted": (lambda: PromptedParser(TOOLS, ReplyRules(ids())), "[any(a="),
}
BRACKETS = ("[", "{", "(", "[{(", "[]", "{}", "<")
QUOTES = ('"', "'", '" ', '"a', '\\"', '"""', "`", '",')
CHARS = 1_000_000


@pytest.mark.parametrize("dialect", PARSERS)
@pytest.mark.parametrize("inside", [False, True], ids=["as text", "in a call"])
def test_a_megabyte_of_brackets_takes_under_a_second(dialect: str, inside: bool) -> None:
    """Whole, as in an answer that isn't streamed; a quadratic parser would take hours. CPU time, on average."""
    make, call = PARSERS[dialect]
    started = time.process_time()
    for bracket in BRACKETS:
        read_reply(make(), [(call if inside else "") + bracket * (CHARS // len(bracket))])
    assert time.process_time() - started < len(BRACKETS)


@pytest.mark.parametrize("dialect", PARSERS)
def test_a_megabyte_of_quotes_in_an_open_call_takes_under_a_second(dialect: str) -> None:
    """A string that seems to end again and again. CPU time, on average."""
    make, call = PARSERS[dialect]
    started = time.process_time()
    for quote in QUOTES:
        read_reply(make(), [call + quote * (CHARS // len(quote))])
    assert time.process_time() - started < len(QUOTES)
