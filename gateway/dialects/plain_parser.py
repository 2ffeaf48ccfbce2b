"""Replies in which only text is looked at: neutralised markers restored, nothing else."""

from typing import Final

from gateway.dialects.events import Event
from gateway.dialects.reply import ReplyBuilder, ReplyRules


class PlainParser:
    """All text is content."""

    def __init__(self, rules: ReplyRules) -> None:
        self._out: Final = ReplyBuilder(rules)

    def feed(self, text: str) -> list[Event]:
        self._out.content(text)
        return self._out.take()

    def finish(self, reason: str) -> list[Event]:
        return self._out.finish(reason)

    @property
    def idle(self) -> bool:
        """Never: a marker may begin in any piece, and these replies are rare."""
        return False
