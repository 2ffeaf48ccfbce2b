"""What the pipeline needs of whoever answers a request: a vLLM worker, or a provider that stands in for one."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from gateway.values import RequestId

Sink = Callable[[bytes], bool]
"""Takes body bytes; False: no more at the moment."""


class Reply(Protocol):
    """An answer: status and headers are in, the body is read by chunk.

    Use it as a context manager: leaving it early aborts the request.
    """

    @property
    def status(self) -> int:
        """Of HTTP."""
        ...

    @property
    def exhausted(self) -> bool:
        """Whether the whole body has come and been taken."""
        ...

    async def next_chunk(self, silence_s: float | None = None) -> bytes | None:
        """Return body bytes, b"" at the end, None after `silence_s` of silence. Raises an `UpstreamFailure`."""
        ...

    async def forward(self, sink: Sink, silence_s: float) -> bool:
        """Pass body bytes to `sink` until it returns False or the body ends; False after `silence_s` of silence.

        Raises an `UpstreamFailure`.
        """
        ...

    async def read(self, max_bytes: int = ...) -> bytes:
        """Return the whole body. Raises an `UpstreamFailure`, ProtocolViolation above `max_bytes`."""
        ...

    def close(self) -> None:
        """End the exchange, and abort the request if the answer isn't complete."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Heartbeat(Protocol):
    """Tells a waiting client that its request still lives."""

    @property
    def interval_s(self) -> float:
        """Seconds of silence between two beats."""
        ...

    async def beat(self) -> None:
        """Send a sign of life."""
        ...


class InferenceClient(Protocol):
    """Sends requests."""

    async def post(
        self, path: str, body: bytes, *, request_id: RequestId, deadline: float, heartbeat: Heartbeat | None = None
    ) -> Reply:
        """Send a JSON body to one of vLLM's paths and wait until the answer begins, calling `heartbeat` meanwhile.

        It has begun with its head, a good one with the first bytes of its body.

        `deadline` is a time of the event loop's clock. Raises an `UpstreamFailure`.
        """
        ...

    def give_up_waiting(self) -> None:
        """Let those who wait for an answer's first byte fail: whoever answers hangs."""
        ...

    def close(self) -> None:
        """Begin nothing more; exchanges under way go on."""
        ...
