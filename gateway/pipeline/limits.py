"""Limits around a request: reserve before a worker is asked, settle when the request has ended, on every path."""

from typing import Any

import msgspec

from gateway.pipeline.services import Inbound, Services
from gateway.ratelimit.estimates import estimate_prompt_tokens
from gateway.ratelimit.limiter import CountPrompt, Demand, Refusal, Reservation
from gateway.routing.fleet import ServedModel
from gateway.upstream.failures import UpstreamFailure
from gateway.values import Usage
from gateway.wire.chat import ChatRequest
from gateway.wire.messages import ImagePart, Message, Part, TextPart, VideoPart

COUNT_TIMEOUT_S = 2.0
"""For the exact count of a prompt; without an answer the estimate stands."""
SMALL_BODY_BYTES = 65_536
"""A body up to this size is estimated as a whole: what isn't text in it hardly counts."""
IMAGE_TOKENS = 280
"""Gemma 4's default; Gemma 3 takes 256."""
AUDIO_TOKENS = 750
"""30 s, the longest clip."""
VIDEO_TOKENS = 32 * 70


class _Count(msgspec.Struct):
    count: int


_COUNT = msgspec.json.Decoder(_Count)
_ENCODER = msgspec.json.Encoder()


async def hold(
    services: Services, inbound: Inbound, model: ServedModel, demand: Demand, count: CountPrompt
) -> Reservation:
    """Take what a request may use while it is served; `release` must follow. Raises RateLimited and its kin."""
    record = inbound.record
    key = inbound.key
    held = await services.limiter.reserve(key, model.name, demand, count)
    if isinstance(held, Refusal):
        record.cause = f"limit: {held.limit}"
        raise held.error
    record.limit_lines = held.headers
    return held


def release(held: Reservation, inbound: Inbound) -> None:
    """Charge what was used; give everything back when no worker has done anything."""
    record = inbound.record
    if record.usage is not None:
        held.settle(record.usage)
    elif record.filter is not None and record.filter.input_blocked:  # it counts as a request, without tokens
        held.settle(Usage(0, 0))
    elif record.frames or (record.sent_at is not None and not record.refused):
        held.settle(Usage(held.demand.prompt_tokens, record.frames), complete=False)
    else:
        held.abandon()


def prompt_tokens_of(request: ChatRequest, body_bytes: int) -> int:
    """Return an upper estimate of a chat prompt's tokens, tools included; media count as what models make of them."""
    if body_bytes <= SMALL_BODY_BYTES:
        return estimate_prompt_tokens(body_bytes)
    text_bytes, media_tokens = 0, 0
    for message in request.messages:
        text, media = _size(message)
        text_bytes += text
        media_tokens += media
    tools = len(_ENCODER.encode((request.tools, request.functions)))
    return estimate_prompt_tokens(text_bytes + tools, media_tokens)


def _size(message: Message) -> tuple[int, int]:
    """Return the bytes of a message's text and the tokens of its media."""
    content: str | list[Part] | None = getattr(message, "content", None)
    calls = len(_ENCODER.encode(getattr(message, "tool_calls", None)))
    if not isinstance(content, list):
        return len((content or "").encode()) + calls, 0
    text_bytes, media_tokens = calls, 0
    for part in content:
        match part:
            case TextPart():
                text_bytes += len(part.text.encode())
            case ImagePart():
                media_tokens += IMAGE_TOKENS
            case VideoPart():
                media_tokens += VIDEO_TOKENS
            case _:
                media_tokens += AUDIO_TOKENS
    return text_bytes, media_tokens


async def count_prompt(services: Services, inbound: Inbound, model: ServedModel, fields: dict[str, Any]) -> int | None:
    """Ask a worker how many tokens a prompt has, `fields` being the body for `/tokenize`; None when it can't tell."""
    worker = model.pick((), services.rng)
    if worker is None:
        return None
    deadline = services.clock() + COUNT_TIMEOUT_S
    try:
        reply = await services.clients[worker].post(
            "/tokenize", _ENCODER.encode(fields), request_id=inbound.worker_request_id, deadline=deadline
        )
        with reply:
            return _COUNT.decode(await reply.read()).count if reply.status == 200 else None
    except (UpstreamFailure, msgspec.DecodeError, UnicodeDecodeError):
        return None
