"""Chunks of a stream that hold more of the text and nothing else, as most do: they leave as they came. No I/O.

Engines write all chunks of one stream alike. Once one was read, the bytes before and behind its text tell that another
is the same but for the text. Such a chunk waits, whole, until the rules have cleared its text; nothing is decoded or
written anew.
"""

import re
from collections import deque
from typing import Any, Final

import msgspec

from gateway.filters.screener import TextScreener, last_read

MAX_CHARS: Final = 512
"""That wait. More of them leave piece by piece, as far as they are cleared."""
_PROBE: Final = "?"
_STRING: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_TEXT: Final = msgspec.json.Decoder(str)
_ENCODER: Final = msgspec.json.Encoder()
Chunk = dict[str, Any]
Place = tuple[str, int]


class ChunkTemplate:
    """What the chunks of one stream have in common, but for the text."""

    __slots__ = ("_after", "_before", "_begin", "_end", "_head", "_tail", "place")

    def __init__(self, head: bytes, tail: bytes, place: Place) -> None:
        self._head: Final = head
        self._tail: Final = tail
        self.place: Final = place
        """The name of the text, as the choice's stream calls it."""
        self._before: Final = b"data: " + head
        self._after: Final = tail + b"\n\n"
        self._begin: Final = len(self._before)
        self._end: Final = -len(self._after)

    def text(self, frame: bytes) -> str | None:
        """Return the text of a frame; empty or None for one that isn't of the kind."""
        if not (frame.startswith(self._before) and frame.endswith(self._after)):
            return None
        said = frame[self._begin : self._end]
        if said.isascii():
            text = said.decode()
            if text.isprintable() and '"' not in text and "\\" not in text:
                return text
        try:
            return _TEXT.decode(b'"%b"' % said)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def frame(self, text: str) -> bytes:
        """Return the frame that says a text."""
        return b"%b%b%b" % (self._before, _ENCODER.encode(text)[1:-1], self._after)


def read_template(data: bytes) -> ChunkTemplate | None:
    """Return what a chunk of JSON has in common with others that say more of the same text of the first choice.

    None if it does more than that (ends the choice, tells log-probabilities, begins a message), or isn't compact JSON.
    """
    chunk: Chunk = msgspec.json.decode(data)
    holder, name = _holder(chunk)
    key = b'"%b":' % name.encode()
    if not name or data.count(key) != 1 or data.count(b'"model":"') != ("model" in chunk):
        return None
    found = _STRING.match(data, data.index(key) + len(key))
    if found is None:
        return None
    head, tail = data[: found.start(1)], data[found.end(1) :]
    holder[name] = _PROBE
    try:
        same = msgspec.json.decode(head + _PROBE.encode() + tail) == chunk
    except msgspec.DecodeError:
        return None
    return ChunkTemplate(head, tail, (name, 0)) if same else None


def _holder(chunk: Chunk) -> tuple[Chunk, str]:
    """Return the object that holds the only text of a chunk, and the text's name there; no name if there is more."""
    choices: list[Chunk] = chunk["choices"]
    if len(choices) != 1 or chunk.get("usage") is not None:
        return {}, ""
    choice = choices[0]
    if choice.get("index", 0) != 0 or choice.get("finish_reason") is not None or choice.get("logprobs") is not None:
        return {}, ""
    delta = choice.get("delta")
    if delta is None:
        return (choice, "text") if isinstance(choice.get("text"), str) else ({}, "")
    said = [name for name, value in delta.items() if value]
    return (delta, "content") if said == ["content"] and isinstance(delta["content"], str) else ({}, "")


class PlainChunks:
    """Passes frames on while all that comes is plain. What waits is the screener's text, borrowed from it."""

    __slots__ = ("_before_chars", "_decided", "_said", "_screener", "_template", "_waiting", "released", "text")

    def __init__(self, template: ChunkTemplate, screener: TextScreener) -> None:
        before, held = screener.lend()
        self._template: Final = template
        self._screener: Final = screener
        self._decided: Final = screener.rules.skimmer.decided
        self._said: str = before + held
        """What waits, behind the last character that has left."""
        self._before_chars = len(before)
        self._waiting: Final[deque[tuple[bytes, int]]] = deque()
        """Frames, with the length of their texts."""
        if held:  # of a chunk that was edited
            self._waiting.append((template.frame(held), len(held)))
        self.text: Final = template.text
        self.released: str = ""
        """The text of the frames that the last `take` returned."""

    def take(self, frame: bytes, text: str) -> bytes | None:
        """Take a frame; return those that may leave. None: it wasn't taken, it needs the full treatment."""
        before, waiting = self._before_chars, self._waiting
        said = self._said + text
        if len(said) > MAX_CHARS:
            return None
        at = self._decided(said, before)
        if at < 0:
            return None
        clear = at - before
        if clear == len(said) - before and not waiting:
            out = frame
            clear = 0
        else:
            out = b""
            waiting.append((frame, len(text)))
            while waiting and waiting[0][1] <= clear:
                left, chars = waiting.popleft()
                clear -= chars
                out += left
            if not out:
                self.released, self._said = "", said
                return out
        end = at - clear
        self.released = said[before:end]
        if said[end - 1].isascii():
            self._said = said[end - 1 :]
            self._before_chars = 1
        else:
            last = last_read(self.released) or said[:before]
            self._said = last + said[end:]
            self._before_chars = len(last)
        return out

    def give_back(self) -> None:
        """Leave the text that waits to the screener, which gives it out with the next chunk."""
        before = self._before_chars
        self._screener.take_back(self._said[:before], self._said[before:])
