"""What a reply is made of: the events that every dialect's parser returns, and the parser's own protocol."""

from dataclasses import dataclass
from typing import Protocol

MAX_NESTING = 64
"""Containers inside each other in a call's arguments; deeper ones are text."""
MAX_HELD_CHARS = 1_048_576
"""Text that may be held back while it is undecided what it is."""
MAX_CALLS = 1024
"""Calls of one reply; a model that makes more runs in circles."""


@dataclass(frozen=True, slots=True)
class ContentDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call begins. `index` counts the calls of this choice; `name` is the client's name of the tool."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """More of the call's JSON text. The joined deltas of a call are one JSON object, always."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """A call whose arguments break the tool's schema, where they must not: the reply is a failure."""

    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class Enough:
    """Nothing more is wanted of the worker: abort it, then `finish(reason)`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The last event: OpenAI's `finish_reason`."""

    reason: str


Event = ContentDelta | ReasoningDelta | CallStart | ArgumentsDelta | Unfit | Enough | Finish


class ReplyParser(Protocol):
    """Reads one choice of one reply. Never raises on text; the events don't depend on how the text was cut."""

    def feed(self, text: str) -> list[Event]:
        """What became certain with `text`."""
        ...

    def finish(self, reason: str) -> list[Event]:
        """What was held, and the end. `reason` is the worker's `finish_reason`."""
        ...

    @property
    def idle(self) -> bool:
        """Whether plain text, if it came next, would leave as it is and change nothing: it need not be fed.

        Plain: printable, without quotes, backslashes, `[`, `{` and `<`, and without white space at its end.
        """
        ...
