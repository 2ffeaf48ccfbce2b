"""Whether a model can take a chat, before an engine sees it, and which model does when the client leaves that open.

A refusal names the models that the key may use and that could serve the request.
"""

import base64
import binascii
import struct
from typing import Final, cast

import msgspec

from gateway.errors import ContextLengthExceeded, InvalidRequest, UnsupportedModality
from gateway.pipeline.chat_request import ChatPlan
from gateway.pipeline.limits import count_prompt, prompt_tokens_of
from gateway.pipeline.media_parts import excess_of, media_of, media_parts
from gateway.pipeline.services import Inbound, Services
from gateway.routing.fleet import ServedModel
from gateway.routing.selection import NO_MEDIA, AutoName, Needs, can_serve, choose_model
from gateway.values import Modality
from gateway.wire.chat import ChatRequest
from gateway.wire.messages import AudioPart, ImagePart, Part, VideoPart

SMALL_BODY_BYTES: Final = 3_072
"""A body up to this size fits into the context of every Gemma: it isn't looked at."""
MAX_NAMED: Final = 3
_WAV_HEAD_CHARS: Final = 88
_WAV_HEAD: Final = struct.Struct("<4sI4s4sIHHII")
"""RIFF, size, WAVE, `fmt `, its size, format, channels, samples per second, bytes per second."""
_MODALITY: Final[dict[type[Part], Modality]] = {ImagePart: "image", AudioPart: "audio", VideoPart: "video"}


def choose_for(services: Services, inbound: Inbound, request: ChatRequest) -> ServedModel:
    """Return the best of the models that the key may use for a request to `auto`. Raises InvalidRequest."""
    needs = needs_of(inbound, request)
    allowed = [model for model in services.fleet.models if inbound.key.may_use(model.name)]
    model = choose_model(allowed, needs, cast("AutoName", request.model))  # the caller has looked
    if model is None:
        wanted = ", ".join(sorted(needs.modalities - {"text"}) + ["tool calls"] * needs.tools) or "text"
        message = f"None of the models you may use can serve this request ({wanted}, {needs.prompt_tokens} tokens)."
        raise InvalidRequest(message, param="model")
    return model


def needs_of(inbound: Inbound, request: ChatRequest) -> Needs:
    """Return what a request asks of a model; the tokens are an upper estimate, left out for small requests."""
    kinds: set[Modality] = {"text"}
    kinds.update(_MODALITY[type(part)] for _, part in media_parts(request))
    size = len(inbound.body)
    tokens = prompt_tokens_of(request, size) if size > SMALL_BODY_BYTES else 0
    tools = request.tools is not None or request.functions is not None
    media = media_of(request) if len(kinds) > 1 else NO_MEDIA
    return Needs("chat", frozenset(kinds), tools, tokens, media)


def refused(services: Services, inbound: Inbound, request: ChatRequest, error: InvalidRequest) -> InvalidRequest:
    """Return the refusal of a request that the model's variant can't take, naming models that can."""
    if not (isinstance(error, UnsupportedModality) or error.param in ("tools", "functions")):
        return error
    return type(error)(_with_others(services, inbound, needs_of(inbound, request), str(error)), param=error.param)


async def check_size(
    services: Services, inbound: Inbound, model: ServedModel, request: ChatRequest, plan: ChatPlan
) -> None:
    """Refuse too many and too large media, and prompts that don't fit. Raises InvalidRequest or ContextLengthExceeded.

    An engine counts a prompt's tokens where the estimate is too near to the context to tell.
    """
    if len(model.variant.modalities) > 1:
        _check_media(services, inbound, model, request)
    size = len(inbound.body)
    if size <= SMALL_BODY_BYTES or prompt_tokens_of(request, size) <= model.context_tokens:
        return
    tokens = await count_prompt(services, inbound, model, plan.prompt)
    limit = model.context_tokens
    if tokens is None or tokens < limit:
        return
    message = (
        f"This model's maximum context length is {limit} tokens; this request needs {tokens}. Shorten the messages."
    )
    needs = msgspec.structs.replace(needs_of(inbound, request), prompt_tokens=tokens)
    raise ContextLengthExceeded(_with_others(services, inbound, needs, message), param="messages")


def _with_others(services: Services, inbound: Inbound, needs: Needs, message: str) -> str:
    able = [m.name for m in services.fleet.models if inbound.key.may_use(m.name) and can_serve(m, needs)]
    if not able:
        return message
    return f"{message} Of the models you may use, these can: {', '.join(able[:MAX_NAMED])}."


def _check_media(services: Services, inbound: Inbound, model: ServedModel, request: ChatRequest) -> None:
    media = media_of(request)
    if media is NO_MEDIA:
        return
    excess = excess_of(request, media, model.media)
    if excess is not None:
        message = _with_others(services, inbound, needs_of(inbound, request), str(excess))
        raise InvalidRequest(message, param=excess.param)
    if model.variant.max_audio_s is not None:
        _check_clips(request, model.variant.max_audio_s)


def _check_clips(request: ChatRequest, longest_s: float) -> None:
    for place, part in media_parts(request):
        length_s = wav_length_s(part.input_audio.data) if isinstance(part, AudioPart) else None
        if length_s is not None and length_s > longest_s:
            message = f"A clip may have {longest_s:g} s at most, this one has {length_s:.1f} s: send it in pieces."
            raise InvalidRequest(message, param=f"{place}.input_audio.data")


def wav_length_s(data: str) -> float | None:
    """Return how long a WAV file in base64 plays, from its header and size; None for what isn't plain WAV."""
    try:
        head = base64.b64decode(data[:_WAV_HEAD_CHARS])
        riff, _, wave, fmt, *_, bytes_per_s = _WAV_HEAD.unpack_from(head)
    except (binascii.Error, ValueError, struct.error):
        return None
    if (riff, wave, fmt) != (b"RIFF", b"WAVE", b"fmt ") or not bytes_per_s:
        return None
    return (len(data) * 3 // 4 - _WAV_HEAD.size) / int(bytes_per_s)
