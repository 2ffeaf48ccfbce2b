"""`POST /v1/moderations`: request and reply (OpenAI's API reference; openai-python 3's types)."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.json import Decoder

from gateway.errors import InvalidRequest
from gateway.wire.decode import decode_request
from gateway.wire.fields import Model
from gateway.wire.messages import ImagePart, TextPart

MAX_INPUTS = 256
"""Strings or parts of one request; each one is asked about under every policy."""

ModerationPart = TextPart | ImagePart


class ModerationRequest(Struct, frozen=True, kw_only=True):
    """A moderation request. What is not named is ignored."""

    input: str | Annotated[list[str | ModerationPart], Meta(min_length=1, max_length=MAX_INPUTS)]
    """A string, strings (a result for each), or parts (one result for all)."""
    model: Model | None = None


class ModerationResult(Struct, frozen=True):
    """What is known of one input; the keys of the three objects are OpenAI's thirteen categories."""

    flagged: bool
    categories: Mapping[str, bool | None]
    category_scores: Mapping[str, float]
    category_applied_input_types: Mapping[str, Sequence[str]]
    policy_scores: Mapping[str, Mapping[str, float]]
    """The gateway's own: by kind of input, what the classifier itself said, policy by policy."""


class ModerationReply(Struct, frozen=True):
    id: str
    model: str
    results: list[ModerationResult]


_DECODER = Decoder(ModerationRequest)


def parse_moderation_request(body: bytes) -> ModerationRequest:
    """Decode and check a request body. Raises InvalidRequest."""
    request = decode_request(_DECODER, body)
    items = request.input if isinstance(request.input, list) else []
    if len({isinstance(item, str) for item in items}) > 1:
        raise InvalidRequest("'input' must hold strings only or parts only, not both.", param="input")
    return request
