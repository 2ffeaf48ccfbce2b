"""Frames of a stream that are alike but for a plain piece of text, as most are: told by their bytes. No I/O.

An engine writes all chunks of one stream alike. Once one has gone the long way to the client, the bytes before and
behind its text, as it came and as it left, do for the next.
"""

import re
from typing import Final, Self

_SUSPECT: Final = bytes(range(0x20)) + b'"\\[{<'
"""Bytes that are no plain text: JSON's own, and what may begin a call or a marker in some dialect."""
_PLAIN: Final = re.compile(rb'"(?:content|text)":"([^"\\\x00-\x1f\[{<]*[^"\\\x00-\x20\[{<])"')
"""A text without them that doesn't end in a space."""
_NOT_ONLY_TEXT: Final = (b'"finish_reason":"', b'"usage":{', b'"error"')
_SPACE: Final = 0x20


class FrameForm:
    """What frames have in common, as they come from the worker and as they leave for the client."""

    __slots__ = ("_after", "_before", "_begin", "_end", "_shown_after", "_shown_before", "_unchanged")

    def __init__(self, came: tuple[bytes, bytes], left: tuple[bytes, bytes]) -> None:
        """The bytes before and behind the text."""
        self._before, self._after = came
        self._shown_before, self._shown_after = left
        self._begin: Final = len(self._before)
        self._end: Final = -len(self._after)
        self._unchanged: Final = came == left

    @classmethod
    def of(cls, came: bytes, left: bytes) -> Self | None:
        """The form of a frame; None if it isn't plain text that came and the same that left."""
        if not (_is_one(left) and _is_one(came)):  # quicker to tell than the rest
            return None
        said, shown = _PLAIN.search(came), _PLAIN.search(left)
        if said is None or shown is None or said[1] != shown[1]:
            return None
        if any(came.find(key) >= 0 for key in _NOT_ONLY_TEXT):
            return None
        return cls((came[: said.start(1)], came[said.end(1) :]), (left[: shown.start(1)], left[shown.end(1) :]))

    def shown(self, frame: bytes) -> bytes | None:
        """Return what leaves of a frame of this form; None for another frame, or where its text isn't plain."""
        if not (frame.startswith(self._before) and frame.endswith(self._after)):
            return None
        said = frame[self._begin : self._end]
        if not said or said[-1] == _SPACE or len(said.translate(None, _SUSPECT)) != len(said):
            return None
        return frame if self._unchanged else b"%b%b%b" % (self._shown_before, said, self._shown_after)


def is_plain(frame: bytes) -> bool:
    """Whether a frame says plain text and does nothing else."""
    return _PLAIN.search(frame) is not None and frame.find(b'"finish_reason":"') < 0


def _is_one(frames: bytes) -> bool:
    return frames.startswith(b"data: {") and frames.endswith(b"}\n\n") and frames.count(b"\n\n") == 1
