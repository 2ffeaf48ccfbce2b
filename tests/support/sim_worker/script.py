"""What a test wants the worker to say and how it should break, and which script answers which request."""

import asyncio
from typing import Literal

import msgspec

from .errors import bad_request

FaultKind = Literal[
    "stall_before_headers",  # never answers
    "stall_mid_stream",  # stops after `at_chunk` frames, keeps the connection open
    "cut_before_headers",  # closes without a byte
    "cut_in_headers",  # closes in the middle of the header block
    "cut_in_body",  # a sized body that ends half way
    "cut_mid_stream",  # closes after `at_chunk` frames, without the last zero-length chunk
    "end_without_done",  # a well-formed end of the transfer after `at_chunk` frames, but no [DONE]
    "error_mid_stream",  # after `at_chunk` frames an error event, then [DONE], as vLLM does
    "error_first",  # the error event is the first frame of a 200 stream
    "status",  # answers `status` with vLLM's error shape
    "raw_body",  # answers `status` with `body` as it is, `content_type` included
    "garbage",  # bytes that are no HTTP
    "garbage_frame",  # after `at_chunk` frames a data frame that is not JSON, then the rest
    "huge_headers",  # `size_bytes` of header
    "long_content_length",  # promises more bytes than it sends, then closes
    "short_content_length",  # sends more bytes than promised on the same connection
    "big_body",  # a valid reply whose text has `size_bytes`
    "chunked_body",  # a valid reply without content-length, in chunks of `size_bytes`
    "linger_after_done",  # says all there is to say, but never ends the transfer
    "extra_bytes",  # bytes after a complete reply, on the kept connection
    "close_after_reply",  # closes the kept connection without having announced it
    "stale_connection",  # closes, without a byte, when a connection is used a second time
    "slow_drip",  # the whole reply, headers too, one byte at a time, `delay_s` between bytes
]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to break; which fields count depends on `kind`."""

    kind: FaultKind
    at_chunk: int = 1
    """Frames of text sent before it breaks (the role frame comes on top)."""
    status: int = 500
    message: str = "Internal server error"
    type: str = "InternalServerError"
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    size_bytes: int = 65_536
    delay_s: float = 0.001
    reset: bool = False
    """Cuts send RST instead of FIN."""


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to answer one request. Without text the worker echoes the last user message."""

    text: str | None = None
    chunks: tuple[str, ...] | None = None
    """The pieces of the text, one token and one frame each; wins over `text`."""
    others: tuple[str, ...] = ()
    """What the further choices of one request say in place of `text`; those that are not named say `text`, too."""
    whole_turn: bool = False
    """`text` is all of the model's turn: what the prompt has of its beginning is not said again."""
    repeat: int = 1
    """The pieces are said this many times over: 50,000 x 1,000 characters make a 50 MB stream."""
    first_delay_s: float = 0.0
    """Before the response headers, as prefill is."""
    delay_s: float = 0.0
    """Before every further piece."""
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    prompt_tokens: int | None = None
    """Overrides the counted prompt."""
    token_logprobs: dict[str, float] | None = None
    """What `logprob_token_ids` finds, by the token's text; a token that isn't named is left out of the answer. None: a
    `No`, which is what a classifier says of most texts."""
    meet: int = 1
    """It answers only when this many of its requests are there at once."""
    fault: Fault | None = None

    times: int | None = 1
    """Requests this script answers; None is all that match, for ever."""
    contains: str | None = None
    """Only requests whose last user message or prompt contains this."""
    path: str | None = None
    """Only this path; None is every generating endpoint (/v1/…, by POST)."""


class ScriptBook:
    """The scripts waiting for requests; the first that matches answers, and is used up after `times` answers."""

    def __init__(self) -> None:
        self._entries: list[tuple[Script, int | None]] = []
        self._meetings: dict[int, asyncio.Barrier] = {}

    def add(self, script: Script) -> None:
        self._entries.append((script, script.times))

    def clear(self) -> None:
        self._entries.clear()
        self._meetings.clear()

    async def meet(self, script: Script) -> None:
        """Returns when as many requests of this script as it wants are there."""
        if script.meet > 1:
            await self._meetings.setdefault(id(script), asyncio.Barrier(script.meet)).wait()

    def take(self, path: str, prompt: str) -> Script:
        """The script for this request, counted as used; the echoing default when none matches."""
        for index, (script, left) in enumerate(self._entries):
            if not _matches(script, path, prompt):
                continue
            if left is not None:
                if left <= 1:
                    del self._entries[index]
                else:
                    self._entries[index] = (script, left - 1)
            return script
        return _inline_script(prompt) or Script()


INLINE_PREFIX = "/sim "


def _inline_script(prompt: str) -> Script | None:
    """A script written into the prompt itself as ``/sim {json}``, for tests that can't reach the worker."""
    if not prompt.startswith(INLINE_PREFIX):
        return None
    try:
        return msgspec.json.decode(prompt.removeprefix(INLINE_PREFIX), type=Script)
    except msgspec.DecodeError as exc:
        raise bad_request(f"not a script: {exc}") from exc


def _matches(script: Script, path: str, prompt: str) -> bool:
    if script.path is None:
        if not path.startswith("/v1/") or path == "/v1/models":
            return False
    elif script.path != path:
        return False
    return script.contains is None or script.contains in prompt
