"""Replies in the prompted dialects: calls written as text, in any of the four styles, whichever was asked for.

    TEXT ──► HEAD ──► BODY ──► TAIL ──► calls, or text again
              │ no call │ brackets don't match
              └► TEXT ◄─┘

Text is held only while it can still be a call: a list of calls or JSON anywhere, a call or a `FUNCTION_CALL:` line at
the start of a line, a fence, a tag. A call in running text must end its line. Every call of a candidate must be of a
known tool, else the whole candidate is text; a fence of other code is text to its end.
"""

import re
from collections.abc import Callable
from enum import IntEnum, auto
from typing import Final

from gateway.dialects.call_tracker import CallTracker
from gateway.dialects.events import MAX_HELD_CHARS, Event
from gateway.dialects.json_calls import Calls
from gateway.dialects.prompted_head import IN_FENCE, MAX_HEAD_CHARS, Beginnings, Kind, judge, judge_in_fence
from gateway.dialects.python_calls import read_call_line, read_calls
from gateway.dialects.reply import ReplyBuilder, ReplyRules
from gateway.dialects.tool_set import ToolSet

# What may begin a call, told from what can't by the characters which are there: nothing is decided here, but most text
# passes without a closer look.
_WORD: Final = r"[\w.:/-]{1,100}+"
_OBJECT: Final = r"\{(?=\s{0,64}+(?:[\"'](?:[nftpai]\w{0,9}+(?:[\"']|\Z)|\Z)|\s|\Z))"
_INSIDE: Final = (
    rf"\[(?=\s{{0,64}}+(?:{_WORD}(?:\s{{0,8}}+(?:[(=\s]|\Z)|[\w.:/-])|\s|\Z|{_OBJECT}))|{_OBJECT}"
    r"|<(?=t(?:o(?:o(?:l(?:[_>]|\Z)|\Z)|\Z)|\Z)|\Z)"
)
_KEYWORD_LINE: Final = (
    r"[-*`][ \t*`-]{0,64}+(?:[fF]|[ \t*`-]|\Z)|```|[fF][uU][nN][cC][tT][iI][oO][nN]_[cC][aA][lL][lL]:"
)
_LINE: Final = rf"{_INSIDE}|{_KEYWORD_LINE}|{_WORD}(?:\s{{0,8}}+(?:[(\s]|\Z)|[\w.:/-])"
_LINE_HEAD: Final = re.compile(_LINE)
_TRIGGER: Final = re.compile(rf"\n[^\S\n]*+(?=(?:{_LINE})|\Z)|{_INSIDE}")
"""A line that may begin with a call, or what may begin one inside a line."""
_TRIGGER_IN_FENCE: Final = re.compile(rf"\n[^\S\n]*+(?=(?:{_KEYWORD_LINE})|(?i:f(?:u|\Z))|\Z)")
_VISIBLE: Final = re.compile(r"\S")
_FENCE_HEAD: Final = re.compile(r"```\w*[ \t]*\r?\n")
_TAG: Final = re.compile(r"<(tool_call|tool)>")
_FENCE: Final = "```"
_FAR_CHARS: Final = 4 * MAX_HEAD_CHARS
_MAX_KNOWN: Final = 1024
_MAX_KNOWN_CHARS: Final = 64
_MAX_MISREAD: Final = 4096
"""Texts that looked like calls to their end and were none; behind so many of them nothing is looked for."""


class State(IntEnum):
    TEXT = auto()
    HEAD = auto()
    BODY = auto()
    TAIL = auto()
    PLAIN = auto()


class PromptedParser:
    """Reads one choice."""

    def __init__(
        self, tools: ToolSet, rules: ReplyRules, *, prefix: str = "", beginnings: Beginnings | None = None
    ) -> None:
        """`prefix`: the prompt ended with this beginning of a call. `beginnings`: of `tools`, made before."""
        self._tools: Final = tools
        self._beginnings: Final = beginnings or Beginnings(tools)
        self._initials: Final = self._beginnings.initials
        self._out: Final = ReplyBuilder(rules)
        self._state = State.TEXT
        self._line_start = True
        self._in_fence = False
        self._head = ""
        self._known: dict[bool, dict[str, Kind]] = {True: {}, False: {}}
        """Heads that have been judged, at the start of a line and inside one: text that repeats itself is quick."""
        self._kind = Kind.NONE
        self._pieces: list[str] = []
        self._chars = 0
        self._tracker = CallTracker()
        self._end_tag = ""
        self._tail = ""
        self._misread = 0
        self._on: Final[dict[State, Callable[[str, int], int]]] = {
            State.TEXT: self._text,
            State.HEAD: self._in_head,
            State.BODY: self._in_body,
            State.TAIL: self._in_tail,
            State.PLAIN: self._plain,
        }
        if prefix:
            self._scan(prefix)

    def feed(self, text: str) -> list[Event]:
        """What became certain with `text`."""
        if not self._out.closed:
            self._scan(text)
        return self._out.take()

    def finish(self, reason: str) -> list[Event]:
        """What was held, and the end."""
        if self._state is State.TAIL:
            self._settle()
        elif self._state is State.BODY:
            self._close_body(cut=reason == "length")
        self._out.content(self._head)
        return self._out.finish(reason)

    @property
    def idle(self) -> bool:
        """Whether plain text can begin no call here."""
        return self._state is State.TEXT and not self._line_start and self._out.plain

    def _scan(self, text: str) -> None:
        position = 0
        while position < len(text) and not self._out.closed:
            position = self._on[self._state](text, position)

    # Text

    def _text(self, text: str, position: int) -> int:
        if self._line_start:
            visible = _VISIBLE.search(text, position)
            start = visible.start() if visible else len(text)
            if start > position:
                self._out.content(text[position:start])
            if visible and visible[0] in self._initials and self._may_begin_line(text, start):
                self._state = State.HEAD
            elif visible:
                self._line_start = False
            return start
        if len(text) - position > _FAR_CHARS:
            far = self._far(text, position)
            if far > position:
                return far
        found = (_TRIGGER_IN_FENCE if self._in_fence else _TRIGGER).search(text, position)
        if found is None:
            return self._plain(text, position)
        if found[0][0] == "\n":
            self._line_start = True
            self._out.content(text[position : found.end()])
            return found.end()
        self._state = State.HEAD
        if found.start() > position:
            self._out.content(text[position : found.start()])
        return found.start()

    def _plain(self, text: str, position: int) -> int:
        self._out.content(text[position:])
        return len(text)

    def _may_begin_line(self, text: str, start: int) -> bool:
        far = len(text) - start > _FAR_CHARS
        pattern = self._beginnings.at_line if far else _LINE_HEAD
        return pattern.match(text, start) is not None

    def _far(self, text: str, position: int) -> int:
        """Lets go what can't begin anything, in a long text: short ones, and the end of this, are looked at closely.

        What is searched for shows in MAX_HEAD_CHARS, so that the result is the same as from looking closely.
        """
        found = (IN_FENCE if self._in_fence else self._beginnings.anywhere).search(text, position)
        stop = len(text) - _FAR_CHARS // 2
        if found and found.start() < stop:
            stop = found.start()
        if stop > position:
            self._out.content(text[position:stop])
            line = text.rfind("\n", position, stop) + 1
            self._line_start = line > position and not text[line:stop].strip()
        return stop

    def _release(self, text: str) -> None:
        """Held text is content after all."""
        self._out.content(text)
        self._state = State.TEXT
        self._line_start = text.endswith("\n")

    # The beginning of something

    def _in_head(self, text: str, position: int) -> int:
        """Takes the shortest beginning that is decided: what is decided stays so, whatever follows.

        It is found by doubling and halving, so that no beginning is judged once per character.
        """
        judge_head = judge_in_fence if self._in_fence else self._judge
        fresh = text[position : position + MAX_HEAD_CHARS + 1 - len(self._head)]
        kind = judge_head(self._head + fresh, self._tools)
        if kind is Kind.MAYBE:
            self._head += fresh
            return position + len(fresh)
        undecided, decided = 0, len(fresh)
        probe = 1
        while decided - undecided > 1:
            found = judge_head(self._head + fresh[:probe], self._tools)
            if found is Kind.MAYBE:
                undecided = probe
                probe = min(2 * probe, (undecided + decided) // 2)
            else:
                decided, kind = probe, found
                probe = (undecided + decided) // 2
        self._head += fresh[:decided]
        if kind is Kind.NONE:
            return position + decided - 1 + self._no_call()
        self._begin(kind)
        return position + decided

    def _judge(self, head: str, tools: ToolSet) -> Kind:
        known = self._known[self._line_start]
        kind = known.get(head)
        if kind is None:
            kind = judge(head, tools, line_start=self._line_start)
            if len(known) < _MAX_KNOWN and len(head) <= _MAX_KNOWN_CHARS:
                known[head] = kind
        return kind

    def _no_call(self) -> int:
        """The first of the held text is content, the rest may still begin something.

        Returns 0 when its last character is still to be read.
        """
        head, self._head = self._head, ""
        length = 1
        if self._line_start and head.startswith(_FENCE):
            length = len(_FENCE)
            self._in_fence = head != _FENCE
        self._release(head[:length])
        if len(head) > length + 1:
            self._scan(head[length:-1])
        return int(len(head) <= length)

    def _begin(self, kind: Kind) -> None:
        head, self._head = self._head, ""
        self._kind = kind
        self._pieces = [head]
        self._chars = len(head)
        self._state = State.BODY
        self._tail = ""
        self._tracker = CallTracker(fenced=kind is Kind.FENCE)
        if kind is Kind.TAG:
            tag = _TAG.match(head)
            self._end_tag = f"</{tag[1]}>" if tag else ""
        elif kind is Kind.FENCE:
            fence = _FENCE_HEAD.match(head)
            self._tracker.feed(head[fence.end() :] if fence else head)
        elif kind is Kind.LINE:
            self._tracker.feed("(")
        else:
            self._tracker.feed(head)

    # Its body and what follows it

    def _in_body(self, text: str, position: int) -> int:
        if self._kind is Kind.TAG:
            return self._in_tag(text, position)
        taken = self._tracker.feed(text, position)
        self._hold(text[position : position + taken])
        if self._tracker.failed or self._chars > MAX_HELD_CHARS:
            self._give_up()
        elif self._tracker.end is not None:
            if self._kind is Kind.FENCE:
                self._settle()
            else:
                self._state = State.TAIL
        return position + taken

    def _in_tag(self, text: str, position: int) -> int:
        """Up to the end tag, which may have begun in the piece before."""
        width = len(self._end_tag)
        at_seam = (self._tail + text[position : position + width]).find(self._end_tag)
        inside = text.find(self._end_tag, position) if at_seam < 0 else position + at_seam - len(self._tail)
        if at_seam < 0 and inside < 0:
            self._hold(text[position:])
            self._tail = (self._tail + text[position:][-width:])[-width:]
            if self._chars > MAX_HELD_CHARS:
                self._give_up()
            return len(text)
        end = inside + width
        self._hold(text[position:end])
        self._settle()
        return end

    def _hold(self, text: str) -> None:
        self._pieces.append(text)
        self._chars += len(text)

    def _in_tail(self, text: str, position: int) -> int:
        """The rest of the line must be empty."""
        char = text[position]
        if char in "\r\n":
            self._settle()
            return position
        if char == ";" and self._kind is Kind.CALL:
            return position + self._settle()
        allowed = " \t`." if self._kind is Kind.LINE else " \t"
        if char not in allowed or len(self._tail) > 64:
            self._give_up()
            return position
        self._tail += char
        return position + 1

    def _give_up(self) -> None:
        """What was held is no call."""
        self._in_fence = self._in_fence or self._kind is Kind.FENCE
        tail = self._tail if self._state is State.TAIL else ""
        self._no_calls("".join(self._pieces) + tail)

    def _no_calls(self, text: str) -> None:
        self._release(text)
        self._misread += 1
        if self._misread > _MAX_MISREAD:
            self._state = State.PLAIN

    def _settle(self) -> bool:
        """The candidate is complete: calls, or text; returns whether it was calls."""
        text = "".join(self._pieces)
        calls = self._read(text)
        if calls is None:
            tail = self._tail if self._state is State.TAIL else ""
            self._no_calls(text + tail)
            return False
        for tool, arguments in calls:
            self._out.call(tool.name, arguments)
        self._state = State.TEXT
        self._line_start = True
        return True

    def _read(self, text: str) -> Calls | None:
        match self._kind:
            case Kind.LINE:
                return read_call_line(text, self._tools)
            case Kind.FENCE:
                fence = _FENCE_HEAD.match(text)
                return read_calls(text[fence.end() if fence else 0 :].rstrip().removesuffix(_FENCE), self._tools)
            case Kind.TAG:
                tag = _TAG.match(text)
                return read_calls(text[tag.end() if tag else 0 :].removesuffix(self._end_tag), self._tools)
            case _:
                return read_calls(text, self._tools)

    def _close_body(self, *, cut: bool) -> None:
        """The text ended inside a candidate: closed where that makes calls of it, else text."""
        text = "".join(self._pieces)
        tracker = self._tracker
        endings = [text + tracker.closing]
        if cut and not tracker.in_string and text.rstrip()[-1:] not in {'"', "'", "]", ")", "}"}:
            endings = []
        start = len(text) - tracker.chars
        endings.append(text[: start + tracker.safe] + tracker.brackets)
        for candidate in endings:
            calls = self._read(candidate)
            if calls:
                for tool, arguments in calls:
                    self._out.call(tool.name, arguments, cut=cut)
                return
        self._out.content(text)
