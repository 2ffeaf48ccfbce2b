"""What a worker's `/v1/models` lists (vLLM 0.32): the served model, its other names, and LoRA adapters. No I/O."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct


class ServedEntry(Struct):
    """A name that can be asked for."""

    id: str
    max_model_len: int | None = None
    parent: str | None = None
    """The base model of a LoRA adapter, which has no length of its own."""
    root: str | None = None
    """Of an adapter: the path it was loaded from."""


class _Served(Struct):
    data: list[ServedEntry]


_DECODER = msgspec.json.Decoder(_Served)


def read_served(body: bytes) -> list[ServedEntry]:
    """Return the entries of an answer. Raises msgspec.DecodeError and UnicodeDecodeError."""
    return _DECODER.decode(body).data


def adapters_of(entries: Iterable[ServedEntry]) -> dict[str, str | None]:
    """Return the adapters among the entries, and where each was loaded from."""
    return {entry.id: entry.root for entry in entries if entry.parent is not None}
