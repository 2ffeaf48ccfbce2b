"""Texts that are made to take a parser long: beginnings, and pieces that are repeated behind them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.dialects.events import ReplyParser
from gateway.dialects.json_calls import Calls, read_whole_json
from gateway.dialects.marked_parser import MarkedParser
from gateway.dialects.marked_syntax import FUNCTIONGEMMA, GEMMA_4, MarkedSyntax
from gateway.dialects.prompted_parser import PromptedParser
from gateway.dialects.reply import ReplyRules
from gateway.dialects.tool_set import DeclaredTool, ToolSet
from tests.support.replies import ids

_SCHEMA: Final = {"type": "object", "properties": {"q": {"type": "string"}, "n": {"type": "integer"}}}
TOOLS: Final = ToolSet(
    [DeclaredTool("any", "any", "", {}), DeclaredTool("f", "f", "", _SCHEMA), DeclaredTool("g-h", "g-h", "", _SCHEMA)]
)
_LONG: Final = 500

_BRACKETS: Final = ("[", "{", "(", "]", "}", "[{(", "[]", "{}", "[ ", "[\n", "{ ", " [", "[1,", "[{", "<")
_QUOTES: Final = ('"', "'", "`", '" ', "' ", '"a', '\\"', "\\' ", '"""', "'''", '",', "\\", "\\u12", "\\ud83d")
_PROSE: Final = ("x", " ", "\n", "\t", "\r\n", "- ", "-\n", "a b\n", "é ", "f", "f ", "an\n", ",", ":", "a=", "1,")
_PROMPTED: Final = (
    *("[f(", "[f(n=1)] x ", "[f(n=1)]x", "f(n=1) x\n", "f(n=1)\n", "f()\n", "f();", "f (", "f = f(", "[f=f(", "f(f(f("),
    *("[a", "[a b", "[f()] [f()] x\n", "[f(n=1),", "r = f(n=1) x\n", "print(\n", "*f", "* f(n=1)\n", "f(n=1), "),
    *("{'na", '{"name": "f", ', '{"name":"f"}x', '{"name":"f"} ', '"a":', '"{\\"', '[f(q="', "[f(q='\\", "'' ", "-1"),
    *("```\n", "```python\nf(", "```json\n[f(\n```\n", "```py\nx\n```\n", "```\nf()\n```\n", "```\nf() x\n```\n"),
    *("``` ", "````", "_1", '\\" ,', "`f"),
    *("<t", "<tool", "</tool>", "<tool_call>", "<tool>f()</tool>", "<tool>f() x</tool>", "<tool></tool>"),
    *("FUNCTION_CALL: ", "FUNCTION_CALL: f(n=1) x\n", "FUNCTION_CALL: f()\n", "- FUNCTION_CALL: ", "FUNCTION_CALL:\n"),
    *("[" + "a" * _LONG, "[" + " " * _LONG, "[a" + " " * _LONG, "- " * _LONG + "\n", "f" + " " * _LONG + "\n"),
    *("FUNCTION_CALL:" + " " * _LONG + "\n", "```python\n" + " " * _LONG, "print(" + " " * _LONG + "\n"),
    *('{"name": ' + " " * _LONG, '{"name": "' + " " * _LONG, "f" * _LONG + "\n", "{" + " " * _LONG),
)
_PROMPTED_BEGUN: Final = (
    *("", "x ", '[f(q="', "[f(q='", "[f(q=", "[f(q=[", "f(", "f(n=1", "<tool>", "<tool>[", "```python\n", "```\n"),
    *('{"name":"f","arguments":', '{"name":"f","arguments":"', "```python\nf()\n", "FUNCTION_CALL: f("),
)


@dataclass(frozen=True, slots=True)
class Hostile:
    """A text of any length, and what reads it."""

    dialect: str
    parser: Callable[[], ReplyParser]
    begun: str
    piece: str

    def __str__(self) -> str:
        return f"{self.dialect} {self.begun[:40]!r} + {self.piece[:40]!r}"

    def text(self, chars: int) -> str:
        """About `chars` of it."""
        return (self.begun + self.piece * (chars // len(self.piece) + 1))[: len(self.begun) + chars]


def hostile_texts() -> Iterator[Hostile]:
    """Every beginning with every piece, in every dialect."""
    for begun in _PROMPTED_BEGUN:
        for piece in (*_BRACKETS, *_QUOTES, *_PROSE, *_PROMPTED):
            yield Hostile("prompted", lambda: PromptedParser(TOOLS, ReplyRules(ids())), begun, piece)
    for name, syntax, whole_json in (("gemma4", GEMMA_4, read_whole_json), ("functiongemma", FUNCTIONGEMMA, None)):
        for begun in _marked_begun(syntax):
            for piece in (*_BRACKETS, *_QUOTES, *_PROSE, *_marked(syntax)):
                yield Hostile(name, partial(_marked_parser, syntax, whole_json), begun, piece)


def _marked_parser(syntax: MarkedSyntax, whole_json: Callable[[str, ToolSet], Calls | None] | None) -> MarkedParser:
    return MarkedParser(syntax, TOOLS, ReplyRules(ids()), whole_json=whole_json)


def _marked_begun(syntax: MarkedSyntax) -> list[str]:
    opener, quote = syntax.openers[0], syntax.quote
    begun = ["", "x", "call:", "call:f", opener, f"{opener}call:", f"{opener}call:f", f"{opener}call:f:\nBEGIN_ARG:"]
    begun += [f"{opener}call:f:\n", f"{opener}call:g-h{{q:{quote}", f"{opener}call:any{{a:", f"{opener}call:g-h{{q:"]
    begun += [f"{opener}call:any{{", f"{opener}call:g-h{{", f"{opener}call:f{{q:`", f'{opener}call:f{{q:"']
    begun += [f"{opener}call:any{{a:[", '{"name":"f","parameters":{', '{"name":"f"', "```"]
    return [*begun, syntax.channel, "thought\n"] if syntax.channel else begun


def _marked(syntax: MarkedSyntax) -> list[str]:
    opener, end, quote = syntax.openers[0], syntax.end, syntax.quote
    pieces = [quote, opener, end, f"x{quote}", f"{quote}{quote}", f"{opener}:f", f"{opener}call:"]
    pieces += [
        f"{opener}call:f{end}",
        f"{opener}call:f{{}}{end}",
        f"{opener}call:g-h{{q:{quote}x}}{end}",
        f"{opener}call:f{{n:1}}",
    ]
    pieces += [f"{opener}call:no{{q:{quote}x{quote}}}{end}", f"{opener}call:f(n:1)", "a:{", "a,b:", "q:", "n:1,", "}} "]
    pieces += ["call:f{", "call:f", "<call>f{", "<call>", " :", "BEGIN_ARG:", "BEGIN_ARG:\nv\nEND_ARG\n", "', ", "',n:"]
    pieces += [f"{opener}call:f:\nBEGIN_ARG:\nv\nEND_ARG{end}", f"{opener}call:f:\nBEGIN_ARG:"]
    pieces += [opener + " " * _LONG, f"{opener}call:" + " " * _LONG, f"{opener}call:f" + " " * _LONG + "x"]
    pieces += ["call:" + " " * _LONG, opener + "a " * _LONG]
    if syntax.channel and syntax.channel_end:
        channel, channel_end = syntax.channel, syntax.channel_end
        pieces += [channel, channel_end, f"{channel}thought\n{channel_end}", f"{channel}x{channel_end}"]
        pieces += [f"{channel}{opener}call:f", "thought\n", channel_end + "call:" + " " * _LONG]
    return [*pieces, *syntax.turn_ends]
