"""Consistent hashing: which worker a conversation belongs to, the same on every gateway, without shared state. Pure.

Each worker has points on a ring, as many as its weight asks for; a key belongs to the first point behind it. A worker
that joins or leaves moves only the keys of its own points.
"""

from bisect import bisect_left
from collections.abc import Sequence
from hashlib import shake_128
from typing import Final
from zlib import crc32

POINTS: Final = 64
"""Of a worker of weight 1."""
MAX_POINTS: Final = 1_024
_SLOT_BITS: Final = 16
_KEY_BYTES: Final = 6
_SPREAD: Final = 0x9E3779B97F4A7C15
"""2**64 by the golden ratio, odd: brings near numbers far apart."""


def ring_key(text: str) -> int:
    """Return the key of a text, the same on every gateway.

    A checksum is enough, at a third of a hash's cost: who makes two texts collide only has them served by one worker.
    """
    return (crc32(text.encode("utf-8", "surrogatepass")) * _SPREAD >> 16) & ((1 << 8 * _KEY_BYTES) - 1)


class HashRing:
    """The ring of a set of workers, each known by its slot."""

    __slots__ = ("_points", "slots")

    def __init__(self, members: Sequence[tuple[str, float]]) -> None:
        """`members`: id and weight of each worker, in the order of their slots."""
        points: list[int] = []
        for slot, (name, weight) in enumerate(members):
            count = max(1, min(MAX_POINTS, round(POINTS * weight)))
            stream = shake_128(name.encode()).digest(count * _KEY_BYTES)
            points.extend(
                int.from_bytes(stream[at : at + _KEY_BYTES], "big") << _SLOT_BITS | slot
                for at in range(0, len(stream), _KEY_BYTES)
            )
        points.sort()
        self._points = points
        self.slots = [point & ((1 << _SLOT_BITS) - 1) for point in points]

    def start(self, key: int) -> int:
        """Return where in `slots` the key's own is; behind the last comes the first."""
        start = bisect_left(self._points, key << _SLOT_BITS)
        return start if start < len(self._points) else 0
