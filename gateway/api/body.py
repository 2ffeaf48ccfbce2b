"""Reading a request's body: bounded in size, packed and unpacked, and in time."""

import asyncio
import zlib

from gateway.api.exchange import Exchange
from gateway.errors import BodyTimeout, InvalidRequest, RequestTooLarge

BODY_TIMEOUT_S = 60.0
"""For the whole body: 32 MB in this time is a slow line, not a stalled one."""
INLINE_BYTES = 65_536
"""Packed bodies above this are unpacked in a thread: the event loop serves others meanwhile."""


async def read_body(exchange: Exchange, max_bytes: int, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
    """Return the whole body of a request, unpacked.

    Raises RequestTooLarge (before reading where `content-length` says so), BodyTimeout, InvalidRequest for an
    encoding that isn't gzip, and ClientGoneError.
    """
    length, encoding = None, b""
    for name, value in exchange.headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"content-encoding":
            encoding = value.strip().lower()
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)
    if exchange.body_complete:
        body = exchange.take_body()
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    else:
        body = await _receive(exchange, max_bytes, timeout_s)
    if encoding in (b"", b"identity"):
        return body
    if encoding not in (b"gzip", b"x-gzip"):
        message = "Unsupported content-encoding: send the body as it is, or with gzip."
        raise InvalidRequest(message)
    if len(body) <= INLINE_BYTES and max_bytes <= INLINE_BYTES:
        return unpack_gzip(body, max_bytes)
    return await asyncio.to_thread(unpack_gzip, body, max_bytes)


async def _receive(exchange: Exchange, max_bytes: int, timeout_s: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while piece := await exchange.next_piece():
                size += len(piece)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                pieces.append(piece)
    except TimeoutError:
        message = "The request body did not arrive in time."
        raise BodyTimeout(message) from None
    return b"".join(pieces)


def unpack_gzip(data: bytes, max_bytes: int) -> bytes:
    """Return the unpacked body; never unpacks more than `max_bytes`. Raises RequestTooLarge or InvalidRequest."""
    body = bytearray()
    while data:  # gzip may come in several members
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            body += unpacker.decompress(data, max_bytes + 1 - len(body))
        except zlib.error:
            message = "The request body is not valid gzip."
            raise InvalidRequest(message) from None
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        if not unpacker.eof:
            message = "The request body's gzip data is cut off."
            raise InvalidRequest(message)
        data = unpacker.unused_data
    return bytes(body)


def _too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request body is over this gateway's limit of {max_bytes:,} bytes.")
