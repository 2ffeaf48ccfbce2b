"""Vectors in the length and encoding a client asks for."""

import base64
import math
import struct

import pytest

from gateway.errors import InvalidRequest
from gateway.pipeline.embeddings import encode_vector, shorten


def test_base64_is_little_endian_float32() -> None:
    """As the OpenAI SDKs decode it."""
    vector = [0.5, -2.0, 1e-3]
    assert struct.unpack("<3f", base64.b64decode(encode_vector(vector))) == pytest.approx(vector)


def test_shortened_vectors_have_length_one() -> None:
    """Matryoshka: the first numbers, renormalised."""
    short = shorten([3.0, 4.0, 12.0, 84.0], 2)
    assert short == pytest.approx([0.6, 0.8])
    assert math.hypot(*short) == pytest.approx(1)


def test_zero_vector_stays() -> None:
    """Nothing to normalise is no division by zero."""
    assert shorten([0.0, 0.0, 1.0], 2) == [0.0, 0.0]


def test_more_than_there_are() -> None:
    """Asking for more dimensions than the model has is the client's error."""
    with pytest.raises(InvalidRequest) as caught:
        shorten([1.0], 2)
    assert caught.value.param == "dimensions"
