"""How many pixels an image in a data URL unfolds to, from its header alone. Pure.

A few bytes of it are decoded, wherever the format has them, never the image: a picture of a few kilobytes may unfold to
gigabytes. What can't be read is left to the engine. Sources: PNG 11.2.2, GIF89a 18, RFC 9649 (WebP), ITU-T T.81 B.2.
"""

import base64
import binascii
from typing import Final

MAX_SEGMENTS: Final = 64
"""Of a JPEG, before its frame header."""
_HEAD_BYTES: Final = 30
_SOF: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of frame headers."""
_MAX_URL_HEAD: Final = 128


def image_size(url: str) -> tuple[int, int] | None:
    """Return width and height of the image in a `data:` URL; None for other URLs and what can't be read."""
    start = url.find(",", 0, _MAX_URL_HEAD) + 1
    if not start or url[:5].lower() != "data:" or not url[:start].lower().endswith(";base64,"):
        return None
    head = _decode(url, start, 0, _HEAD_BYTES)
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and len(head) == _HEAD_BYTES:
        return _webp_size(head)
    return _jpeg_size(url, start) if head.startswith(b"\xff\xd8") else None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def _jpeg_size(url: str, start: int) -> tuple[int, int] | None:
    """Go from segment to segment, by their lengths, to the frame header."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        segment = _decode(url, start, at, 9)
        if len(segment) < 9 or segment[0] != 0xFF:
            return None
        if segment[1] in _SOF:
            return int.from_bytes(segment[7:9], "big"), int.from_bytes(segment[5:7], "big")
        at += 1 if segment[1] == 0xFF else 2 + int.from_bytes(segment[2:4], "big")
    return None


def _decode(url: str, start: int, at: int, count: int) -> bytes:
    """Return `count` bytes, from the byte `at` on, of what begins at `start` in base64; fewer where it ends."""
    first = start + at // 3 * 4
    try:
        piece = base64.b64decode(url[first : first + (count // 3 + 2) * 4], validate=True)
    except (binascii.Error, ValueError):
        return b""
    return piece[at % 3 : at % 3 + count]
