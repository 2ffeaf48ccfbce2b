"""Log probabilities of a choice whose text a dialect reads: they leave with the text that they belong to. No I/O.

Text may be held, because it could become a call, and its log probabilities with it. Where the client's text isn't what
the model wrote, in calls, thoughts and restored markers, there are none.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gateway.dialects.events import ContentDelta, Event, Finish
from gateway.wire.replies import NULL

_MAX_HELD_CHARS: Final = 4096
"""Of text whose log probabilities are kept; what is held longer is hardly prose."""
_DECODER = msgspec.json.Decoder(dict[str, list[Any] | None])


class TokenLogprobs:
    """Those of one choice that are not told yet."""

    def __init__(self) -> None:
        self._said = ""
        """The model's text since all of it was told."""
        self._told = ""
        """The client's since then."""
        self._held: list[msgspec.Raw] = []
        self._lost = False
        """The two have gone different ways."""

    def leaving(self, text: str, logprobs: msgspec.Raw, events: Sequence[Event], *, idle: bool) -> msgspec.Raw:
        """Take a chunk's text and what became of it; return the log probabilities that leave with its content.

        `idle`: the dialect holds no text now.
        """
        if not self._lost:
            self._take(text, logprobs, events)
        if self._lost:
            self._held.clear()
            self._said = self._told = ""
            self._lost = not idle
        elif self._said and self._said == self._told:
            found = joined(self._held)
            self._held.clear()
            self._said = self._told = ""
            return found
        return NULL

    def _take(self, text: str, logprobs: msgspec.Raw, events: Sequence[Event]) -> None:
        if text:
            self._said += text
            self._held.append(logprobs)
        for event in events:
            if isinstance(event, ContentDelta):
                self._told += event.text
            elif not isinstance(event, Finish):
                self._lost = True
        if len(self._said) > _MAX_HELD_CHARS or not self._said.startswith(self._told):
            self._lost = True


def joined(parts: Sequence[msgspec.Raw]) -> msgspec.Raw:
    """Return the log probabilities of several texts as those of one."""
    told = [part for part in parts if part != NULL]
    if len(told) < 2:
        return told[0] if told else NULL
    whole: dict[str, list[Any] | None] = {}
    for part in told:
        try:
            decoded = _DECODER.decode(part)
        except msgspec.DecodeError:
            return NULL  # the worker's own form: not to be put together
        for key, entries in decoded.items():
            whole[key] = [*(whole.get(key) or ()), *(entries or ())] or None
    return msgspec.Raw(msgspec.json.encode(whole))
