"""The Berkeley Function Calling Leaderboard, read backwards: every expected call, written by a model of each dialect,
comes back exactly, whatever stands around it and however the stream is cut.

A fixed sample runs always; `deploy/local/test --full` takes all 2,351 questions.
"""

import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.dialect import Prepared
from gateway.dialects.history import AnsweredCall
from gateway.dialects.marked_render import object_text
from gateway.dialects.marked_syntax import FUNCTIONGEMMA, GEMMA_4, MarkedSyntax
from gateway.dialects.prompted_text import FunctionCallStyle, JsonStyle, PromptedStyle, PythonStyle, ToolCodeStyle
from gateway.dialects.registry import dialect_for
from gateway.dialects.tools import identifier
from gateway.values import DialectName, Family, Variant
from gateway.wire.chat import ChatRequest, Function, Tool
from gateway.wire.messages import UserMessage
from tests.support import bfcl
from tests.support.json_trees import raw_arguments
from tests.support.model_text import DIALECTS, Call, model_text
from tests.support.replies import Reply, read_reply

FULL = bool(os.environ.get("TESTS_FULL"))
BEFORE, AFTER = "Let me look that up for you (it won't take long): done.", "I'll tell you as soon as I know."
THOUGHT = "The user wants data. I need a tool."
STYLES: dict[DialectName, PromptedStyle] = {
    "gemma3-python": PythonStyle(),
    "gemma3-json": JsonStyle(),
    "gemma3-toolcode": ToolCodeStyle(),
    "gemma3-functioncall": FunctionCallStyle(),
}
SYNTAXES: dict[DialectName, MarkedSyntax] = {"gemma4": GEMMA_4, "functiongemma": FUNCTIONGEMMA}
Json = Any


def prepare(dialect: DialectName, case: bfcl.Case) -> Prepared:
    """The request with the case's tools, made below the wire: OpenAI forbids the dots in BFCL's names."""
    family: Family = "gemma4" if dialect == "gemma4" else "functiongemma" if dialect == "functiongemma" else "gemma3"
    variant = Variant("v", family, "chat", frozenset({"text"}), 8192, dialect, thinking=family == "gemma4")
    tools = [
        Tool(Function(each["name"], each.get("description"), each["parameters"]), "function") for each in case.functions
    ]
    request = ChatRequest(model="m", messages=[UserMessage(content="Help me.")], tools=tools)
    counter = itertools.count()
    return dialect_for(dialect).prepare(request, variant, MarkerGuard(family), lambda: f"call_{next(counter)}")


def written_calls(dialect: DialectName, case: bfcl.Case) -> list[Call]:
    """The calls with their names as the prompt shows them."""
    python = dialect in ("gemma3-python", "gemma3-toolcode")
    return [(identifier(name) if python else name, arguments) for name, arguments in case.calls]


def gateway_text(dialect: DialectName, calls: list[Call]) -> str:
    """The calls as the gateway itself writes them into a conversation's history."""
    raw = [(name, raw_arguments(json.dumps(arguments))) for name, arguments in calls]
    if dialect in STYLES:
        return STYLES[dialect].calls([AnsweredCall("", name, arguments, "") for name, arguments in raw])
    syntax = SYNTAXES[dialect]
    return "".join(
        f"{syntax.openers[0]}call:{name}{object_text(arguments, syntax.quote)}{syntax.end}" for name, arguments in raw
    )


def turns(dialect: DialectName, case: bfcl.Case) -> Iterator[tuple[str, str, str]]:
    """Texts of the model's turn, each with the content and the reasoning that must be left of it."""
    calls = written_calls(dialect, case)
    for text in {model_text(dialect, calls), gateway_text(dialect, calls)}:
        yield text, "", ""
        yield f"{BEFORE}\n{text}", BEFORE, ""
        yield f"{BEFORE}\n\n{text}\n{AFTER}", BEFORE + AFTER, ""
        if dialect == "gemma4":
            yield f"<|channel>thought\n{THOUGHT}<channel|>{text}", "", THOUGHT


def cuts(text: str) -> Iterator[list[str]]:
    """The text whole, as tokens come, in long pieces of uneven length, and character by character."""
    yield [text]
    for size in (1, 5, 37):
        yield [text[at : at + size] for at in range(0, len(text), size)]


def same(left: Json, right: Json) -> bool:
    """Equality that tells 1 from 1.0 and from true."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def fault(dialect: DialectName, case: bfcl.Case) -> str | None:
    """What went wrong first, or None."""
    prepared = prepare(dialect, case)
    make = prepared.parser
    assert make is not None
    for text, content, reasoning in turns(dialect, case):
        for pieces in cuts(text):
            reply: Reply = read_reply(make(), pieces)
            found = [(name, json.loads(arguments)) for name, arguments in reply.calls]
            expected = [(name, arguments) for name, arguments in case.calls]
            right = (reply.content, reply.reasoning, reply.finish_reason) == (content, reasoning, "tool_calls")
            if not (right and same(found, expected)):
                return f"{case.id}: {text!r} in {len(pieces)} pieces: {reply}"
    return None


@pytest.mark.parametrize("category", bfcl.CATEGORIES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_expected_call_comes_back_exactly(dialect: DialectName, category: str) -> None:
    """All of them: name, arguments to the digit, and the text around them; `-rP` shows the table."""
    cases = bfcl.everything(category) if FULL else bfcl.sample(category)
    faults = [found for case in cases if (found := fault(dialect, case)) is not None]
    print(f"BFCL  {dialect:<20} {category:<24} {len(cases) - len(faults):>5}/{len(cases)}")
    assert cases
    assert not faults, "\n".join(faults[:5])
