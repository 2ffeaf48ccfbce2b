"""Dialogues as the gateway's own dialect writes them for a worker: what is trained must be what is served.

Run by the gateway's interpreter: `python -m deploy.local.tool_messages --help`.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy.local.tool_dialogues import Dialogue, DialogueMaker
from deploy.local.vocabulary_words import VocabularyWords, words_of
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.registry import dialect_for
from gateway.routing.catalog import VARIANTS
from gateway.routing.variants import PROMPTED_DIALECT
from gateway.wire.chat import parse_chat_request

VARIANT: Final = VARIANTS["gemma-3-270m-it"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one group of dialogues a line: a list of lists of messages, each ending in an answer to learn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--groups", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True, help="a tokenizer.json, to draw words from")
    parser.add_argument("--held-out", type=Path, required=True, help="a text whose words are not drawn")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    held_out = words_of(options.held_out.read_text(encoding="utf-8"))
    vocabulary = VocabularyWords.of_tokenizer(options.tokenizer, held_out)
    maker = DialogueMaker(random.Random(options.seed), vocabulary)  # noqa: S311 - dialogues, no secrets
    with options.output.open("w", encoding="utf-8") as file:
        for _ in range(options.groups):
            group = [worker_messages(dialogue) for dialogue in maker.group(options.size)]
            file.write(f"{json.dumps(group, ensure_ascii=False)}\n")


def worker_messages(dialogue: Dialogue) -> list[Any]:
    """The worker's messages, through the last answer to learn."""
    body: dict[str, Any] = {"model": VARIANT.name, "messages": dialogue.messages}
    if dialogue.tools:
        body["tools"] = dialogue.tools
    request = parse_chat_request(msgspec.json.encode(body))
    guard = MarkerGuard(VARIANT.family)
    prepared = dialect_for(PROMPTED_DIALECT).prepare(request, VARIANT, guard, lambda: "call_0")
    messages = prepared.fields["messages"]
    if not isinstance(messages, list):
        raise TypeError("the dialect wrote no messages")
    return messages[: 2 * dialogue.answers]


if __name__ == "__main__":
    main()
