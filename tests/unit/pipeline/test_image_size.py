"""How large an image is, from its header."""

import base64
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.image_size import MAX_SEGMENTS, image_size


def url(data: bytes, kind: str = "png") -> str:
    """The data URL of a file."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(40)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(3)


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF" + bytes(4) + b"WEBP" + kind + bytes(4) + body


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(9))


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(9))


def extended(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + bytes(9))


def jpeg(width: int, height: int, *segments: int, marker: int = 0xC0, fill: int = 0) -> bytes:
    """`segments`: lengths of those before the frame header; `fill` bytes stand before each marker."""
    before = b"".join(b"\xff" * fill + b"\xff\xe1" + struct.pack(">H", size) + bytes(size - 2) for size in segments)
    frame = b"\xff" * fill + bytes((0xFF, marker)) + struct.pack(">HBHHB", 17, 8, height, width, 3)
    return b"\xff\xd8" + before + frame + bytes(9)


SIZES = [(1, 1), (896, 641), (16_383, 3)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [png, gif, lossy, lossless, extended, jpeg])
def test_each_format_tells_its_size(make: object, size: tuple[int, int]) -> None:
    """Width first."""
    assert callable(make)
    assert image_size(url(make(*size))) == size


@pytest.mark.parametrize("segments", [(2,), (3,), (4,), (65_535,), (65_535, 65_535, 12), (17,) * (MAX_SEGMENTS - 1)])
@pytest.mark.parametrize("marker", [0xC1, 0xC2, 0xCF])
def test_a_jpeg_is_read_past_what_comes_first(segments: tuple[int, ...], marker: int) -> None:
    """Profiles, previews and comments of any length, also progressive ones."""
    assert image_size(url(jpeg(4_000, 3_000, *segments, marker=marker))) == (4_000, 3_000)
    if len(segments) < 4:
        assert image_size(url(jpeg(40, 30, *segments, marker=marker, fill=2))) == (40, 30)


def test_only_a_few_bytes_are_decoded() -> None:
    """An image of megabytes costs what its header costs."""
    large = url(jpeg(4_000, 3_000) + bytes(30_000_000))
    tracemalloc.start()
    try:
        assert image_size(large) == (4_000, 3_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data:",
        "data:image/png;base64,",
        "data:image/png;base64",
        "data:image/png,iVBORw0KGgo",
        "https://example.com/a.png",
        "https://example.com/;base64," + base64.b64encode(png(9, 9)).decode(),
        "data:" + "x" * 200 + ";base64," + base64.b64encode(png(9, 9)).decode(),
        url(bytes(64)),
        url(png(9, 9)[:20]),
        url(gif(9, 9)[:9]),
        url(jpeg(9, 9)[:8], "jpeg"),
        url(jpeg(9, 9, 0xFFFF)[:400], "jpeg"),
        url(jpeg(9, 9, *(4,) * MAX_SEGMENTS), "jpeg"),
        url(b"\xff\xd8" + bytes(40), "jpeg"),
        url(webp(b"VP8X", b"")),
        url(webp(b"VP8L", bytes(20))),
        url(webp(b"VP8 ", bytes(20))),
        url(webp(b"ALPH", bytes(20))),
        "data:image/png;base64,iVBORw0K\nGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==",
        "data:image/png;base64,\u20ac" + "A" * 80,
    ],
)
def test_what_cannot_be_read_is_left_to_the_engine(text: str) -> None:
    """Not a data URL, not base64, cut off, of another format, or with more before its size than anybody writes."""
    assert image_size(text) is None


def test_the_case_of_the_scheme_does_not_matter() -> None:
    """`DATA:` is `data:` (RFC 2397, 3986)."""
    assert image_size(url(png(7, 8)).replace("data:", "DATA:").replace(";base64", ";BASE64")) == (7, 8)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8", b"RIFF....WEBP", b"\x89PNG\r\n\x1a\n", b"GIF89a"]))
def test_nothing_raises(data: bytes, start: bytes) -> None:
    """Whatever the bytes are."""
    size = image_size(url(start + data))
    assert size is None or all(number >= 0 for number in size)
