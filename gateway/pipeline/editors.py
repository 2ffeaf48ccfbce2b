"""Rewriting a stream's chunks where the reply's text has to be looked into. No I/O."""

from typing import Any

import msgspec

from gateway.dialects.control_tokens import MarkerRestorer
from gateway.values import Family

_ENCODER = msgspec.json.Encoder()


class MarkerEditor:
    """Gives text back as the client wrote it: undoes, across chunks, what kept its control tokens harmless."""

    def __init__(self, family: Family) -> None:
        self._family: Family = family
        self._restorers: dict[int, MarkerRestorer] = {}

    def edit(self, data: bytes) -> list[bytes]:
        """Return the chunk with its text restored; text that may still turn out to be a marker waits."""
        chunk: dict[str, Any] = msgspec.json.decode(data)
        for choice in chunk["choices"]:
            if not isinstance(choice.get("delta"), dict):
                continue
            delta: dict[str, Any] = choice["delta"]
            restorer = self._restorers.setdefault(choice["index"], MarkerRestorer(self._family))
            for name in ("content", "reasoning", "reasoning_content"):
                if isinstance(delta.get(name), str):
                    delta[name] = restorer.feed(delta[name])
            if choice.get("finish_reason") is not None:
                held = restorer.finish()
                if held:
                    delta["content"] = (delta.get("content") or "") + held
        return [_ENCODER.encode(chunk)]

    def finish(self) -> list[bytes]:
        """Return nothing: what was held went out with the choice's last chunk."""
        return []
