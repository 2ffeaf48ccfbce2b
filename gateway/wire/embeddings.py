"""`POST /v1/embeddings`: the request (OpenAI's API reference)."""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.json import Decoder

from gateway.errors import InvalidRequest
from gateway.wire.completions import Prompt, check_prompt
from gateway.wire.decode import decode_request
from gateway.wire.fields import Model

MAX_INPUTS = 2048
"""OpenAI's own limit."""


class EmbeddingRequest(Struct, frozen=True, kw_only=True):
    """An embedding request. What is not named is ignored."""

    model: Model
    input: Prompt
    """One string, strings, one list of token ids, or several."""
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


_DECODER = Decoder(EmbeddingRequest)


def parse_embedding_request(body: bytes) -> EmbeddingRequest:
    """Decode and check a request body. Raises InvalidRequest."""
    request = decode_request(_DECODER, body)
    check_prompt(request.input, "input", MAX_INPUTS)
    if request.input == "" or (isinstance(request.input, list) and "" in request.input):
        message = "'input' must not be an empty string."
        raise InvalidRequest(message, param="input")
    return request
