"""Runs reply parsers and folds their events into what a client ends up with, checking the protocol on the way."""

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.dialects.events import (
    ArgumentsDelta,
    CallStart,
    ContentDelta,
    Enough,
    Event,
    Finish,
    ReasoningDelta,
    ReplyParser,
)


@dataclass
class Reply:
    """A whole answer."""

    content: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Name and JSON text of each call."""
    finish_reason: str = ""
    enough: bool = False


def ids() -> Callable[[], str]:
    """Call ids that tests can read."""
    counter = itertools.count()
    return lambda: f"call_{next(counter)}"


def read_reply(parser: ReplyParser, pieces: Iterable[str], reason: str = "stop") -> Reply:
    """Feeds the pieces; every call must begin before its arguments, end as one JSON object, and keep its place."""
    events: list[Event] = []
    for piece in pieces:
        events += parser.feed(piece)
    events += parser.finish(reason)
    return fold(events)


def fold(events: list[Event]) -> Reply:
    """The answer that the events amount to."""
    reply = Reply()
    content: list[str] = []
    reasoning: list[str] = []
    arguments: list[list[str]] = []
    names: list[str] = []
    seen: set[str] = set()
    for event in events:
        match event:
            case ContentDelta():
                assert event.text
                content.append(event.text)
            case ReasoningDelta():
                assert event.text
                reasoning.append(event.text)
            case CallStart():
                assert event.index == len(names)
                assert event.id not in seen
                seen.add(event.id)
                names.append(event.name)
                arguments.append([])
            case ArgumentsDelta():
                assert event.text
                assert event.index == len(names) - 1
                arguments[-1].append(event.text)
            case Enough():
                reply.enough = True
            case Finish():
                assert event is events[-1]
                reply.finish_reason = event.reason
    reply.content, reply.reasoning = "".join(content), "".join(reasoning)
    reply.calls = [(name, "".join(pieces)) for name, pieces in zip(names, arguments, strict=True)]
    for _, text in reply.calls:
        assert isinstance(json.loads(text), dict)
    return reply


def every_way(text: str, make: Callable[[], ReplyParser], reason: str = "stop") -> Reply:
    """The reply, the same for the whole text, for single characters and for every cut in two."""
    whole = read_reply(make(), [text], reason)
    assert read_reply(make(), text, reason) == whole
    for cut in range(len(text) + 1):
        assert read_reply(make(), [text[:cut], text[cut:]], reason) == whole
    return whole
