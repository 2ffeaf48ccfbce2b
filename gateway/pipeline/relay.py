"""A worker's stream on its way to the client: what passes, what is changed, what ends it. No I/O.

Most chunks pass as the bytes they came as. The relay looks only for what it must: the usage chunk (always asked for,
shown only to clients that asked), an error in the stream, its end. JSON escapes quotes inside strings, so the bytes
`"usage"` with their quotes can only be a key or a whole string, never a part of what the model wrote; where they are
found, the frame is decoded and decides for itself.
"""

import re
from typing import Protocol

import msgspec

from gateway.errors import WorkerError
from gateway.pipeline.frame_form import FrameForm
from gateway.upstream.sse import FrameSplitter, data_of
from gateway.values import Usage
from gateway.wire.replies import NULL, ChunkView, usage_body

DONE_FRAME = b"data: [DONE]\n\n"
MAX_FORMS = 8
"""That are learned of one stream: its frames have one or two, or each its own (log-probabilities)."""
_CHUNK = msgspec.json.Decoder(ChunkView)
_ENCODER = msgspec.json.Encoder()
_TEXT_CHUNK = re.compile(
    rb'"choices":\[\{"index":0,"delta":\{"content":"([^"\\\x00-\x1f]*)"\},"logprobs":null,"finish_reason":null'
    rb'(?:,"(?:token_ids|stop_reason)":null)*\}\]'
)
"""What vLLM writes for a piece of text without escapes, log probabilities or end."""


class ChunkEditor(Protocol):
    """Rewrites the JSON of each chunk of one stream; may hold text back and give it out with a later chunk."""

    failure: WorkerError | None
    """Set when the reply is not what the request demands."""

    @property
    def stopped(self) -> bool:
        """Whether the client has all it asked for: the worker may be aborted."""
        ...

    @property
    def idle(self) -> bool:
        """Whether frames of plain text, for now, may leave like the one before without being shown to the editor."""
        ...

    def pass_on(self, frame: bytes) -> bytes | None:
        """Take a frame with a single chunk that may go to the client as it came; return the frames to send now.

        None: it wasn't taken, it has to be edited.
        """
        ...

    def edit(self, data: bytes) -> list[bytes]:
        """Return the chunks to send in place of this one."""
        ...

    def edit_text(self, text: str) -> list[bytes] | None:
        """Do the same for a chunk that has this text for its only choice and nothing else; None: `edit` it."""
        ...

    def finish(self) -> list[bytes]:
        """Return what was held back when the stream ends."""
        ...

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return the chunk that tells the usage."""
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
        self.cut = False
        """The stream is done before the worker is: abort it."""
        self._form: FrameForm | None = None
        self._forms_left = MAX_FORMS
        self._known_form: FrameForm | None = None
        """`_form`, while frames of this form leave without a look into them."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; return the bytes for the client, maybe none."""
        form = self._known_form
        if form is not None and (shown := form.shown(data)) is not None:
            self.frames += 1
            return shown
        out = self._read(data)
        self._known_form = self._form_behind(data, out)
        return out

    def _form_behind(self, came: bytes, left: bytes) -> FrameForm | None:
        """Return the form of frames that need no look now; None while anything is held or undecided."""
        if not self._splitter.empty or (self._editor is not None and not self._editor.idle):
            return None
        if self._forms_left and (found := FrameForm.of(came, left)) is not None:
            self._forms_left -= 1
            self._form = found
        return self._form

    def _read(self, data: bytes) -> bytes:
        tried = False
        if (
            not self._show_usage
            and self._splitter.empty
            and data.endswith(b"}\n\n")
            and data.startswith(b"data: {")
            # `find`, because `in` first tries the needle as a number: five times the cost
            and data.find(b'"usage"') < 0
            and data.find(b'"error"') < 0
            and data.find(b"[DONE]") < 0
            and data.find(b"\r") < 0
        ):
            frames = data.count(b"\n\n")
            editor = self._editor
            if editor is None:
                self.frames += frames
                return self._named(data)
            if frames == 1:
                tried = True
                passed = editor.pass_on(data)
                if passed is not None:
                    self.frames += 1
                    return self._named(passed)
                text = _text_of(data)
                if text is not None and (chunks := editor.edit_text(text)) is not None:
                    self.frames += 1
                    return self._take_edited(editor, chunks)
        out: list[bytes] = []
        for frame in self._splitter.feed(data):
            self._take(frame, out, tried=tried)
            if self.done or self.failure is not None:
                break
        return b"".join(out)

    def _take_edited(self, editor: ChunkEditor, chunks: list[bytes]) -> bytes:
        out: list[bytes] = []
        self._add_edited(chunks, out)
        self._look_at(editor, out)
        return b"".join(out)

    def _take(self, frame: bytes, out: list[bytes], *, tried: bool) -> None:
        """`tried`: the editor has refused to pass the frame on."""
        data = data_of(frame)
        if data is None:
            return
        if data == b"[DONE]":
            self._end(out)
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
            if self._show_usage and self._editor is None:
                _add_frame(out, self._named(_usage_chunk(data, self.usage)))
        else:
            self.frames += 1
            if view.usage:
                self.usage = view.usage.to_usage()
            if self._editor is not None:
                self._edit(self._editor, data, out, passes=not (tried or view.usage))
            else:
                shown = _with_null_usage(data) if self._show_usage and view.usage is msgspec.UNSET else data
                _add_frame(out, self._named(shown))

    def _edit(self, editor: ChunkEditor, data: bytes, out: list[bytes], *, passes: bool) -> None:
        """`passes`: the chunk may pass as it is, if the editor will."""
        passed = editor.pass_on(b"data: %b\n\n" % data) if passes else None
        if passed is not None:
            out.append(self._named(_with_null_usages(passed) if self._show_usage else passed))
            return
        try:
            self._add_edited(editor.edit(data), out)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._fail("a chunk of another shape than OpenAI's")
            return
        self._look_at(editor, out)

    def _look_at(self, editor: ChunkEditor, out: list[bytes]) -> None:
        """See whether the editor wants more."""
        self.failure = editor.failure
        if editor.stopped:
            self.cut = True
            self._end(out)

    def _end(self, out: list[bytes]) -> None:
        if not self.frames:  # an editor would make an answer of nothing
            self._fail("the end of a stream before its beginning")
            return
        editor = self._editor
        if editor is not None:
            self._add_edited(editor.finish(), out)
            self.failure = editor.failure
            if self._show_usage and self.usage is not None and self.failure is None:
                _add_frame(out, editor.usage_chunk(self.usage))
        self.done = self.failure is None

    def _add_edited(self, chunks: list[bytes], out: list[bytes]) -> None:
        for chunk in chunks:
            _add_frame(out, _with_null_usage(chunk) if self._show_usage else chunk)

    def _named(self, data: bytes) -> bytes:
        return data if self._rename is None else data.replace(*self._rename)

    def _fail(self, cause: str) -> None:
        self.cause = f"the worker sent {cause}"
        self.failure = WorkerError("The model's worker failed while it was answering. Please retry.")


def _text_of(frame: bytes) -> str | None:
    """Return the text of a frame that is nothing but text; None: decode it."""
    found = _TEXT_CHUNK.search(frame)
    if found is None:
        return None
    try:
        return found[1].decode()
    except UnicodeDecodeError:
        return None


def _add_frame(out: list[bytes], chunk: bytes) -> None:
    out.append(b"data: %b\n\n" % chunk)


def _usage_chunk(data: bytes, usage: Usage) -> bytes:
    """Return the usage chunk with numbers where vLLM leaves null."""
    chunk = msgspec.json.decode(data)
    chunk["usage"] = usage_body(usage)
    return _ENCODER.encode(chunk)


def _with_null_usage(chunk: bytes) -> bytes:
    """Add `"usage":null`, which OpenAI sends on every chunk but the last when usage was asked for."""
    return chunk.rstrip()[:-1] + b',"usage":null}'


def _with_null_usages(frames: bytes) -> bytes:
    """Add the same to frames. No string of JSON holds a line's end as it is."""
    return frames.replace(b"}\n\n", b',"usage":null}\n\n')


def rename_pair(served_name: str, name: str) -> tuple[bytes, bytes] | None:
    """Return the bytes to look for in a passed chunk and their replacement; None if the names are the same."""
    if served_name == name:
        return None
    return b'"model":' + _ENCODER.encode(served_name), b'"model":' + _ENCODER.encode(name)
