"""From a checked request and a script to what the worker will say: pieces, counts and the reason it ends. No I/O."""

import itertools
import json
from dataclasses import dataclass
from typing import Any

import msgspec

from . import tokens
from .errors import bad_request
from .fields import ChatRequest, Sampling
from .schema import minimal_instance
from .script import Script
from .settings import Settings
from .special_tokens import rest_of_turn, spoken, without_calls

_MAX_CHARS_PER_TOKEN = 31


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one sequence continues."""

    text: str
    ids: tuple[int, ...]
    said: str
    """What the default answer repeats: the last user message, or the prompt itself."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One sequence. `token_count` includes the end-of-turn token when the sequence ended by itself."""

    pieces: tuple[str, ...]
    finish_reason: str
    stop_reason: int | str | None
    ends_with_eos: bool
    prompt: Prompt

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def token_count(self) -> int:
        return len(self.pieces) + self.ends_with_eos


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about the answer but its shape."""

    choices: tuple[Choice, ...]
    prompt_tokens: int
    script: Script

    @property
    def completion_tokens(self) -> int:
        return sum(choice.token_count for choice in self.choices)


def check_length(text: str, settings: Settings) -> None:
    """The check before tokenising: no Gemma token holds more than 31 characters, so longer text can't fit."""
    limit = settings.max_model_len * _MAX_CHARS_PER_TOKEN
    if len(text) > limit:
        raise bad_request(
            f"This model's maximum context length is {settings.max_model_len} tokens. However, your prompt contains "
            f"{len(text)} characters (more than {limit} characters). Please reduce the length of the input prompt.",
            "input_text",
        )


def check_room(prompt_tokens: int, max_tokens: int | None, param: str, settings: Settings) -> int:
    """Tokens the answer may have; raises as vLLM does when the prompt or the wish is too long."""
    limit = settings.max_model_len
    if max_tokens is not None and max_tokens > limit:
        raise bad_request(
            f"{param}={max_tokens} cannot be greater than max_model_len={limit}. Please request fewer output tokens.",
            param,
        )
    room = limit - prompt_tokens
    if room < 1:
        raise bad_request(
            f"This model's maximum context length is {limit} tokens. However, your prompt contains {prompt_tokens} "
            "input tokens, which exceeds this limit even without any output tokens. "
            "Please reduce the length of the input prompt.",
            "input_tokens",
        )
    return room if max_tokens is None else min(room, max_tokens)


def plan_choices(
    request: Sampling, script: Script, prompt: Prompt, budget: int, settings: Settings
) -> tuple[Choice, ...]:
    """`n` sequences of at most `budget` tokens, cut at the request's stop tokens and stop strings."""
    scripts = [script, *(msgspec.structs.replace(script, text=other) for other in script.others)]
    scripts += [script] * ((request.n or 1) - len(scripts))
    return tuple(_choice(request, each, prompt, budget, settings) for each in scripts[: request.n or 1])


def _choice(request: Sampling, script: Script, prompt: Prompt, budget: int, settings: Settings) -> Choice:
    stops = [request.stop] if isinstance(request.stop, str) else (request.stop or [])
    if script.text is not None and script.chunks is None:
        turn = rest_of_turn(script.text, prompt.text) if script.whole_turn else script.text
        said = spoken(turn, request, settings)
        text = without_calls(said.text) if settings.tool_parser and isinstance(request, ChatRequest) else said.text
        pieces, stop_token = tokens.split_text(text) * script.repeat, said.stopped_by
    else:
        pieces, stop_token = _pieces(request, script, prompt.said), None
    if request.ignore_eos:
        pieces = list(itertools.islice(itertools.cycle(pieces or ["."]), budget))
    pieces, stopped_by = _cut_at_stop(pieces, stops)
    if len(pieces) > budget or (len(pieces) == budget and stopped_by is None):
        return Choice(tuple(pieces[:budget]), script.finish_reason or "length", script.stop_reason, False, prompt)
    if stopped_by is not None:
        return Choice(tuple(pieces), "stop", stopped_by, False, prompt)
    reason = script.finish_reason or "stop"
    stop_reason = stop_token if script.stop_reason is None else script.stop_reason
    return Choice(tuple(pieces), reason, stop_reason, reason == "stop", prompt)


def _pieces(request: Sampling, script: Script, echo_text: str) -> list[str]:
    if script.chunks is not None:
        return list(script.chunks) * script.repeat
    held = _structured_text(request)
    if held is not None:
        return tokens.split_text(held)
    seed = "" if request.seed is None else f" [seed {request.seed}]"
    return tokens.split_text(echo_text + seed) * script.repeat


def _structured_text(request: Sampling) -> str | None:
    """The text a grammar would force; None when the request asks for no structure."""
    wanted = request.response_format
    if wanted is not None and wanted.type == "json_object":
        return "{}"
    if wanted is not None and wanted.type == "json_schema" and wanted.json_schema is not None:
        return _instance_text(wanted.json_schema.schema or {})
    held = request.structured_outputs
    if held is None:
        return None
    if held.choice:
        return held.choice[0]
    if held.json is not None:
        return _instance_text(_schema_of(held.json))
    return "{}" if held.json_object else None


def _schema_of(value: str | dict[str, Any]) -> object:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError as exc:
        raise bad_request(f"Failed to parse the JSON schema: {exc}", "structured_outputs") from exc


def _instance_text(schema: object) -> str:
    return json.dumps(minimal_instance(schema), ensure_ascii=False)


def _cut_at_stop(pieces: list[str], stops: list[str]) -> tuple[list[str], str | None]:
    """The pieces before the earliest stop string, and that string."""
    if not stops:
        return pieces, None
    text = "".join(pieces)
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    if not found:
        return pieces, None
    end, stop = min(found)
    kept: list[str] = []
    for piece in pieces:
        if end <= 0:
            break
        kept.append(piece[:end])
        end -= len(piece)
    return kept, stop
