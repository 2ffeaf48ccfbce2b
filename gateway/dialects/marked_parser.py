"""Replies of Gemma 4 and FunctionGemma: thoughts, text and marked calls, in any order and any cut.

    START ──► CONTENT ◄──────────────┐        START: where a bare `call:name{`, a bare `thought` or plain JSON counts
      │          │ opener            │        HEAD: from an opener to the brace; what is no call goes back as text
      └────────► HEAD ──► ARGUMENTS ─┴► AFTER_CALL
                  │ no tool of that name
                  └────► SPAN (text up to the end marker)
    REASONING from a channel's opening to its end; MAYBE_THOUGHT holds text that only the channel's end makes a thought.

Markers are matched as text: an engine under a grammar spells them in ordinary characters (measured on vLLM 0.32).
"""

import re
from collections.abc import Callable
from enum import IntEnum, auto
from typing import Final

from gateway.dialects.call_head import MAX_HEAD_CHARS, Head, Verdict, read_bare_head, read_head, read_without_brace
from gateway.dialects.call_reader import CallReader
from gateway.dialects.events import MAX_HELD_CHARS, Event
from gateway.dialects.json_calls import Calls
from gateway.dialects.lexer import MarkerLexer
from gateway.dialects.marked_syntax import MarkedSyntax
from gateway.dialects.reply import SPACE, ReplyBuilder, ReplyRules
from gateway.dialects.tool_set import ToolSet

_LABEL: Final = "thought\n"
_MAX_EMPTY_THOUGHTS: Final = 64


class State(IntEnum):
    START = auto()
    CONTENT = auto()
    MAYBE_THOUGHT = auto()
    WHOLE_JSON = auto()
    REASONING = auto()
    HEAD = auto()
    POSITIONAL = auto()
    ARGUMENTS = auto()
    SPAN = auto()
    AFTER_CALL = auto()


class MarkedParser:
    """Reads one choice. Without tools it still takes thoughts out of the text."""

    def __init__(
        self,
        syntax: MarkedSyntax,
        tools: ToolSet,
        rules: ReplyRules,
        *,
        thinking: bool = False,
        prefix: str = "",
        whole_json: Callable[[str, ToolSet], Calls | None] | None = None,
    ) -> None:
        """`thinking`: the prompt ended inside an open channel. `prefix`: the prompt ended with this text of a call.

        `whole_json` reads a reply that is nothing but calls written as plain JSON.
        """
        self._syntax: Final = syntax
        self._tools: Final = tools
        self._out: Final = ReplyBuilder(rules)
        self._lexer: Final = MarkerLexer(syntax.markers)
        self._state = State.REASONING if thinking else State.START
        self._whole_json: Final = whole_json
        self._head = ""
        self._opener = ""
        self._back = State.CONTENT
        """Where text goes that turned out to be no call."""
        self._held: list[str] = []
        self._held_chars = 0
        self._ordered: list[str] = []
        """A call whose arguments have no keys."""
        self._ordered_chars = 0
        self._call: CallReader | None = None
        self._end_due = False
        """A call ended in text that had no place in it: its end marker is still to come."""
        self._label = _LABEL if thinking else ""
        """What may still come of a channel's label."""
        self._thought_seen = False
        self._empty_thoughts = 0
        self._on: Final[dict[State, Callable[[str], None]]] = {
            State.START: self._start,
            State.CONTENT: self._content,
            State.MAYBE_THOUGHT: self._maybe_thought,
            State.WHOLE_JSON: self._json,
            State.REASONING: self._reasoning,
            State.HEAD: self._call_head,
            State.POSITIONAL: self._positional,
            State.ARGUMENTS: self._arguments,
            State.SPAN: self._span,
            State.AFTER_CALL: self._after_call,
        }
        if prefix:
            self._read(self._lexer.feed(prefix))

    def feed(self, text: str) -> list[Event]:
        """What became certain with `text`."""
        if not self._out.closed:
            self._read(self._lexer.feed(text))
        return self._out.take()

    def finish(self, reason: str) -> list[Event]:
        """What was held, and the end."""
        self._read(self._lexer.finish())
        while self._end_of_text(reason):
            pass
        return self._out.finish(reason)

    @property
    def idle(self) -> bool:
        """Whether text without a marker would be content, with nothing held before it."""
        return self._state is State.CONTENT and not self._lexer.holds and self._out.plain

    def _read(self, tokens: list[str]) -> None:
        for token in tokens:
            if self._out.closed:
                return
            self._on[self._state](token)

    def _reread(self, tokens: list[str]) -> None:
        """Tokens again that were held for another reading."""
        lexer = MarkerLexer(self._syntax.markers)
        for token in tokens:
            self._read([*lexer.feed(token), *lexer.finish()])

    # Text

    def _start(self, token: str) -> None:
        """The beginning of an answer: white space, then the first characters decide."""
        if token in self._syntax.markers:
            self._release_head()
            self._marker(token)
            return
        if not self._head:
            visible = token.lstrip()
            self._out.content(token[: len(token) - len(visible)])
            token = visible
        self._head = head = self._head + token
        if not head:
            return
        if self._may_be_thought(head):
            if head.startswith(_LABEL):
                self._hold_as(State.MAYBE_THOUGHT)
        elif self._bare_call(head) or self._may_be_json(head):
            return
        else:
            self._release_head()

    def _may_be_thought(self, head: str) -> bool:
        return self._syntax.channel is not None and (head.startswith(_LABEL) or _LABEL.startswith(head))

    def _bare_call(self, head: str) -> bool:
        """Whether `head` may be, or just was, the beginning of a call without a marker."""
        found = read_bare_head(head, self._tools) if self._tools else Verdict.NO_CALL
        if isinstance(found, Head):
            self._head = ""
            self._open(found, marked=False)
        return found is not Verdict.NO_CALL

    def _may_be_json(self, head: str) -> bool:
        if self._whole_json is None or not _json_begins(head, self._tools):
            return False
        if len(head) > MAX_HEAD_CHARS:
            self._hold_as(State.WHOLE_JSON)
        return True

    def _hold_as(self, state: State) -> None:
        self._held = [self._head]
        self._held_chars = len(self._head)
        self._head = ""
        self._state = state

    def _release_head(self) -> None:
        head, self._head = self._head, ""
        self._state = State.CONTENT
        if head:
            self._out.content(head)

    def _content(self, token: str) -> None:
        if token in self._syntax.markers:
            self._marker(token)
        else:
            self._out.content(token)

    def _marker(self, token: str) -> None:
        """A marker in plain text."""
        if token in self._syntax.openers:
            self._begin_head(token, State.CONTENT)
        elif token == self._syntax.channel:
            self._begin_thought()
        elif token == self._syntax.channel_end:
            self._state = State.START
        elif token == self._syntax.end and self._end_due:
            self._end_due = False
        else:
            self._out.content(token)

    def _maybe_thought(self, token: str) -> None:
        if token == self._syntax.channel_end:
            self._begin_thought()
            self._reasoning("".join(self._held))
            self._held = []
            self._reasoning(token)
        elif token in self._syntax.openers or token == self._syntax.channel or self._held_chars > MAX_HELD_CHARS:
            self._release_held()
            self._content(token)
        else:
            self._held.append(token)
            self._held_chars += len(token)

    def _json(self, token: str) -> None:
        self._maybe_thought(token)

    def _release_held(self) -> None:
        held, self._held = self._held, []
        self._state = State.CONTENT
        self._out.content("".join(held))

    # Thoughts

    def _begin_thought(self) -> None:
        self._state = State.REASONING
        self._label = _LABEL
        self._thought_seen = False

    def _reasoning(self, token: str) -> None:
        if token == self._syntax.channel_end:
            self._end_thought()
            self._state = State.START
        elif token == self._syntax.channel:
            self._end_thought()
            self._begin_thought()
        elif token in self._syntax.openers:
            self._begin_head(token, State.REASONING)
        elif token in self._syntax.turn_ends:
            return
        else:
            self._thought(token)

    def _thought(self, text: str) -> None:
        """A piece of a thought; the channel's label at its front is no part of it."""
        if self._label:
            waiting = self._head + text
            if len(waiting) < len(self._label) and self._label.startswith(waiting):
                self._head = waiting
                return
            text = waiting.removeprefix(self._label)
            self._label = self._head = ""
        self._thought_seen = self._thought_seen or bool(text.strip())
        self._out.reasoning(text)

    def _end_thought(self) -> None:
        if self._head and self._head != _LABEL.rstrip():
            self._out.reasoning(self._head)
            self._thought_seen = True
        self._head = self._label = ""
        self._out.end_thought()
        self._empty_thoughts = 0 if self._thought_seen else self._empty_thoughts + 1
        if self._empty_thoughts >= _MAX_EMPTY_THOUGHTS:
            self._out.enough("length")

    # Calls

    def _begin_head(self, opener: str, back: State) -> None:
        if not self._tools:
            self._text_again(opener, back)
            return
        self._opener = opener
        self._back = back
        self._held = [self._head] if back is State.REASONING else []
        self._head = ""
        self._state = State.HEAD

    def _call_head(self, token: str) -> None:
        if token in self._syntax.markers:
            self._head_ends(token)
            return
        self._head += token
        match read_head(self._head, self._tools, free=self._opener != self._syntax.openers[0]):
            case Head() as head:
                self._leave_thought()
                self._head = ""
                self._open(head, marked=True)
            case Verdict.UNKNOWN_TOOL:
                self._no_call(State.SPAN)
            case Verdict.NO_CALL:
                self._no_call(self._back)
            case Verdict.POSITIONAL:
                self._state = State.POSITIONAL
                self._ordered = [self._head]
                self._ordered_chars = len(self._head)
            case Verdict.UNDECIDED:
                pass

    def _positional(self, token: str) -> None:
        """Arguments without keys are held up to the marker behind them."""
        if token in self._syntax.markers:
            self._positional_ends(token)
            return
        self._ordered.append(token)
        self._ordered_chars += len(token)
        if self._ordered_chars > MAX_HELD_CHARS:
            self._head = "".join(self._ordered)
            self._ordered = []
            self._no_call(self._back)

    def _positional_ends(self, token: str) -> None:
        self._head = "".join(self._ordered)
        self._ordered = []
        self._head_ends(token)

    def _head_ends(self, token: str) -> None:
        """A marker, or the end of the text, before any brace."""
        call = read_without_brace(self._head, self._tools)
        if call is None:
            self._no_call(self._back)
        else:
            self._leave_thought()
            self._head = ""
            self._out.call(call[0].name, call[1])
            self._state = State.AFTER_CALL
        if token:
            self._on[self._state](token)

    def _no_call(self, state: State) -> None:
        """The opener and what followed it are text."""
        text = self._opener + self._head
        self._head = ""
        if state is State.REASONING:
            self._head = "".join(self._held)
            self._state = state
            self._thought(text)
            return
        self._leave_thought()
        self._state = state
        self._out.content(text)

    def _text_again(self, text: str, back: State) -> None:
        self._state = back
        if back is State.REASONING:
            self._thought(text)
        else:
            self._out.content(text)

    def _leave_thought(self) -> None:
        if self._back is State.REASONING:
            self._head = "".join(self._held)
            self._held = []
            self._end_thought()
            self._back = State.CONTENT

    def _open(self, head: Head, *, marked: bool) -> None:
        syntax = self._syntax
        breaks = frozenset((*syntax.openers, *syntax.turn_ends))
        self._call = CallReader(head.tool.view, quote=syntax.quote, end=syntax.end, breaks=breaks, marked=marked)
        self._out.start_call(head.tool.name, kept=marked and self._opener == syntax.openers[0])
        self._state = State.ARGUMENTS
        if head.rest:
            self._arguments(head.rest)

    def _arguments(self, token: str) -> None:
        call = self._call
        if call is None:
            return
        self._out.arguments(call.push(token))
        if call.ended:
            self._end_call(call)

    def _end_call(self, call: CallReader, *, cut: bool = False) -> None:
        self._call = None
        self._end_due = call.overflowed
        self._out.end_call(cut=cut)
        self._state = State.AFTER_CALL
        self._empty_thoughts = 0
        self._reread(call.left)

    def _after_call(self, token: str) -> None:
        """White space, a second end marker and the turn's end are dropped; anything else is the next thing."""
        if token == self._syntax.end or token in self._syntax.turn_ends or not token.strip(SPACE):
            return
        self._state = State.CONTENT
        self._content(token)

    def _span(self, token: str) -> None:
        """A call of no known tool: text, its markers included."""
        if token in self._syntax.openers:
            self._state = State.CONTENT
            self._content(token)
            return
        self._out.content(token)
        if token == self._syntax.end or token in self._syntax.turn_ends:
            self._state = State.CONTENT

    def _end_of_text(self, reason: str) -> bool:
        """Settles what the end of the text leaves open; True when that gave more text to read."""
        match self._state:
            case State.ARGUMENTS if self._call is not None:
                call = self._call
                cut = reason == "length"
                self._out.arguments(call.finish(cut=cut))
                self._end_call(call, cut=cut)
                return bool(call.left)
            case State.HEAD:
                self._head_ends("")
            case State.POSITIONAL:
                self._positional_ends("")
            case State.WHOLE_JSON | State.MAYBE_THOUGHT | State.START:
                self._end_of_start()
            case State.REASONING:
                self._end_thought()
            case _:
                pass
        return False

    def _end_of_start(self) -> None:
        text = self._head + "".join(self._held)
        calls = (
            self._whole_json(text, self._tools) if self._whole_json and self._state is not State.MAYBE_THOUGHT else None
        )
        self._head, self._held = "", []
        self._state = State.CONTENT
        for tool, arguments in calls or ():
            self._out.call(tool.name, arguments)
        if not calls:
            self._out.content(text)


_JSON_HEAD: Final = re.compile(
    r"""(?:```(?:json|tool_code)?\s*+)?\[?\s*+\{\s*+["'](?:name|function|tool_name)["']\s*+:\s*+["'](?P<name>[^"']*+)["']"""
)
_JSON_PREFIX: Final = re.compile(
    r"(?:`{1,3}+(?:[a-z_]*+\s*+)?+)?+\[?+\s*+(?:\{\s*+(?:[\"'][a-z_]*+[\"']?+\s*+:?+\s*+[\"']?+[^\"']*+)?+)?+"
)


def _json_begins(head: str, tools: ToolSet) -> bool:
    """Whether the text may be a call of a known tool in plain JSON, as far as it has come."""
    match = _JSON_HEAD.match(head)
    if match and match.end() <= MAX_HEAD_CHARS:
        return tools.find(match["name"]) is not None
    return len(head) <= MAX_HEAD_CHARS and head[0] in "`[{" and _JSON_PREFIX.fullmatch(head) is not None
