"""Request ids: the client's, if it sent a sane one, else ours."""

import re
import secrets
from collections.abc import Iterable

from gateway.values import RequestId

_SANE = re.compile(rb"[!-~]{1,128}")
_HEADERS = (b"x-request-id", b"x-client-request-id")


def new_request_id() -> RequestId:
    """Return 24 random hexadecimal characters."""
    return RequestId(secrets.token_hex(12))


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> RequestId:
    """Return the id in `x-request-id` or `x-client-request-id`, 1 to 128 visible ASCII characters, or a new one."""
    for name, value in headers:
        if name in _HEADERS and _SANE.fullmatch(value):
            return RequestId(value.decode("ascii"))
    return new_request_id()
