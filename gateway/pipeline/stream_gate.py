"""Streams that a classifier judges while they are written.

What the rules let go waits here, whole frames of it, until a window's worth of new text has gathered or has waited long
enough. The classifier is asked about that text and as much of what went before, while the worker goes on writing and
further windows fill. Windows leave in order, each with its verdict; the first that is a violation ends the stream.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from gateway.filters.judging import Classifier
from gateway.pipeline.screening_reply import OutputScreening, ScreenedEditor

MAX_HELD_BYTES: Final = 1_048_576
"""Of frames that wait: from then on the worker isn't read."""


class _Window(Struct):
    """Frames that leave together."""

    task: asyncio.Task[bool]
    """Whether they are a violation."""
    data: bytes
    ended: frozenset[int]
    """Choices that have ended by then."""


class StreamGate:
    """Holds the frames of one stream until they are judged. `add` and `close` are called while `run` runs."""

    def __init__(self, screening: OutputScreening, editor: ScreenedEditor, classifier: Classifier | None) -> None:
        self._screening: Final = screening
        self._editor: Final = editor
        self._classifier: Final = classifier
        self._limits: Final = screening.policy.stream
        self._frames: list[bytes] = []
        self._fresh: dict[int, str] = {}
        """New text of each choice."""
        self._before: dict[int, str] = {}
        """The end of what was judged."""
        self._windows: deque[_Window] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._held_bytes = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    @property
    def full(self) -> bool:
        """Whether no more should come before `room`."""
        return self._held_bytes > MAX_HELD_BYTES

    async def room(self) -> None:
        """Wait until there is room."""
        await self._room.wait()

    def add(self, frames: bytes) -> None:
        """Take frames that the editor has just made."""
        self._frames.append(frames)
        self._held_bytes += len(frames)
        if self.full:
            self._room.clear()
        for index, text in self._editor.take_said():
            self._fresh[index] = self._fresh.get(index, "") + text
        chars = sum(map(len, self._fresh.values()))
        if chars >= self._limits.window_chars or not (chars or self._windows):
            self._seal()
        elif chars and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limits.window_s, self._seal)

    def close(self) -> None:
        """Let what is left be judged: nothing more comes."""
        self._seal()
        self._closed = True
        self._changed.set()

    async def run(self, send: Callable[[bytes], Awaitable[None]]) -> bytes:
        """Send what is cleared; return, at the end, the frames that end a stream which isn't, or nothing."""
        released: frozenset[int] = frozenset()
        try:
            while True:
                while not self._windows:
                    if self._closed:
                        return b""
                    self._changed.clear()
                    await self._changed.wait()
                window = self._windows[0]
                if await window.task:
                    return b"".join(b"data: %b\n\n" % chunk for chunk in self._editor.end_blocked(released))
                released = window.ended
                self._windows.popleft()
                self._held_bytes -= len(window.data)
                if not self.full:
                    self._room.set()
                await send(window.data)
        finally:
            await self._stop()

    def _seal(self) -> None:
        """Ask about what has gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._frames:
            return
        texts = [self._before.get(index, "") + text for index, text in self._fresh.items()]
        for index, text in zip(self._fresh, texts, strict=True):
            self._before[index] = text[-self._limits.window_chars :]
        self._fresh = {}
        verdict = self._screening.judge(self._classifier, texts, self._limits.window_s)
        task = asyncio.get_running_loop().create_task(verdict, name="judge window")
        self._windows.append(_Window(task, b"".join(self._frames), self._editor.ended))
        self._frames = []
        self._changed.set()

    async def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        tasks = [window.task for window in self._windows]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._screening.close()


def gate_of(
    screening: OutputScreening | None, editor: ScreenedEditor | None, classifier: Classifier | None
) -> StreamGate | None:
    """Return the gate of a stream where the policy asks a classifier about answers."""
    if screening is None or editor is None or not screening.policy.output_checks:
        return None
    return StreamGate(screening, editor, classifier)
