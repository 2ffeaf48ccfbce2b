"""What a prompt begins with, so that requests which share their beginning find the worker whose cache holds it. Pure.

The head of a conversation is its first messages up to the user's first one, cut at `HEAD_CHARS`: it is the same in
every turn, and the same for all questions behind one long document or system prompt. The tenant's salt is part of the
key, because engines share nothing of their caches between salts.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from gateway.routing.hash_ring import ring_key

HEAD_CHARS: Final = 512
"""About 128 tokens: 8 blocks of an engine's cache. A longer head would tell apart what differs only behind it."""
HEAD_TOKENS: Final = 128
_MEDIA: Final = MappingProxyType({"image_url": "url", "input_audio": "data", "video_url": "url"})
"""Kinds of parts, and where each has its URL or data."""
_MEDIA_END_CHARS: Final = 64
"""Of a medium's URL or data: their beginnings are all alike."""


def head_key(salt: str, served_name: str, fields: Mapping[str, Any]) -> int:
    """Return the key of a request to a worker, `fields` being its body. Adapters of one base share nothing."""
    if "prompt" in fields:
        return ring_key("\0".join((salt, served_name, _of_prompt(fields["prompt"]))))
    head = f"{salt}\0{served_name}"
    room = HEAD_CHARS
    for message in fields["messages"]:
        role, content = message["role"], message.get("content")
        text: str = content if isinstance(content, str) else "\0".join(map(_of_part, content or ()))
        if len(text) >= room:
            head = f"{head}\0{role}\0{text[:room]}"
            break
        head = f"{head}\0{role}\0{text}"
        if role == "user":
            break
        room -= len(text)
    return ring_key(head)


def _of_prompt(prompt: str | Sequence[Any]) -> str:
    """Of several prompts the first one's: they go to one worker."""
    if isinstance(prompt, str):
        return prompt[:HEAD_CHARS]
    if prompt and not isinstance(prompt[0], int):
        return _of_prompt(prompt[0])
    return ",".join(map(str, prompt[:HEAD_TOKENS]))


def _of_part(part: Mapping[str, Any]) -> str:
    text = part.get("text")
    if isinstance(text, str):
        return text[:HEAD_CHARS]
    for kind, where in _MEDIA.items():
        if kind in part:
            medium: str = part[kind][where]
            return f"{kind}:{len(medium)}:{medium[-_MEDIA_END_CHARS:]}"
    return str(part.get("type"))
