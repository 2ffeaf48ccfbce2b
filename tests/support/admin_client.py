"""The admin API of a running gateway, as a script uses it."""

import json
from typing import Any

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_http import RawAnswer, ask, request

ADMIN_KEY = "admin-key-0123456789"


def authorization(secret: str) -> bytes:
    """The header line that presents a key."""
    return f"authorization: Bearer {secret}\r\n".encode()


def admin(gateway: GatewayProcess, method: str, path: str, body: Any = None, *, key: str = ADMIN_KEY) -> RawAnswer:
    """One call; `path` follows /admin/v1."""
    data = b"" if body is None else json.dumps(body).encode()
    return ask(gateway.port, request(data, method=method, path=f"/admin/v1{path}", key=authorization(key)))


def admin_json(gateway: GatewayProcess, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """The JSON of a call that must succeed."""
    answer = admin(gateway, method, path, body)
    assert answer.status in (200, 201), answer
    document: dict[str, Any] = json.loads(answer.body)
    return document


def get_json(gateway: GatewayProcess, path: str, secret: str) -> dict[str, Any]:
    """The JSON of a GET with a tenant's key, which must succeed."""
    answer = ask(gateway.port, request(method="GET", path=path, key=authorization(secret)))
    assert answer.status == 200, answer
    document: dict[str, Any] = json.loads(answer.body)
    return document
