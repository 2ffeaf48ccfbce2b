"""Replies of Gemma 4: the format itself, and every deviation from it that was seen in the wild."""

import json

import pytest

from gateway.dialects import marked_parser
from gateway.dialects.control_tokens import BREAKER
from gateway.dialects.marked_parser import MarkedParser
from gateway.dialects.marked_syntax import GEMMA_4
from gateway.dialects.reply import ReplyRules
from gateway.dialects.tool_set import DeclaredTool, ToolSet
from tests.support.replies import Reply, every_way, ids, read_reply

Q = '<|"|>'
OPEN, END = "<|tool_call>", "<tool_call|>"
THOUGHT, THOUGHT_END = "<|channel>thought\n", "<channel|>"
STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def tool(name: str, **properties: object) -> DeclaredTool:
    return DeclaredTool(name, name, "", {"type": "object", "properties": properties} if properties else {})


TOOLS = ToolSet(
    [
        tool("f", q=STRING, n=INTEGER),
        tool("get_weather", location=STRING, days=INTEGER),
        tool("write", content=STRING, path=STRING),
        tool("any"),
        tool("b"),
        tool("google:mcp:x:create-pdf"),
    ]
)


def parser(tools: ToolSet = TOOLS, *, thinking: bool = False, prefix: str = "", **rules: object) -> MarkedParser:
    return MarkedParser(GEMMA_4, tools, ReplyRules(ids(), **rules), thinking=thinking, prefix=prefix)  # type: ignore[arg-type]


def read(text: str, reason: str = "stop") -> Reply:
    return every_way(text, parser, reason)


def only_call(text: str, reason: str = "stop") -> tuple[str, object]:
    """Name and decoded arguments of the one call that the reply consists of."""
    reply = read(text, reason)
    assert (reply.content, reply.reasoning) == ("", "")
    assert reply.finish_reason == ("tool_calls" if reason == "stop" else reason)
    ((name, arguments),) = reply.calls
    return name, json.loads(arguments)


def call(name: str, body: str) -> str:
    return f"{OPEN}call:{name}{{{body}}}{END}"


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        (
            f"location:{Q}San Francisco, CA{Q},days:2,metric:true,x:null",
            {"location": "San Francisco, CA", "days": 2, "metric": True, "x": None},
        ),
        ("", {}),
        (
            f"o:{{k:{Q}v{Q},n:{{z:1}}}},l:[{{a:1}},[{Q}a]b{Q}]]",
            {"o": {"k": "v", "n": {"z": 1}}, "l": [{"a": 1}, ["a]b"]]},
        ),
        (f'path:{Q}C:\\new\\t.txt{Q},q:{Q}say "hi"{Q}', {"path": "C:\\new\\t.txt", "q": 'say "hi"'}),
        (f"code:{Q}{END} literal }}{Q}", {"code": f"{END} literal }}"}),
        (f"code:{Q}a}}{END}{OPEN}call:b{{}}{Q}", {"code": f"a}}{END}{OPEN}call:b{{}}"}),
        (f"l:[[1,2],[{Q}a]b{Q}]]", {"l": [[1, 2], ["a]b"]]}),
        (f"l:[],o:{{}},e:{Q}{Q}", {"l": [], "o": {}, "e": ""}),
        (f"s:{Q} \n}} ]) {Q}", {"s": " \n} ]) "}),
        ("x:-1.5e+3,y:0", {"x": -1500.0, "y": 0}),
        (f"emoji:{Q}日本 😀{Q}", {"emoji": "日本 😀"}),
    ],
)
def test_the_format_itself(body: str, arguments: object) -> None:
    """Strings are literal, whatever is in them; everything else is typed by its grammar."""
    assert only_call(call("any", body)) == ("any", arguments)


def test_digits_are_copied() -> None:
    """No round trip through floating point."""
    reply = read(call("any", "i:9007199254740993,f:1.0,g:1e400"))
    assert reply.calls == [("any", '{"i":9007199254740993,"f":1.0,"g":1e400}')]


def test_several_calls_and_the_text_around_them() -> None:
    """Text stays content, white space next to a call goes."""
    reply = read(f"Let me check. {call('f', 'n:1')}\n{call('b', '')} Done.\n")
    assert reply == Reply("Let me check.Done.\n", "", [("f", '{"n":1}'), ("b", "{}")], "tool_calls")


@pytest.mark.parametrize(
    ("text", "content", "reasoning"),
    [
        (f"{THOUGHT}plan{THOUGHT_END}Hello", "Hello", "plan"),
        (f"{THOUGHT}{THOUGHT_END}Hello{THOUGHT_END}", "Hello", ""),
        (f"<|channel>{THOUGHT}{THOUGHT_END}Hi", "Hi", ""),
        (f"thought\nI think{THOUGHT_END}Answer", "Answer", "I think"),
        ("thought\nI think", "thought\nI think", ""),
        ("thoughtful", "thoughtful", ""),
        (f"{THOUGHT}one{THOUGHT_END}a{THOUGHT}two\n{THOUGHT_END}b", "ab", "onetwo"),
        (f"{THOUGHT}cut", "", "cut"),
        ("<|channel>thought", "", ""),
        (f"  {THOUGHT}x{THOUGHT_END}y", "  y", "x"),
        ("Use <|tool_call> tokens to call", "Use <|tool_call> tokens to call", ""),
        ("a < b <|b> <| c", "a < b <|b> <| c", ""),
    ],
)
def test_thoughts_go_to_reasoning_and_prose_stays(text: str, content: str, reasoning: str) -> None:
    """The label is no part of the thought; prose about markers is prose."""
    assert read(text) == Reply(content, reasoning, [], "stop")


@pytest.mark.parametrize("end", [THOUGHT_END, ""])
def test_a_call_ends_the_thought(end: str) -> None:
    """Models forget to close the channel."""
    assert read(f"{THOUGHT}plan {end}{call('f', '')}ok") == Reply("ok", "plan", [("f", "{}")], "tool_calls")


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        pytest.param(f"{OPEN}:f{{n:1}}{END}", "f", {"n": 1}, id="a: no `call`"),
        pytest.param("call:f{n:1}", "f", {"n": 1}, id="b: no markers at the text's start"),
        pytest.param(f"<call>f{{n:1}}{END}", "f", {"n": 1}, id="c: another opener"),
        pytest.param(f"<call>call:f{{n:1}}{END}", "f", {"n": 1}, id="c: another opener, with `call:`"),
        pytest.param(f"{OPEN}call:f(n:1){END}", "f", {"n": 1}, id="d: parentheses"),
        pytest.param(f"{OPEN}call:f(n:1{END}", "f", {"n": 1}, id="d: unbalanced"),
        pytest.param(f"{OPEN}call:f{{n:1)){END}", "f", {"n": 1}, id="d: too many"),
        *(
            pytest.param(f"{OPEN}call:f{{n:1}}{end}", "f", {"n": 1}, id=f"e: {end}")
            for end in ("<turn|>", "<eos>", "<|tool_response>", "")
        ),
        pytest.param(f"{OPEN}call:f{{n:1}}{END}{END}", "f", {"n": 1}, id="f: two end markers"),
        pytest.param(
            call("f", f"q:Paris, France{Q},n:5"), "f", {"q": "Paris, France", "n": 5}, id="g: no opening quote"
        ),
        pytest.param(f"{OPEN}call:f{{q:{Q}ls}}{END}", "f", {"q": "ls"}, id="h: no closing quote"),
        pytest.param(call("f", "q:'x'"), "f", {"q": "x"}, id="i: single quotes"),
        pytest.param(call("f", f"q:'x'{Q},n:2"), "f", {"q": "x", "n": 2}, id="i: mixed quotes"),
        pytest.param(call("f", "q:`x`"), "f", {"q": "x"}, id="i: backticks"),
        pytest.param(call("f", '"q":"x"'), "f", {"q": "x"}, id="j: JSON's quotes"),
        pytest.param(call("f", f'{Q}q{Q}:"x, \\"y\\"",n:2'), "f", {"q": 'x, "y"', "n": 2}, id="j: marked key"),
        pytest.param(call("write", "content:hello, world"), "write", {"content": "hello, world"}, id="k: raw text"),
        pytest.param(
            call("write", "content:a, b,path:/x y"),
            "write",
            {"content": "a, b", "path": "/x y"},
            id="k: up to the next key",
        ),
        pytest.param(
            call("any", f" a : 1 ,\n b : [ 1 , 2 ] , c : {{ x : {Q}y{Q} }} "),
            "any",
            {"a": 1, "b": [1, 2], "c": {"x": "y"}},
            id="l: white space",
        ),
        pytest.param(call("any", "a b:1,c-d:2,e.f:3"), "any", {"a b": 1, "c-d": 2, "e.f": 3}, id="m: odd keys"),
        pytest.param(call("google:mcp:x:create-pdf", "a:1"), "google:mcp:x:create-pdf", {"a": 1}, id="n: odd names"),
        pytest.param(call("any", "a:1,a:2,"), "any", {"a": 2}, id="o: comma, duplicate key"),
        pytest.param(
            call("any", "a:None,b:True,c:nil"), "any", {"a": None, "b": True, "c": None}, id="p: Python's literals"
        ),
        pytest.param(
            f"{OPEN}call:get_weather:\nBEGIN_ARG:\nParis\nEND_ARG{END}",
            "get_weather",
            {"location": "Paris"},
            id="q: positional",
        ),
        pytest.param(
            f"{OPEN}call:f:\n BEGIN_ARG:\n{{(a)}}\nEND_ARG\nBEGIN_ARG:7END_ARG{END}",
            "f",
            {"q": "{(a)}", "n": 7},
            id="q: brackets in what is positional",
        ),
        pytest.param(call("any", "x:108.2"), "any", {"x": 108.2}, id="v: a number in two deltas"),
        pytest.param(call("functions.f", "n:1"), "f", {"n": 1}, id="a prefix from training"),
        pytest.param(f"{OPEN}call:f{END}", "f", {}, id="no braces"),
        pytest.param(call("write", "path:02139"), "write", {"path": "02139"}, id="a string of digits"),
        pytest.param(call("f", f"n:{Q}5{Q}"), "f", {"n": 5}, id="an integer in quotes"),
        pytest.param(call("f", "n:5.0"), "f", {"n": 5}, id="an integer with a point"),
        pytest.param(call("f", f"n:{Q}five{Q}"), "f", {"n": "five"}, id="nothing is invented"),
    ],
)
def test_deviations_become_the_call_that_was_meant(text: str, name: str, arguments: object) -> None:
    """As seen in the wild, from vLLM's, SGLang's, Ollama's and llama.cpp's issues."""
    assert only_call(text) == (name, arguments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"{call('f', 'n:1')}{END} prose", Reply("prose", "", [("f", '{"n":1}')], "tool_calls"), id="f"),
        pytest.param(
            f"{THOUGHT}x{THOUGHT_END}call:f{{n:1}} more", Reply("more", "x", [("f", '{"n":1}')], "tool_calls"), id="b"
        ),
        pytest.param(
            f"{OPEN}call:f(n:1{END}{call('b', '')}",
            Reply("", "", [("f", '{"n":1}'), ("b", "{}")], "tool_calls"),
            id="d",
        ),
        pytest.param(
            f"{OPEN}call:f{{q:{Q}ls}}{END}{call('f', f'q:{Q}x{Q}')} tail",
            Reply("tail", "", [("f", '{"q":"ls"}'), ("f", '{"q":"x"}')], "tool_calls"),
            id="h",
        ),
        pytest.param(call("zzz", f"x:{Q}1{Q}") + " more", Reply(call("zzz", f"x:{Q}1{Q}") + " more"), id="w"),
        pytest.param("call:zzz{}", Reply("call:zzz{}"), id="w bare"),
        pytest.param("I will call:f{n:1}", Reply("I will call:f{n:1}"), id="b only at the start"),
        pytest.param(
            f"{OPEN}call:f{{n:1}} junk {END} x",
            Reply("junk  x", "", [("f", '{"n":1}')], "tool_calls"),
            id="text behind the brace",
        ),
        pytest.param(f"{OPEN}call:", Reply(f"{OPEN}call:"), id="cut in the head"),
    ],
)
def test_deviations_between_calls_and_text(text: str, expected: Reply) -> None:
    """A call never swallows what follows it, and what is no call stays."""
    expected.finish_reason = expected.finish_reason or "stop"
    assert read(text) == expected


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ("n:1", {}),
        ("n:1,", {"n": 1}),
        (f"n:1,q:{Q}ab", {"n": 1, "q": "ab"}),
        (f"q:{Q}ab{Q}", {"q": "ab"}),
        (f"q:{Q}ab<|", {"q": "ab<|"}),
        ("q", {}),
        ("q:", {}),
        (f"o:{{k:[1,{Q}x", {"o": {"k": [1, "x"]}}),
    ],
)
def test_a_call_cut_by_the_length_limit_is_closed(body: str, arguments: object) -> None:
    """Always valid JSON; `length` stays visible; half a scalar or a key without value is dropped."""
    assert only_call(f"{OPEN}call:f{{{body}", "length") == ("f", arguments)


def test_empty_thoughts_without_end_are_stopped() -> None:
    """A model in a loop doesn't generate up to the limit."""
    reply = read_reply(parser(), [f"{THOUGHT}{THOUGHT_END}"] * 70)
    assert reply == Reply("", "", [], "length", enough=True)


def test_a_prompt_that_ends_in_an_open_channel_begins_with_reasoning() -> None:
    """After tool results with thinking on."""
    assert read_reply(parser(thinking=True), [f"plan{THOUGHT_END}ok"]) == Reply("ok", "plan", [], "stop")


def test_a_prefilled_call_goes_on() -> None:
    """The prompt's end is the call's beginning."""
    reply = read_reply(parser(prefix=f"{OPEN}call:f{{"), [f"n:3}}{END}"])
    assert reply == Reply("", "", [("f", '{"n":3}')], "tool_calls")


def test_without_tools_only_thoughts_are_taken_out() -> None:
    """Nothing becomes a call."""
    text = f"{THOUGHT}x{THOUGHT_END}call:f{{}} {OPEN}call:f{{}}{END}"
    assert every_way(text, lambda: parser(ToolSet([]))) == Reply(f"call:f{{}} {OPEN}call:f{{}}{END}", "x", [], "stop")


def test_the_clients_wishes_about_calls() -> None:
    """`none` drops calls, `parallel_tool_calls: false` ends after one, a named choice says `stop`."""
    text = f"a {call('f', '')} b {call('b', '')} c"
    assert read_reply(parser(drop_calls=True), [text]) == Reply("a b c".replace(" ", ""), "", [], "stop")
    assert read_reply(parser(parallel=False), [text]) == Reply("a", "", [("f", "{}")], "tool_calls", enough=True)
    assert read_reply(parser(call_reason="stop"), [text]).finish_reason == "stop"
    assert read_reply(parser(call_reason="function_call"), [text]).finish_reason == "function_call"
    assert read_reply(parser(drop_reasoning=True), [f"{THOUGHT}x{THOUGHT_END}y"]) == Reply("y", "", [], "stop")


def test_stop_strings_count_in_content_only() -> None:
    """Inside an argument one would cut the call."""
    text = f"{call('f', f'q:{Q}a STOP b{Q}')}one STOP two"
    reply = every_way(text, lambda: parser(stop=("STOP", "never")))
    assert reply == Reply("one ", "", [("f", '{"q":"a STOP b"}')], "tool_calls", enough=True)
    assert every_way("one STO", lambda: parser(stop=("STOP",))) == Reply("one STO", "", [], "stop")


def test_quoted_markers_come_back_whole() -> None:
    """In content, thoughts and arguments."""
    broken = [f"<{BREAKER}{marker[1:]}" for marker in (END, Q)]
    text = f"{THOUGHT}{broken[0]}{THOUGHT_END}{broken[0]}{call('f', f'q:{Q}{broken[1]}{Q}')}"
    reply = every_way(text, lambda: parser(restore="gemma4"))
    assert reply == Reply(END, END, [("f", json.dumps({"q": Q}, separators=(",", ":")))], "tool_calls")


def test_strings_stream_before_they_end() -> None:
    """A long argument isn't held until its end marker."""
    reader = parser()
    begun = reader.feed(f"{OPEN}call:write{{content:{Q}Once upon")
    assert [type(event).__name__ for event in begun] == ["CallStart", "ArgumentsDelta"]
    assert getattr(begun[1], "text", "") == '{"content":"Once upon'


@pytest.mark.parametrize(("said", "idle"), [("", False), ("Some text", True), ("Some ", False), ("Some <", False)])
def test_plain_text_need_not_be_fed(said: str, *, idle: bool) -> None:
    """Only where nothing before it could matter."""
    reader = parser()
    reader.feed(said)
    assert reader.idle == idle


@pytest.mark.parametrize(
    "written",
    ["BEGIN_ARG:\n1", "BEGIN_ARG:1END_ARG x", "BEGIN_ARG:1END_ARG" * 3, "BEGIN_ARG:", "BEGIN_ARG:" * 100],
)
def test_arguments_without_keys_that_fit_no_schema_are_text(written: str) -> None:
    """Unfinished, with something behind them, or more than the tool has."""
    text = f"{OPEN}call:f:\nBEGIN_ARG:0END_ARG\n{written}{END}"
    reply = read(text)
    assert (reply.content, reply.calls) == (text, [])


def test_arguments_without_keys_are_held_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then they are text, and what follows is read on."""
    monkeypatch.setattr(marked_parser, "MAX_HELD_CHARS", 100)
    text = f"{OPEN}call:f:\nBEGIN_ARG:{'x' * 100}"
    for pieces in ([text, call("any", "")], [*text, *call("any", "")]):
        reply = read_reply(parser(), pieces)
        assert (reply.content, reply.calls) == (text, [("any", "{}")])


@pytest.mark.parametrize("begun", [OPEN, f"{OPEN}call:", f"{OPEN}call:f", "call:", f"<call>{' ' * 10}"])
def test_white_space_where_a_name_is_due_ends_what_looked_like_a_call(begun: str) -> None:
    """At 512 characters, whole and in pieces; a search that gives back what it took would take days."""
    text = begun + " " * 100_000 + "x"
    assert read_reply(parser(), [text]).content == text
    assert read_reply(parser(), [text[at : at + 100] for at in range(0, len(text), 100)]).content == text
