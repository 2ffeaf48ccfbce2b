"""A worker's stream on its way to the client: what passes, what is changed, what ends it. No I/O.

Most chunks pass as the bytes they came as. The relay looks only for what it must: the usage chunk (always asked for,
shown only to clients that asked), an error in the stream, its end. JSON escapes quotes inside strings, so the bytes
`"usage"` with their quotes can only be a key or a whole string, never a part of what the model wrote; where they are
found, the frame is decoded and decides for itself.
"""

from typing import Protocol

import msgspec

from gateway.errors import WorkerError
from gateway.upstream.sse import FrameSplitter, data_of
from gateway.values import Usage
from gateway.wire.replies import NULL, ChunkView, usage_body

DONE_FRAME = b"data: [DONE]\n\n"
_CHUNK = msgspec.json.Decoder(ChunkView)
_ENCODER = msgspec.json.Encoder()


class ChunkEditor(Protocol):
    """Rewrites the JSON of each chunk of one stream; may hold text back and give it out with a later chunk."""

    def edit(self, data: bytes) -> list[bytes]:
        """Return the chunks to send in place of this one."""
        ...

    def finish(self) -> list[bytes]:
        """Return what was held back when the stream ends."""
        ...


class StreamRelay:
    """Decides for each piece of a worker's stream what leaves now.

    `rename` replaces the engine's name of the model by the configured one in chunks that pass as bytes. After `feed`,
    `done` or `failure` may be set; nothing more may be fed then.
    """

    def __init__(
        self, *, show_usage: bool, rename: tuple[bytes, bytes] | None = None, editor: ChunkEditor | None = None
    ) -> None:
        self.usage: Usage | None = None
        self.done = False
        self.failure: WorkerError | None = None
        self.cause = ""
        """What the worker said, for the log."""
        self.frames = 0
        self._show_usage = show_usage
        self._rename = rename
        self._editor = editor
        self._splitter = FrameSplitter()
        self._untouched = not show_usage and editor is None

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; return the bytes for the client, maybe none."""
        if (
            self._untouched
            and self._splitter.empty
            and data.endswith(b"}\n\n")
            and data.startswith(b"data: {")
            and b'"usage"' not in data
            and b'"error"' not in data
            and b"[DONE]" not in data
            and b"\r" not in data
        ):
            self.frames += data.count(b"\n\n")
            return data if self._rename is None else data.replace(*self._rename)
        out: list[bytes] = []
        for frame in self._splitter.feed(data):
            self._take(frame, out)
            if self.done or self.failure is not None:
                break
        return b"".join(out)

    def _take(self, frame: bytes, out: list[bytes]) -> None:
        data = data_of(frame)
        if data is None:
            return
        if data == b"[DONE]":
            self.done = True
            if self._editor is not None:
                out.extend(b"data: " + chunk + b"\n\n" for chunk in self._editor.finish())
            return
        try:
            view = _CHUNK.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._fail("a frame that is not a JSON chunk")
            return
        if view.error != NULL:
            self._fail(f"an error in its stream: {bytes(view.error)[:500].decode(errors='replace')}")
        elif view.choices is None:
            self._fail("a frame without choices")
        elif view.usage and not view.choices:
            self.usage = view.usage.to_usage()
            if self._show_usage:
                out.append(b"data: " + self._named(_usage_chunk(data, self.usage)) + b"\n\n")
        else:
            self.frames += 1
            if view.usage:
                self.usage = view.usage.to_usage()
            chunks = [data] if self._editor is None else self._editor.edit(data)
            if self._show_usage and view.usage is msgspec.UNSET:
                chunks = [_with_null_usage(chunk) for chunk in chunks]
            out.extend(b"data: " + self._named(chunk) + b"\n\n" for chunk in chunks)

    def _named(self, data: bytes) -> bytes:
        return data if self._rename is None else data.replace(*self._rename)

    def _fail(self, cause: str) -> None:
        self.cause = f"the worker sent {cause}"
        self.failure = WorkerError("The model's worker failed while it was answering. Please retry.")


def _usage_chunk(data: bytes, usage: Usage) -> bytes:
    """Return the usage chunk with numbers where vLLM leaves null."""
    chunk = msgspec.json.decode(data)
    chunk["usage"] = usage_body(usage)
    return _ENCODER.encode(chunk)


def _with_null_usage(chunk: bytes) -> bytes:
    """Add `"usage":null`, which OpenAI sends on every chunk but the last when usage was asked for."""
    return chunk.rstrip()[:-1] + b',"usage":null}'


def rename_pair(served_name: str, name: str) -> tuple[bytes, bytes] | None:
    """Return the bytes to look for in a passed chunk and their replacement; None if the names are the same."""
    if served_name == name:
        return None
    return b'"model":' + _ENCODER.encode(served_name), b'"model":' + _ENCODER.encode(name)
