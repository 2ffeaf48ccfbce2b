"""Keys that open nothing: one answer for all of them, and none of them in it."""

import pytest

from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.gateway_view import log_line
from tests.support.raw_http import ask, chat_body, request
from tests.support.sim_worker import SimWorker

GOOD = TEST_KEY.encode()
WRONG = {
    "none": b"",
    "empty": b"authorization: \r\n",
    "empty bearer": b"authorization: Bearer \r\n",
    "unknown": b"authorization: Bearer gk-acme-00000000000000000000000000000000\r\n",
    "prefix of a good one": b"authorization: Bearer " + GOOD[:-1] + b"\r\n",
    "longer than a good one": b"authorization: Bearer " + GOOD + b"x\r\n",
    "other case": b"authorization: Bearer " + GOOD.upper() + b"\r\n",
    "basic": b"authorization: Basic dGVzdDp0ZXN0\r\n",
    "without a scheme": b"authorization: " + GOOD + b"\r\n",
    "1 KB": b"authorization: Bearer " + b"k" * 1_000 + b"\r\n",
    "60 KB": b"authorization: Bearer " + b"k" * 60_000 + b"\r\n",
    "Latin-1": b"authorization: Bearer sch\xfcssel-123\r\n",
    "UTF-8": "authorization: Bearer schlüssel-🔑\r\n".encode(),
    "two that differ": b"authorization: Bearer " + GOOD + b"\r\nx-api-key: other-key-0123456789\r\n",
    "two bearers that differ": b"authorization: Bearer " + GOOD + b"\r\nauthorization: Bearer other-key-01\r\n",
    "in the query only": b"",
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_keys_get_one_answer(shared_gateway: GatewayProcess, shared_worker: SimWorker, name: str) -> None:
    """No, unknown, overlong and unreadable keys can't be told apart by their answer, and no worker is asked."""
    shared_worker.reset()
    path = f"/v1/chat/completions?api_key={TEST_KEY}" if "query" in name else "/v1/chat/completions"
    answer = ask(shared_gateway.port, request(chat_body(), key=WRONG[name], path=path))
    assert answer.status == 401
    reference = ask(shared_gateway.port, request(chat_body(), key=b""))
    assert answer.body == reference.body
    assert answer.error["code"] == "invalid_api_key"
    assert answer.headers["x-should-retry"] == "false"
    assert shared_worker.generation_requests == []
    print(f"refused in {log_line(shared_gateway, answer.headers['x-request-id'])['ms']} ms")
    presented = WRONG[name].partition(b": ")[2].strip()
    assert len(presented) < 10 or presented.decode("latin-1") not in shared_gateway.stderr


def test_a_key_of_a_megabyte_is_refused_by_size(shared_gateway: GatewayProcess) -> None:
    """A key over the cap for heads is a 431 that the client can read although it was still sending."""
    for _ in range(10):
        answer = ask(
            shared_gateway.port, request(chat_body(), key=b"authorization: Bearer " + b"k" * 1_000_000 + b"\r\n")
        )
        assert answer.status == 431
        assert answer.error["code"] == "request_headers_too_large"
    assert ask(shared_gateway.port, request(chat_body())).status == 200


@pytest.mark.parametrize(
    "line",
    [
        b"Authorization: Bearer %s",
        b"AUTHORIZATION: BEARER   %s  ",
        b"api-key: %s",
        b"X-API-Key: %s",
        b"authorization: Bearer %s\r\nx-api-key: %s",
        b"authorization: Basic dGVzdDp0ZXN0\r\napi-key: %s",
    ],
)
def test_a_good_key_is_taken_from_each_header(shared_gateway: GatewayProcess, line: bytes) -> None:
    """Each of the three headers works; the same key twice is one key."""
    assert ask(shared_gateway.port, request(chat_body(), key=line.replace(b"%s", GOOD) + b"\r\n")).status == 200


def test_models_need_a_key_too(shared_gateway: GatewayProcess) -> None:
    """The list of models is not for strangers."""
    for path in ("/v1/models", "/v1/models/google/gemma-3-270m"):
        assert ask(shared_gateway.port, request(method="GET", path=path, key=b"")).status == 401
        assert ask(shared_gateway.port, request(method="GET", path=path)).status == 200
