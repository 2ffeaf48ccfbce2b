"""Request ids: the client's, if it sent a sane one, else ours."""

import os
import random
import re
from collections.abc import Iterable

from gateway.values import RequestId

_SANE = re.compile(rb"[!-~]{1,128}")
_HEADERS = (b"x-request-id", b"x-client-request-id")


def new_request_id() -> RequestId:
    """Return 24 random hexadecimal characters."""
    return RequestId(os.urandom(12).hex())


def draw_request_id(rng: random.Random) -> RequestId:
    """Return 24 hexadecimal characters for where each counts: unique, and without a system call."""
    return RequestId(rng.getrandbits(96).to_bytes(12, "big").hex())


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> RequestId | None:
    """Return the id in `x-request-id` or `x-client-request-id`, if it is 1 to 128 visible ASCII characters."""
    for name, value in headers:
        if name in _HEADERS and _SANE.fullmatch(value):
            return RequestId(value.decode("ascii"))
    return None
