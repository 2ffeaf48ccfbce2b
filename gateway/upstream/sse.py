"""Bytes of an event stream, cut into frames.

A frame is everything up to and including a blank line. vLLM ends lines with LF; CRLF is accepted. Content can hold
`data:` or `[DONE]` as text, but never a line break: JSON escapes it. So frames are cut at blank lines only, and what a
frame means is read from its start.
"""

from gateway.upstream.failures import ProtocolViolation

MAX_FRAME_BYTES = 16 * 1024 * 1024


class FrameSplitter:
    """Cuts a byte stream into frames, whatever pieces it arrives in.

    Pieces that can't end a frame are only gathered, so that a large frame in many pieces costs its size once.
    """

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def empty(self) -> bool:
        """Whether the stream stands at a frame's border."""
        return not self._pieces

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that `data` completes. Raises ProtocolViolation on a frame over `MAX_FRAME_BYTES`."""
        frames: list[bytes] = []
        # `find`, because `in` first tries the needle as a number: five times the cost
        if self._pieces and not (data.startswith(b"\n") or data.find(b"\n\n") >= 0 or data.find(b"\r") >= 0):
            rest = data
        else:
            buffer = b"".join((*self._pieces, data)) if self._pieces else data
            self._pieces.clear()
            self._size = 0
            if buffer.find(b"\r") >= 0:
                buffer = _unix_lines(buffer)
            frames = buffer.split(b"\n\n")
            rest = frames.pop()
        if rest:
            self._pieces.append(rest)
            self._size += len(rest)
        if self._size > MAX_FRAME_BYTES:
            message = f"stream frame over {MAX_FRAME_BYTES} bytes"
            raise ProtocolViolation(message)
        return [frame for frame in frames if frame]


def _unix_lines(data: bytes) -> bytes:
    """Replace CRLF by LF; a CR at the very end waits for its LF."""
    return data.replace(b"\r\n", b"\n")


def data_of(frame: bytes) -> bytes | None:
    """Return the data of a frame (its `data:` lines, joined by LF), or None for comments and other fields."""
    if frame.startswith(b"data: ") and frame.find(b"\n") < 0:
        return frame[6:]
    lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
