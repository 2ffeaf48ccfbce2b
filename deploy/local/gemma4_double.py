"""A stand-in for Gemma 4 on the wire: the weights of Gemma 3 270M behind Gemma 4's markers.

Gemma 3's vocabulary has `<unusedN>` tokens at the ids where Gemma 4 has its markers. Renaming them, with Gemma 4's stop
tokens and a Gemma 4 chat template, gives an engine whose tokeniser, special tokens, template, prefill and structured
output behave as Gemma 4's do, at 270M parameters. What it says means nothing.
"""

import json
import shutil
from pathlib import Path
from typing import TypedDict

# Ids of Gemma 4's vocabulary, as llama.cpp's Gemma 4 vocabulary file has them.
MARKERS: dict[int, str] = {
    46: "<|tool>",
    47: "<tool|>",
    48: "<|tool_call>",
    49: "<tool_call|>",
    50: "<|tool_response>",
    51: "<tool_response|>",
    52: '<|"|>',
    98: "<|think|>",
    100: "<|channel>",
    101: "<channel|>",
    105: "<|turn>",
    106: "<turn|>",
    255999: "<|image>",
    256000: "<|audio>",
    258880: "<|image|>",
    258881: "<|audio|>",
    258882: "<image|>",
    258883: "<audio|>",
    258884: "<|video|>",
}
STOP_TOKENS = [1, 106, 50]


def build(source: Path, target: Path) -> None:
    """Write the double of the Gemma 3 checkpoint `source` to `target`; the weights are linked, not copied."""
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for file in source.iterdir():
        if file.suffix == ".safetensors":
            (partial / file.name).hardlink_to(file)
        else:
            shutil.copy(file, partial)
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    _rename_tokens(tokenizer)
    (partial / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    for name in ("config.json", "generation_config.json"):
        _set_stop_tokens(partial / name)
    partial.rename(target)


class _AddedToken(TypedDict):
    id: int
    content: str
    special: bool


class _Model(TypedDict):
    vocab: dict[str, int]


class _Tokenizer(TypedDict):
    """The part of a Hugging Face `tokenizer.json` that changes."""

    model: _Model
    added_tokens: list[_AddedToken]


def _rename_tokens(tokenizer: _Tokenizer) -> None:
    """Give the tokens at Gemma 4's ids their Gemma 4 spelling, in the vocabulary and among the special tokens."""
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {MARKERS.get(number, token): number for token, number in vocabulary.items()}
    for token in tokenizer["added_tokens"]:
        if token["id"] in MARKERS:
            token["content"] = MARKERS[token["id"]]
            token["special"] = True


def _set_stop_tokens(path: Path) -> None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["eos_token_id"] = STOP_TOKENS
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
