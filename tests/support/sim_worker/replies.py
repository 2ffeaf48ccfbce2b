"""The JSON bodies of vLLM 0.32: every key it sends, null or not, in its order. Values in, dictionaries out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import tokens
from .generate import Choice, Plan

FINGERPRINT = "vllm-0.32.0-51m00000"
_EOS_TEXT = "<end_of_turn>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the request decides about the form of the answer."""

    id: str
    created: int
    model: str
    include_usage: bool = False
    continuous_usage: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    return_token_ids: bool = False
    ids_as_tokens: bool = False
    """Tokens are named by their ids."""
    watched: tuple[tuple[str, float], ...] | None = None
    """Tokens asked for by id, each with its log-probability: they come in place of the most likely ones."""

    def name(self, step: str) -> str:
        """A generated token as log-probabilities name it."""
        return f"token_id:{_token_ids([step])[0]}" if self.ids_as_tokens else step


def usage(prompt: int, completion: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
        "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }


def _steps(choice: Choice) -> list[str]:
    return [*choice.pieces, _EOS_TEXT] if choice.ends_with_eos else list(choice.pieces)


def _token_ids(steps: list[str]) -> list[int]:
    """One id per step, because one piece is one token here."""
    return [tokens.encode(step or " ")[0] for step in steps]


def _chat_logprobs(steps: list[str], shape: Shape) -> dict[str, Any]:
    def entry(token: str, logprob: float, data: str) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(data.encode())}

    def alternatives(step: str) -> list[dict[str, Any]]:
        return [entry(token, logprob, token) for token, logprob in _likely(step, shape, shape.top_logprobs).items()]

    return {"content": [{**entry(shape.name(step), -0.5, step), "top_logprobs": alternatives(step)} for step in steps]}


def _likely(step: str, shape: Shape, top: int) -> dict[str, float]:
    """The tokens that come with a generated one, itself the first, and their log-probabilities."""
    if shape.watched is not None:
        return {shape.name(step): -0.5, **dict(shape.watched)}
    return {shape.name(step) if rank == 0 else f"{step}{rank}": -0.5 - rank for rank in range(top)}


def chat_completion(plan: Plan, shape: Shape) -> dict[str, Any]:
    def one(index: int, choice: Choice) -> dict[str, Any]:
        steps = _steps(choice)
        return {
            "index": index,
            "message": {
                "role": "assistant",
                "content": choice.text,
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "reasoning": None,
            },
            "logprobs": _chat_logprobs(steps, shape) if shape.logprobs else None,
            "finish_reason": choice.finish_reason,
            "stop_reason": choice.stop_reason,
            "token_ids": _token_ids(steps) if shape.return_token_ids else None,
            "routed_experts": None,
        }

    return {
        "id": shape.id,
        "object": "chat.completion",
        "created": shape.created,
        "model": shape.model,
        "choices": [one(i, c) for i, c in enumerate(plan.choices)],
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": usage(plan.prompt_tokens, plan.completion_tokens),
        "prompt_logprobs": None,
        "prompt_token_ids": list(plan.choices[0].prompt.ids) if shape.return_token_ids else None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def _frame(shape: Shape, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": shape.id, "object": kind, "created": shape.created, "model": shape.model, "choices": choices}


def _last_steps(choice: Choice) -> Iterator[tuple[str, str, bool]]:
    """(text, token, is the last) of each frame; a sequence that ended by itself has a last frame without text."""
    total = len(choice.pieces)
    for number, piece in enumerate(choice.pieces, start=1):
        yield piece, piece, number == total and not choice.ends_with_eos
    if choice.ends_with_eos or not total:
        yield "", _EOS_TEXT, True


def chat_role_frames(plan: Plan, shape: Shape) -> Iterator[dict[str, Any]]:
    """The first frame of each choice."""
    for index in range(len(plan.choices)):
        delta = {"role": "assistant", "content": ""}
        frame = _frame(
            shape, "chat.completion.chunk", [{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}]
        )
        if shape.continuous_usage:
            frame["usage"] = usage_in_frame(plan.prompt_tokens, 0)
        frame["prompt_token_ids"] = list(plan.choices[index].prompt.ids) if shape.return_token_ids else None
        frame["prompt_text"] = None
        yield frame


def chat_frames(plan: Plan, shape: Shape) -> Iterator[dict[str, Any]]:
    """The frames after the role frames; choices take turns, as in a batch."""
    for index, said, text, token, last in _interleave(plan):
        choice = plan.choices[index]
        body: dict[str, Any] = {
            "index": index,
            "delta": {"content": text},
            "logprobs": _chat_logprobs([token], shape) if shape.logprobs else None,
            "finish_reason": choice.finish_reason if last else None,
        }
        if last:
            body["stop_reason"] = choice.stop_reason
        body["token_ids"] = _token_ids([token]) if shape.return_token_ids else None
        frame = _frame(shape, "chat.completion.chunk", [body])
        _finish(frame, plan, shape, said, last=last)
        yield frame


def _interleave(plan: Plan) -> Iterator[tuple[int, int, str, str, bool]]:
    """(choice, tokens so far, text, token, last) step by step over all choices."""
    running = {index: (0, _last_steps(choice)) for index, choice in enumerate(plan.choices)}
    while running:
        for index, (said, steps) in list(running.items()):
            step = next(steps, None)
            if step is None:
                del running[index]
                continue
            running[index] = (said + 1, steps)
            yield (index, said + 1, *step)


def _finish(frame: dict[str, Any], plan: Plan, shape: Shape, said: int, *, last: bool) -> None:
    if shape.continuous_usage:
        frame["usage"] = usage_in_frame(plan.prompt_tokens, said)
    if last and not shape.include_usage:
        frame["system_fingerprint"] = FINGERPRINT


def usage_in_frame(prompt: int, completion: int) -> dict[str, Any]:
    """Usage as continuous_usage_stats puts it on every frame."""
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
        "completion_tokens_details": None,
    }


def usage_frame(plan: Plan, shape: Shape, kind: str) -> dict[str, Any]:
    frame = _frame(shape, kind, [])
    full = usage(plan.prompt_tokens, plan.completion_tokens)
    frame["usage"] = {name: value for name, value in full.items() if value is not None}
    frame["system_fingerprint"] = FINGERPRINT
    return frame


def _completion_logprobs(steps: list[str], shape: Shape, offset: int) -> dict[str, Any]:
    offsets = []
    for step in steps:
        offsets.append(offset)
        offset += len(step)
    return {
        "text_offset": offsets,
        "token_logprobs": [-0.5] * len(steps),
        "tokens": [shape.name(step) for step in steps],
        "top_logprobs": [_likely(step, shape, max(shape.top_logprobs, 1)) for step in steps],
    }


def text_completion(plan: Plan, shape: Shape, *, echo: bool = False) -> dict[str, Any]:
    def one(index: int, choice: Choice) -> dict[str, Any]:
        steps = _steps(choice)
        return {
            "index": index,
            "text": (choice.prompt.text if echo else "") + choice.text,
            "logprobs": _completion_logprobs(steps, shape, 0) if shape.logprobs else None,
            "finish_reason": choice.finish_reason,
            "stop_reason": choice.stop_reason,
            "token_ids": _token_ids(steps) if shape.return_token_ids else None,
            "prompt_logprobs": None,
            "prompt_token_ids": list(choice.prompt.ids) if shape.return_token_ids else None,
            "routed_experts": None,
        }

    return {
        "id": shape.id,
        "object": "text_completion",
        "created": shape.created,
        "model": shape.model,
        "choices": [one(i, c) for i, c in enumerate(plan.choices)],
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": usage(plan.prompt_tokens, plan.completion_tokens),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def completion_frames(plan: Plan, shape: Shape, *, echo: bool = False) -> Iterator[dict[str, Any]]:
    offsets = [0] * len(plan.choices)
    for index, said, text, token, last in _interleave(plan):
        choice = plan.choices[index]
        first = said == 1
        body = {
            "index": index,
            "text": (choice.prompt.text if echo and first else "") + text,
            "logprobs": _completion_logprobs([token], shape, offsets[index]) if shape.logprobs else None,
            "finish_reason": choice.finish_reason if last else None,
            "stop_reason": choice.stop_reason if last else None,
            "prompt_token_ids": list(choice.prompt.ids) if first and (echo or shape.return_token_ids) else None,
            "token_ids": _token_ids([token]) if shape.return_token_ids else None,
        }
        offsets[index] += len(token)
        frame = _frame(shape, "text_completion", [body])
        _finish(frame, plan, shape, said, last=last)
        yield frame
