"""LiteLLM's answers in the shape of vLLM's. No I/O.

LiteLLM passes on what each provider adds; only what OpenAI's API has is kept.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

DONE: Final = b"data: [DONE]\n\n"
_DELTA: Final = ("role", "content", "reasoning_content", "refusal", "function_call", "tool_calls")
_USAGE: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
)
_ENCODER: Final = msgspec.json.Encoder()


class ReplyName(NamedTuple):
    """What clients see of who answers, the same in every chunk of a stream."""

    id: str
    model: str


def whole_reply(answer: Mapping[str, Any], name: ReplyName) -> bytes:
    """Return the JSON of a whole reply. `answer`: LiteLLM's, without its nulls."""
    choices = [
        {
            "index": choice.get("index", index),
            "message": {"role": "assistant", "content": None} | _kept(choice.get("message") or {}, _DELTA),
            "logprobs": choice.get("logprobs"),
            "finish_reason": choice.get("finish_reason") or "stop",
        }
        for index, choice in enumerate(answer.get("choices") or ())
    ]
    return _ENCODER.encode(_head(answer, "chat.completion", name) | {"choices": choices, "usage": _usage(answer) or {}})


def chunk_frame(chunk: Mapping[str, Any], name: ReplyName) -> bytes:
    """Return the frame of a chunk; nothing for one that tells nothing."""
    choices = [
        {
            "index": choice.get("index", 0),
            "delta": _kept(choice.get("delta") or {}, _DELTA),
            "logprobs": choice.get("logprobs"),
            "finish_reason": choice.get("finish_reason"),
        }
        for choice in chunk.get("choices") or ()
    ]
    usage = _usage(chunk)
    if not choices and not usage:
        return b""
    body = _head(chunk, "chat.completion.chunk", name) | {"choices": choices}
    if usage:
        body["usage"] = usage
    return b"data: %b\n\n" % _ENCODER.encode(body)


def _head(answer: Mapping[str, Any], kind: str, name: ReplyName) -> dict[str, Any]:
    return {"id": name.id, "object": kind, "created": answer.get("created") or 0, "model": name.model}


def _usage(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    usage = answer.get("usage")
    return _kept(usage, _USAGE) if usage else None


def _kept(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    kept = {name: values[name] for name in names if values.get(name) is not None}
    if "tool_calls" in kept:
        kept["tool_calls"] = [_call(call) for call in kept["tool_calls"]]
    return kept


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function: Mapping[str, Any] = call.get("function") or {}
    named: dict[str, Any] = {name: function[name] for name in ("name", "arguments") if function.get(name) is not None}
    kept = {name: call[name] for name in ("index", "id", "type") if call.get(name) is not None}
    return kept | {"function": named}
