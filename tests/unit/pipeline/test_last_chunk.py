"""What a stream waits for behind `[DONE]`, where the client's next request waits with it."""

import asyncio
from dataclasses import dataclass, field

from gateway.pipeline.deliver import drain_transfer


@dataclass
class Transfer:
    """A worker's transfer: what each read finds; None is silence for as long as asked."""

    reads: list[bytes | None]
    waited_s: list[float] = field(default_factory=list[float])

    async def next_chunk(self, silence_s: float | None = None) -> bytes | None:
        """One read, with the time that the caller grants it."""
        assert silence_s is not None
        self.waited_s.append(silence_s)
        return self.reads.pop(0)


def test_a_transfer_that_ends_is_read_to_its_end() -> None:
    """So that its connection can be used again."""
    transfer = Transfer([b"\n", b"", b"never read"])
    asyncio.run(drain_transfer(transfer))
    assert transfer.reads == [b"never read"]


def test_silence_is_waited_for_once_and_hardly_at_all() -> None:
    """A worker that doesn't end its transfer must not hold the next request of the client's connection."""
    transfer = Transfer([None, b"never read"])
    asyncio.run(drain_transfer(transfer))
    assert transfer.reads == [b"never read"]
    assert sum(transfer.waited_s) <= 0.05


def test_a_worker_that_goes_on_talking_is_not_listened_to() -> None:
    """Each read is granted the same short time, and there are few of them."""
    transfer = Transfer([b"x"] * 100)
    asyncio.run(drain_transfer(transfer))
    assert sum(transfer.waited_s) < 0.3
