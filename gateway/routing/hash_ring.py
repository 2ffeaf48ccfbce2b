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
_POINT_BYTES: Final = 4


def ring_key(text: str) -> int:
    """Return the key of a text, 32 bits, the same on every gateway.

    A checksum is enough, at a third of a hash's cost: who makes two texts collide only has them served by one worker.
    """
    return crc32(text.encode("utf-8", "surrogatepass"))


class HashRing:
    """The ring of a set of workers, each known by its slot."""

    __slots__ = ("points", "slots")

    def __init__(self, members: Sequence[tuple[str, float]]) -> None:
        """`members`: id and weight of each worker, in the order of their slots."""
        points: list[tuple[int, str, int]] = []
        for slot, (name, weight) in enumerate(members):
            count = max(1, min(MAX_POINTS, round(POINTS * weight)))
            stream = shake_128(name.encode()).digest(count * _POINT_BYTES)
            points.extend(
                (int.from_bytes(stream[at : at + _POINT_BYTES], "big"), name, slot)
                for at in range(0, len(stream), _POINT_BYTES)
            )
        points.sort()
        self.points = [point for point, _, _ in points]
        self.slots = [slot for _, _, slot in points]

    def start(self, key: int) -> int:
        """Return where in `slots` the key's own is, counted from the end: from there on indexes go once around."""
        return bisect_left(self.points, key) - len(self.points)
