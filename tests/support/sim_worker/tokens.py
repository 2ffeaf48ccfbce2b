"""A stateless tokeniser: three bytes of UTF-8 are one token, each of Gemma's turn markers one, and ids decode again."""

import re

BOS, EOS, START_OF_TURN, END_OF_TURN = 2, 1, 105, 106
_MARKERS = {"<bos>": BOS, "<eos>": EOS, "<start_of_turn>": START_OF_TURN, "<end_of_turn>": END_OF_TURN}
_TEXT_OF_MARKER = {number: text for text, number in _MARKERS.items()}
_MARKER = re.compile("(" + "|".join(map(re.escape, _MARKERS)) + ")")
_WIDTH = 3
_FIRST_ID = 256
_PIECE = re.compile(r"\s?[^\s]{1,5}|\s")


def encode(text: str, *, add_bos: bool = False) -> list[int]:
    """Ids of `text`; the id says how many bytes it holds, so decoding needs no table."""
    ids = [BOS] if add_bos else []
    for part in _MARKER.split(text):
        if part in _MARKERS:
            ids.append(_MARKERS[part])
            continue
        data = part.encode("utf-8", errors="replace")
        for start in range(0, len(data), _WIDTH):
            group = data[start : start + _WIDTH]
            ids.append(_FIRST_ID + int.from_bytes(b"\x01" + group, "big"))
    return ids


def decode(ids: list[int]) -> str:
    """The text of `ids`; an id this tokeniser never made reads as U+FFFD."""
    parts: list[bytes] = []
    for number in ids:
        if number in _TEXT_OF_MARKER:
            parts.append(_TEXT_OF_MARKER[number].encode())
            continue
        value = number - _FIRST_ID
        raw = value.to_bytes(8, "big").lstrip(b"\0") if 0 < value < 1 << 32 else b""
        parts.append(raw[1:] if raw[:1] == b"\x01" else "\ufffd".encode())
    return b"".join(parts).decode("utf-8", errors="replace")


def split_text(text: str) -> list[str]:
    """`text` as the pieces a model would say one at a time."""
    return _PIECE.findall(text)
