"""Sends one recorded request to a worker and reduces the answer to its shape, so that two workers can be compared.

A shape keeps keys, types, order of frames and the values that are part of the protocol; what a model says is left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

CASES_PATH = Path(__file__).parent.parent / "data" / "worker_replay.json"
_PROTOCOL_KEYS = frozenset({"object", "role", "finish_reason", "type", "param", "code", "detail"})
"""Keys whose values must be equal on both workers, not just their types."""
_COMPARED_HEADERS = ("content-type", "server", "vary", "transfer-encoding")
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    path: str
    method: str = "POST"
    body: Any = None
    raw: str | None = None
    headers: dict[str, str] | None = None
    repeat: int = 1
    """The last message or the prompt is said this many times over."""
    differs: tuple[str, ...] = ()
    """Keys whose values may differ in this case, because they name Python types of vLLM."""


@dataclass(frozen=True, slots=True)
class Shape:
    status: int
    headers: dict[str, str | None]
    content: Any
    """Of a JSON body its shape; of a stream its frames' shapes in order, runs of equal ones told once."""


def load_cases() -> list[Case]:
    return [
        Case(**{**entry, "differs": tuple(entry.get("differs", ()))}) for entry in json.loads(CASES_PATH.read_text())
    ]


def observe(client: httpx2.Client, case: Case) -> Shape:
    """The shape of the worker's answer to `case`; the client's base URL names the worker."""
    content = None if case.method == "GET" else (case.raw or json.dumps(_full_body(case))).encode()
    headers = {"content-type": "application/json", **(case.headers or {})}
    reply = client.request(case.method, case.path, content=content, headers=headers, timeout=_TIMEOUT_S)
    kind = reply.headers.get("content-type", "")
    found: Any
    if kind.startswith("text/event-stream"):
        found = _stream_shape(reply.text, case.differs)
    elif kind.startswith("application/json"):
        found = shape_of(reply.json(), case.differs)
    else:
        found = None
    return Shape(reply.status_code, {name: reply.headers.get(name) for name in _COMPARED_HEADERS}, found)


def _full_body(case: Case) -> Any:
    if case.repeat == 1:
        return case.body
    if "prompt" in case.body:
        return {**case.body, "prompt": case.body["prompt"] * case.repeat}
    *before, last = case.body["messages"]
    return {**case.body, "messages": [*before, {**last, "content": last["content"] * case.repeat}]}


def shape_of(value: object, differs: tuple[str, ...] = ()) -> Any:
    """Objects by key, arrays by the distinct shapes of their items, the rest by type."""
    if isinstance(value, dict):
        return {key: _member(key, item, differs) for key, item in value.items()}
    if isinstance(value, list):
        distinct: list[Any] = []
        for item in value:
            if (found := shape_of(item, differs)) not in distinct:
                distinct.append(found)
        return distinct
    return type(value).__name__


def _member(key: str, value: object, differs: tuple[str, ...]) -> Any:
    if key in differs:
        return "any"
    if key == "schema" or (key in _PROTOCOL_KEYS and isinstance(value, (str, int))):
        return f"={value!r}"
    if key == "top_logprobs" and isinstance(value, list):
        return [
            "object of token to number" if isinstance(v, dict) and "token" not in v else shape_of(v) for v in value[:1]
        ]
    return shape_of(value, differs)


def _stream_shape(text: str, differs: tuple[str, ...]) -> dict[str, list[Any]]:
    """Frames in order, per choice because choices take turns as they like; "stream" holds frames without choices."""
    tracks: dict[str, list[Any]] = {}
    for block in text.split("\n\n"):
        field, _, data = block.partition(": ")
        parsed = json.loads(data) if field == "data" and data != "[DONE]" else None
        choices = parsed.get("choices") if parsed else None
        track = tracks.setdefault(f"choice {choices[0]['index']}" if choices else "stream", [])
        found = block if parsed is None else shape_of(parsed, differs)
        if not track or track[-1] != found:
            track.append(found)
    return tracks
