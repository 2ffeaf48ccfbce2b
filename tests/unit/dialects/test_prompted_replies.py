"""Replies in the prompted dialects: all four styles are taken, and text that only looks like a call stays text."""

import json

import pytest

from gateway.dialects.prompted_parser import PromptedParser
from gateway.dialects.reply import ReplyRules
from gateway.dialects.tool_set import DeclaredTool, ToolSet
from tests.support.replies import Reply, every_way, ids, read_reply

STRING, INTEGER, BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}


def tool(name: str, wire_name: str = "", **properties: object) -> DeclaredTool:
    return DeclaredTool(name, wire_name or name, "", {"type": "object", "properties": properties} if properties else {})


TOOLS = ToolSet(
    [
        tool("f", q=STRING, n=INTEGER, x=BOOLEAN),
        tool("g"),
        tool("get-weather", "get_weather", city=STRING, days=INTEGER),
        tool("math.add", "math_add"),
    ]
)


def parser(*, prefix: str = "", **rules: object) -> PromptedParser:
    return PromptedParser(TOOLS, ReplyRules(ids(), **rules), prefix=prefix)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        ('[get_weather(city="Paris", days=2)]', "", [("get-weather", {"city": "Paris", "days": 2})]),
        ("```tool_code\n[f(x=True), g(y=None)]\n```", "", [("f", {"x": True}), ("g", {"y": None})]),
        ("The user asks … \n```tool_code\n[f(q='x')]\n```", "The user asks …", [("f", {"q": "x"})]),
        ('{"name": "f", "parameters": {"q": "say \\"hi\\""}}', "", [("f", {"q": 'say "hi"'})]),
        (
            '```json\n[{"name":"f","arguments":{"n":1}},{"function":"g","args":{}}]\n```',
            "",
            [("f", {"n": 1}), ("g", {})],
        ),
        ('FUNCTION_CALL: get_weather(city="Paris", days="2")', "", [("get-weather", {"city": "Paris", "days": 2})]),
        ("Well.\nFUNCTION_CALL: f(n=1)\nFUNCTION_CALL: g()\nOk.", "Well.Ok.", [("f", {"n": 1}), ("g", {})]),
        ("function_call: f()", "", [("f", {})]),
        ("- `FUNCTION_CALL: f(n=1)`.\nok", "ok", [("f", {"n": 1})]),
        ("```bash\nls\nFUNCTION_CALL: f()\n```", "```bash\nls```", [("f", {})]),
        ('<tool_call>{"name":"f","arguments":{"n":1}}</tool_call>ok', "ok", [("f", {"n": 1})]),
        ("<tool>[f(n=1)]</tool>", "", [("f", {"n": 1})]),
        ("```python\nr = f(n=1)\nprint(g(a=2))\n```\nDone", "Done", [("f", {"n": 1}), ("g", {"a": 2})]),
        ("print(f(n=1))", "", [("f", {"n": 1})]),
        ("f(n=1); g()\nbye", "bye", [("f", {"n": 1}), ("g", {})]),
        ("[f(n=1),]", "", [("f", {"n": 1})]),
        ('[f("x", 3)]', "", [("f", {"q": "x", "n": 3})]),
        ("{'name': 'f', 'parameters': {'n': 1,},}", "", [("f", {"n": 1})]),
        ('{"type":"function","function":{"name":"f","arguments":"{\\"n\\": 1}"}}', "", [("f", {"n": 1})]),
        ('{"id": "1", "type": "function", "name": "g"}', "", [("g", {})]),
        ('{"name": "f", "parameters": {"n": 1}, "reason": "why"}', "", [("f", {"n": 1})]),
        ("[functions.f(n=1)]", "", [("f", {"n": 1})]),
        ("[math.add(a=1)]\n", "", [("math.add", {"a": 1})]),
        (
            '[f(q="multi\nline", **{"a-b": [1, {"c": null}]})]',
            "",
            [("f", {"q": "multi\nline", "a-b": [1, {"c": None}]})],
        ),
        ('[f(q="""a"b""")]', "", [("f", {"q": 'a"b'})]),
        ("[f(q=02139)]", "", [("f", {"q": "02139"})]),
        ("Sure: [f(n=1)]\n\nThanks", "Sure:Thanks", [("f", {"n": 1})]),
    ],
)
def test_calls_in_every_style(text: str, content: str, calls: list[tuple[str, object]]) -> None:
    """Whichever form the model chose, wherever it stands, however it was cut."""
    reply = every_way(text, parser)
    assert reply.content == content
    assert [(name, json.loads(arguments)) for name, arguments in reply.calls] == calls
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "text",
    [
        "You can write [link](http://x) or [unknown(a=1)].",
        "I would use FUNCTION_CALL: here",
        "FUNCTION_CALL: unknown(a=1)",
        "FUNCTION_CALL: f(n=1) and more",
        "see f(n=1)\nbye",
        "```python\nimport os\nf(n=1)\n```\nbye",
        '```json\n{"a": 1}\n```',
        '{"name": "John"}',
        '{"city": "Paris"}',
        '{"name": "f", "description": "F.", "parameters": {"type": "object", "properties": {"q": {}}}}',
        '[{"type": "function", "function": {"name": "f", "description": "F.", "parameters": {}}}]',
        '{"name": "f", "stars": 5}',
        '{"name": "f", "parameters": {}} is a call',
        "[1, 2, 3]",
        "[f(n=1), unknown()]",
        "[f(n=1 + 2)]",
        "[f(n=os.getcwd())]",
        '[f("x", 3, true, 4)]',
        "[f(n=1]",
        "<tool_call>nonsense</tool_call>",
        "<table> fog",
        "- item\n* item\n`code`",
        "a\n\n  b\n",
    ],
)
def test_what_only_looks_like_a_call_is_content(text: str) -> None:
    """Verbatim."""
    assert every_way(text, parser) == Reply(text, "", [], "stop")


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("[f(n=1", {}),
        ('[f(q="a", n=1', {"q": "a"}),
        ('[f(q="ab', {"q": "ab"}),
        ('[f(q="ab"', {"q": "ab"}),
        ('{"name": "f", "parameters": {"q": "a", "n": 1', {"q": "a"}),
        ("```tool_code\nf(x=[1, 2], n=12", {"x": [1, 2]}),
        ('FUNCTION_CALL: f(q="ab', {"q": "ab"}),
        ("[f(x=[[], {}, []", {"x": [[], {}, []]}),
        ('{"name": "f", "parameters": {"x": [[], [{}, []], 12', {"x": [[], [{}, []]]}),
    ],
)
def test_a_call_cut_by_the_length_limit_is_closed(text: str, arguments: object) -> None:
    """What was certain of it stays, `length` stays visible."""
    reply = every_way(text, parser, "length")
    assert [(name, json.loads(each)) for name, each in reply.calls] == [("f", arguments)]
    assert (reply.content, reply.finish_reason) == ("", "length")


def test_a_forgotten_bracket_is_added() -> None:
    """The model said it was done."""
    assert every_way("[f(n=1", parser).calls == [("f", '{"n":1}')]


def test_a_prefilled_call_goes_on() -> None:
    """The prompt's end is the call's beginning."""
    assert read_reply(parser(prefix="[f("), ["n=3)]"]) == Reply("", "", [("f", '{"n":3}')], "tool_calls")


def test_prose_streams_as_it_comes() -> None:
    """Nothing is held that can't be a call."""
    reader = parser()
    assert [getattr(event, "text", "") for event in reader.feed("Hello wor")] == ["Hello wor"]
    assert [getattr(event, "text", "") for event in reader.feed("ld")] == ["ld"]


@pytest.mark.parametrize(
    ("said", "idle"), [("", False), ("Hello wor", True), ("Hello\n", False), ("Hello\nyou", True), ("Hello [", False)]
)
def test_plain_text_need_not_be_fed(said: str, *, idle: bool) -> None:
    """Only where nothing before it could matter."""
    reader = parser()
    reader.feed(said)
    assert reader.idle == idle
