"""Verdicts that were given already, kept for a while under a salted hash of what was judged.

The salt is drawn when the process starts and kept nowhere: an entry can't be tied to a text by anybody who reads the
memory of another process, or a dump without the salt. The texts themselves are not kept. The clock arrives with every
call (seconds, monotonic).
"""

import hashlib
from collections import OrderedDict
from typing import Final, NewType

Fingerprint = NewType("Fingerprint", bytes)
"""Of everything a verdict depends on."""

MAX_ENTRIES: Final = 20_000
"""About 4 MB."""
KEPT_S: Final = 600.0
_DIGEST_BYTES: Final = 16


class VerdictCache:
    """Probabilities by fingerprint; the least recently used goes when there are too many."""

    def __init__(self, salt: bytes, *, max_entries: int = MAX_ENTRIES, kept_s: float = KEPT_S) -> None:
        """`salt`: up to 64 random bytes."""
        self._salt: Final = salt
        self._max_entries: Final = max_entries
        self._kept_s: Final = kept_s
        self._entries: OrderedDict[Fingerprint, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def fingerprint(self, *texts: str) -> Fingerprint:
        """Return the hash of texts; which belongs where matters."""
        state = hashlib.blake2b(digest_size=_DIGEST_BYTES, key=self._salt)
        for text in texts:
            data = text.encode("utf-8", "surrogatepass")
            state.update(len(data).to_bytes(8, "big"))
            state.update(data)
        return Fingerprint(state.digest())

    def digest(self, text: str) -> str:
        """Return the hash of a text that may be large, to stand for it in fingerprints."""
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32, key=self._salt).hexdigest()

    def get(self, fingerprint: Fingerprint, now_s: float) -> float | None:
        """Return the probability that was found, None when it is not known or too old."""
        entry = self._entries.get(fingerprint)
        if entry is None:
            return None
        probability, until = entry
        if now_s >= until:
            del self._entries[fingerprint]
            return None
        self._entries.move_to_end(fingerprint)
        return probability

    def put(self, fingerprint: Fingerprint, probability: float, now_s: float) -> None:
        """Keep a probability from now on."""
        self._entries[fingerprint] = (probability, now_s + self._kept_s)
        self._entries.move_to_end(fingerprint)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
