"""Stateless tokenisers: three bytes of UTF-8 are one token, each of a family's markers one, and ids decode again."""

import re
from collections.abc import Mapping
from typing import Final

BOS, EOS, START_OF_TURN, END_OF_TURN = 2, 1, 105, 106
_TURN_MARKERS = {"<bos>": BOS, "<eos>": EOS, "<start_of_turn>": START_OF_TURN, "<end_of_turn>": END_OF_TURN}
_WIDTH = 3
_FIRST_ID = 256
_PIECE = re.compile(r"\s?[^\s]{1,5}|\s")


class Tokenizer:
    """The tokeniser of one family. Ids are the published ones; families share them, so they don't share tokenisers."""

    def __init__(self, markers: Mapping[str, int]) -> None:
        self.ids: Final = markers
        self.marker: Final = re.compile("(" + "|".join(map(re.escape, markers)) + ")")
        self._texts = {number: text for text, number in markers.items()}

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        """Ids of `text`; the id says how many bytes it holds, so decoding needs no table."""
        ids = [BOS] if add_bos else []
        for part in self.marker.split(text):
            if part in self.ids:
                ids.append(self.ids[part])
                continue
            data = part.encode("utf-8", errors="replace")
            for start in range(0, len(data), _WIDTH):
                group = data[start : start + _WIDTH]
                ids.append(_FIRST_ID + int.from_bytes(b"\x01" + group, "big"))
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`; an id this tokeniser never made reads as U+FFFD."""
        parts: list[bytes] = []
        for number in ids:
            if number in self._texts:
                parts.append(self._texts[number].encode())
                continue
            value = number - _FIRST_ID
            raw = value.to_bytes(8, "big").lstrip(b"\0") if 0 < value < 1 << 32 else b""
            parts.append(raw[1:] if raw[:1] == b"\x01" else "\ufffd".encode())
        return b"".join(parts).decode("utf-8", errors="replace")


GEMMA_3: Final = Tokenizer(_TURN_MARKERS)
FUNCTIONGEMMA: Final = Tokenizer(
    {
        **_TURN_MARKERS,
        "<start_function_declaration>": 46,
        "<end_function_declaration>": 47,
        "<start_function_call>": 48,
        "<end_function_call>": 49,
        "<start_function_response>": 50,
        "<end_function_response>": 51,
        "<escape>": 52,
    }
)
GEMMA_4: Final = Tokenizer(
    {
        "<bos>": BOS,
        "<eos>": EOS,
        "<|tool>": 46,
        "<tool|>": 47,
        "<|tool_call>": 48,
        "<tool_call|>": 49,
        "<|tool_response>": 50,
        "<tool_response|>": 51,
        '<|"|>': 52,
        "<|think|>": 98,
        "<|channel>": 100,
        "<channel|>": 101,
        "<|turn>": 105,
        "<turn|>": 106,
    }
)
encode = GEMMA_3.encode
decode = GEMMA_3.decode


def split_text(text: str) -> list[str]:
    """`text` as the pieces a model would say one at a time."""
    return _PIECE.findall(text)
