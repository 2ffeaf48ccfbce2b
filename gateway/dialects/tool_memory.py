"""What a dialect made of a request's tools, kept for the next request with the same ones.

Clients send the same declarations with every request of a conversation, mostly with every request at all. What becomes
of them (checked, made harmless, written as text, compiled to grammars) depends on their bytes and the guard alone.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec

from gateway.dialects.control_tokens import MarkerGuard
from gateway.wire.chat import ChatRequest

Made = TypeVar("Made")
_MAX_ENTRIES: Final = 512
_MAX_BYTES: Final = 4_194_304
"""Of all remembered declarations together; what is made of them is a few times as large."""
_MAX_ENTRY_BYTES: Final = 262_144
_ENCODER: Final = msgspec.json.Encoder()


class ToolMemory(Generic[Made]):
    """Remembers what `make` returned, which may depend on nothing of a request but what `_said` lists."""

    def __init__(self, make: Callable[[ChatRequest, MarkerGuard], Made]) -> None:
        self._make: Final = make
        self._made: Final[OrderedDict[tuple[bytes, MarkerGuard], Made]] = OrderedDict()
        """The most recently used one last."""
        self._bytes = 0

    def made_of(self, request: ChatRequest, guard: MarkerGuard) -> Made:
        """What `make` returns for this request. Raises what it raises, which is not remembered."""
        key = (_ENCODER.encode(_said(request)), guard)
        found = self._made.get(key)
        if found is not None:
            self._made.move_to_end(key)
            return found
        made = self._make(request, guard)
        if len(key[0]) <= _MAX_ENTRY_BYTES:
            self._remember(key, made)
        return made

    def _remember(self, key: tuple[bytes, MarkerGuard], made: Made) -> None:
        self._made[key] = made
        self._bytes += len(key[0])
        while self._bytes > _MAX_BYTES or len(self._made) > _MAX_ENTRIES:
            (oldest, _), _ = self._made.popitem(last=False)
            self._bytes -= len(oldest)


def _said(request: ChatRequest) -> tuple[object, ...]:
    """All that a request says about tools, and about the form of text beside them."""
    return (
        request.tools,
        request.tool_choice,
        request.parallel_tool_calls,
        request.functions,
        request.function_call,
        request.response_format,
        request.structured_outputs,
    )
