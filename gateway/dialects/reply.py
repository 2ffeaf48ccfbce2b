"""The outgoing half of every parser: text and calls in, events out, the client's wishes about calls applied.

White space next to a call or a thought belongs to the model's format, so it is held while it may be dropped: a
client sees the same text whether it streams or not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.dialects.control_tokens import MarkerRestorer
from gateway.dialects.events import (
    MAX_CALLS,
    ArgumentsDelta,
    CallStart,
    ContentDelta,
    Enough,
    Event,
    Finish,
    ReasoningDelta,
    Unfit,
)
from gateway.dialects.stop_strings import StopStrings
from gateway.values import Family

SPACE: Final = " \t\n\r"
"""What is white space next to a call: ASCII's, so that frames can be judged by their bytes."""


class Judge(Protocol):
    """Says what is wrong with a call's arguments."""

    def problem(self, arguments: str) -> str:
        """What the JSON text breaks; empty when nothing."""
        ...


@dataclass(frozen=True, slots=True)
class ReplyRules:
    """What the request asked of its reply."""

    new_id: Callable[[], str]
    """Makes a call's id, unique per reply."""
    drop_calls: bool = False
    """`tool_choice: "none"`: calls vanish, the text around them stays."""
    parallel: bool = True
    """False: the first call is the only one."""
    call_reason: str = "tool_calls"
    """`finish_reason` when a call was made: `stop` after a named choice, `function_call` for legacy `functions`."""
    drop_reasoning: bool = False
    stop: tuple[str, ...] = ()
    """The client's stop strings; they count in content only."""
    restore: Family | None = None
    """Neutralised markers of this family are restored."""
    checks: Mapping[str, Judge] = field(default_factory=dict[str, Judge])
    """Tools whose calls leave only if their arguments fit: whole, after they have been judged."""
    promised: frozenset[str] = frozenset()
    """Of these, the ones that the worker's grammar keeps: they leave as they come, and are judged all the same."""


class ReplyBuilder:
    """Collects the events of one choice."""

    __slots__ = (
        "_arguments_restorer",
        "_calls",
        "_check",
        "_checked_name",
        "_closed_by",
        "_content_restorer",
        "_events",
        "_held_call",
        "_held_space",
        "_judged",
        "_next_index",
        "_open",
        "_pieces",
        "_reasoning_restorer",
        "_rules",
        "_stop",
        "_thought_space",
        "_trim",
        "closed",
    )

    def __init__(self, rules: ReplyRules) -> None:
        self._rules: Final = rules
        self._events: list[Event] = []
        self._pieces: list[str] = []
        """Content behind the last event."""
        self._calls = 0
        self._next_index = 0
        self._open = False
        """Inside a call that the client sees."""
        self._checked_name = ""
        self._check: Judge | None = None
        """Of the open call."""
        self._held_call: CallStart | None = None
        """The open call's beginning, while it waits to be judged."""
        self._judged: list[str] = []
        """The open call's arguments, for its judge."""
        self._held_space: list[str] = []
        self._thought_space: list[str] | None = None
        """White space inside a thought, held; None before the thought's first visible character."""
        self._trim = False
        """White space that follows goes too: a call has just ended."""
        self._stop = StopStrings(rules.stop) if rules.stop else None
        self._content_restorer = MarkerRestorer(rules.restore) if rules.restore else None
        self._reasoning_restorer = MarkerRestorer(rules.restore) if rules.restore else None
        self._arguments_restorer = MarkerRestorer(rules.restore, json=True) if rules.restore else None
        self._closed_by = ""
        self.closed = False
        """Nothing more can change the reply: `Enough` has been said."""

    @property
    def plain(self) -> bool:
        """Whether text without trailing white space would go out just as it is."""
        return not (self._held_space or self._trim or self._stop or self._content_restorer or self.closed)

    def take(self) -> list[Event]:
        """The events since the last call; neighbouring deltas of one kind are joined."""
        self._flush_pieces()
        events, self._events = self._events, []
        return _joined(events) if len(events) > 1 else events

    def content(self, text: str) -> None:
        """Text for the reader."""
        if self.closed:
            return
        if self._trim:
            text = text.lstrip(SPACE)
            if not text:
                return
            self._trim = False
        visible = text.rstrip(SPACE)
        if visible:
            self._held_space.append(visible)
            self._say("".join(self._held_space))
            self._held_space.clear()
        if len(visible) < len(text):
            self._held_space.append(text[len(visible) :])

    def reasoning(self, text: str) -> None:
        """A piece of a thought; white space at both ends of it goes."""
        if self._rules.drop_reasoning or self.closed:
            return
        if self._thought_space is None:
            text = text.lstrip(SPACE)
            if not text:
                return
            self._thought_space = []
        visible = text.rstrip(SPACE)
        if visible:
            whole = "".join([*self._thought_space, visible])
            self._thought_space.clear()
            if self._reasoning_restorer:
                whole = self._reasoning_restorer.feed(whole)
            if whole:
                self._add(ReasoningDelta(whole))
        if len(visible) < len(text):
            self._thought_space.append(text[len(visible) :])

    def end_thought(self) -> None:
        """The thought is complete."""
        rest = self._reasoning_restorer.finish() if self._reasoning_restorer else ""
        if rest:
            self._add(ReasoningDelta(rest))
        self._thought_space = None

    def start_call(self, name: str, *, kept: bool = False) -> None:
        """A call of the client's tool `name` begins: white space before it goes.

        `kept`: it began as the worker's grammar has calls begin.
        """
        self._held_space.clear()
        self._open = not (self._rules.drop_calls or self.closed)
        if self._open:
            self._flush_content()
            start = CallStart(self._next_index, self._rules.new_id(), name)
            self._check, self._checked_name = self._rules.checks.get(name), name
            if self._check is not None and not (kept and name in self._rules.promised):
                self._held_call = start
            else:
                self._add(start)

    def arguments(self, text: str) -> None:
        """More of the open call's JSON text."""
        if not self._open or not text:
            return
        self._add_arguments(self._arguments_restorer.feed(text) if self._arguments_restorer else text)

    def _add_arguments(self, text: str) -> None:
        if not text:
            return
        if self._check is not None:
            self._judged.append(text)
        if self._held_call is None:
            self._add(ArgumentsDelta(self._next_index, text))

    def end_call(self, *, cut: bool = False) -> None:
        """The open call is complete: white space after it goes. `cut`: the reply's length ended it."""
        self._trim = True
        self._calls += 1
        if self._open:
            self._add_arguments(self._arguments_restorer.finish() if self._arguments_restorer else "")
            self._open = False
            if self._check is not None and not self._passes(self._check, cut=cut):
                return
            self._next_index += 1
            if not self._rules.parallel:
                self.enough("stop")
        if self._calls == MAX_CALLS:
            self.enough("length")

    def _passes(self, check: Judge, *, cut: bool) -> bool:
        """Judge the call that has ended, and let it go if it was held. One that is cut is no claim to be whole."""
        start, self._held_call, self._check = self._held_call, None, None
        arguments = "".join(self._judged)
        self._judged.clear()
        problem = "" if cut else check.problem(arguments)
        if problem:
            self._add(Unfit(self._checked_name, problem))
            self.closed = True
            return False
        if start is not None:
            self._add(start)
            self._add(ArgumentsDelta(start.index, arguments))
        return True

    def call(self, name: str, arguments: str, *, cut: bool = False) -> None:
        """A whole call at once."""
        self.start_call(name)
        self.arguments(arguments)
        self.end_call(cut=cut)

    def enough(self, reason: str) -> None:
        """Ends the reply: what follows counts no more."""
        if not self.closed:
            self.closed = True
            self._closed_by = reason
            self._add(Enough(reason))

    def finish(self, reason: str) -> list[Event]:
        """Everything still held, and the `finish_reason`."""
        self.end_thought()
        reason = self._closed_by or reason
        if not self.closed:
            self._say("".join(self._held_space))
            self._flush_content()
        called = self._next_index > 0 and reason in ("stop", "tool_calls")
        final = self._rules.call_reason if called else "stop" if reason == "tool_calls" else reason
        self._add(Finish(final))
        return self.take()

    def _say(self, text: str) -> None:
        if self._content_restorer:
            text = self._content_restorer.feed(text)
        self._emit_screened(text)

    def _flush_content(self) -> None:
        """Gives out what waits for more text: a call or the end comes instead."""
        if self._content_restorer:
            self._emit_screened(self._content_restorer.finish())
        if self._stop and not self._stop.found:
            self._emit(self._stop.finish())

    def _emit_screened(self, text: str) -> None:
        if self._stop is None:
            self._emit(text)
            return
        self._emit(self._stop.feed(text))
        if self._stop.found:
            self.enough("stop")

    def _emit(self, text: str) -> None:
        if text:
            self._pieces.append(text)

    def _flush_pieces(self) -> None:
        if self._pieces:
            self._events.append(ContentDelta("".join(self._pieces)))
            self._pieces.clear()

    def _add(self, event: Event) -> None:
        self._flush_pieces()
        self._events.append(event)


def _joined(events: list[Event]) -> list[Event]:
    joined: list[Event] = []
    pieces: list[str] = []
    for position, event in enumerate(events):
        following = events[position + 1] if position + 1 < len(events) else None
        match event:
            case ContentDelta() | ReasoningDelta() | ArgumentsDelta():
                pieces.append(event.text)
                if type(following) is type(event):
                    continue
                joined.append(_with_text(event, "".join(pieces)))
                pieces.clear()
            case _:
                joined.append(event)
    return joined


def _with_text(event: ContentDelta | ReasoningDelta | ArgumentsDelta, text: str) -> Event:
    if isinstance(event, ArgumentsDelta):
        return ArgumentsDelta(event.index, text)
    return type(event)(text)
