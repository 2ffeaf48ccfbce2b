"""Requests that aren't quite HTTP, or that try to be two at once."""

import json

import pytest

from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.raw_http import AUTHORIZATION, RawClient, ask, chat_body, request
from tests.support.sim_worker import SimWorker

BODY = chat_body()
CHUNKED = b"transfer-encoding: chunked\r\n"
HIDDEN = request(chat_body("hidden"))


def chunked(data: bytes) -> bytes:
    """A body of one chunk."""
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


def head(*lines: bytes, first: bytes = b"POST /v1/chat/completions HTTP/1.1") -> bytes:
    """A head of the given lines, with a key."""
    return b"\r\n".join((first, b"host: gateway", AUTHORIZATION.strip(), *lines, b"", b""))


LENGTH = b"content-length: %d" % len(BODY)
SMUGGLING = {
    "both lengths": head(LENGTH, b"transfer-encoding: chunked") + chunked(BODY),
    "both lengths, other order": head(b"transfer-encoding: chunked", LENGTH) + chunked(BODY),
    "two lengths that differ": head(LENGTH, b"content-length: 3") + BODY,
    "two equal lengths": head(LENGTH, LENGTH) + BODY,
    "list of lengths": head(b"content-length: 3, 3") + BODY,
    "chunked twice": head(b"transfer-encoding: chunked", b"transfer-encoding: chunked") + chunked(BODY),
    "chunked listed twice": head(b"transfer-encoding: chunked, chunked") + chunked(BODY),
    "another coding": head(b"transfer-encoding: gzip, chunked") + chunked(BODY),
    "coding behind chunked": head(b"transfer-encoding: chunked, gzip") + chunked(BODY),
    "identity": head(b"transfer-encoding: identity", LENGTH) + BODY,
    "misspelt coding": head(b"transfer-encoding: xchunked") + chunked(BODY),
    "space before the colon": head(b"transfer-encoding : chunked", LENGTH) + chunked(BODY),
    "tab before the colon": head(b"transfer-encoding\t: chunked", LENGTH) + chunked(BODY),
    "folded line": head(b"x-folded: a", b" transfer-encoding: chunked", LENGTH) + BODY,
    "folded length": head(b"content-length:", b" 5") + BODY,
    "bare line feeds": head(LENGTH).replace(b"\r\n", b"\n") + BODY,
    "bare carriage return": head(b"x-a: b\rtransfer-encoding: chunked", LENGTH) + BODY,
    "NUL in a header": head(b"x-a: b\0c", LENGTH) + BODY,
    "header without a name": head(b": nothing", LENGTH) + BODY,
    "header without a colon": head(b"nothing", LENGTH) + BODY,
    "negative length": head(b"content-length: -1") + BODY,
    "signed length": head(b"content-length: +5") + BODY,
    "hexadecimal length": head(b"content-length: 0x5") + BODY,
    "huge length": head(b"content-length: 99999999999999999999999") + BODY,
    "chunk size overflow": head(b"transfer-encoding: chunked") + b"fffffffffffffffff\r\n" + BODY,
    "negative chunk size": head(b"transfer-encoding: chunked") + b"-1\r\n" + BODY,
    "chunk size without digits": head(b"transfer-encoding: chunked") + b"\r\n" + BODY,
    "chunk longer than said": head(b"transfer-encoding: chunked") + b"3\r\n" + BODY + b"\r\n0\r\n\r\n",
    "no host": b"POST /v1/chat/completions HTTP/1.1\r\n" + AUTHORIZATION + LENGTH + b"\r\n\r\n" + BODY,
    "two hosts": head(b"host: other", LENGTH) + BODY,
}
NOT_HTTP = {
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "HTTP/3.0": b"GET /healthz HTTP/3.0\r\nhost: x\r\n\r\n",
    "lower-case version": b"GET /healthz http/1.1\r\nhost: x\r\n\r\n",
    "TLS hello": bytes.fromhex("16030100c8010000c40303") + b"\x00" * 190,
    "noise": bytes(range(256)) * 8,
    "unknown method": b"BREW /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
    "no target": b"GET HTTP/1.1\r\nhost: x\r\n\r\n",
    "relative target": b"GET healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    "non-ASCII target": b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    "NUL in the target": b"GET /heal\0thz HTTP/1.1\r\nhost: x\r\n\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443\r\n\r\n",
}


def assert_serves(gateway: GatewayProcess) -> None:
    """The process lives and serves a good request on a fresh connection."""
    assert ask(gateway.port, request(BODY)).status == 200


@pytest.mark.parametrize("data", {**SMUGGLING, **NOT_HTTP}.values(), ids=[*SMUGGLING, *NOT_HTTP])
def test_ambiguous_requests_are_refused_and_the_connection_ends(
    shared_gateway: GatewayProcess, shared_worker: SimWorker, data: bytes
) -> None:
    """One 400 in OpenAI's shape, then the end: what stands behind is never taken for another request."""
    shared_worker.reset()
    with RawClient(shared_gateway.port) as client:
        client.send(data + HIDDEN)
        answer = client.read_answer()
        assert client.read_to_end() == b""
    assert answer.status == 400, answer
    assert answer.error["type"] == "invalid_request_error"
    assert answer.headers["connection"] == "close"
    assert TEST_KEY.encode() not in answer.body
    assert shared_worker.generation_requests == []
    assert_serves(shared_gateway)


def test_requests_behind_one_another_are_answered_in_order(shared_gateway: GatewayProcess) -> None:
    """Pipelined requests are legal: each gets its own answer, in order."""
    with RawClient(shared_gateway.port) as client:
        client.send(b"".join(request(chat_body(f"number {n}")) for n in range(5)))
        said = [json.loads(client.read_answer().body)["choices"][0]["message"]["content"] for _ in range(5)]
    assert said == [f"number {n}" for n in range(5)]


def test_garbage_behind_a_request_does_not_spoil_its_answer(shared_gateway: GatewayProcess) -> None:
    """A good request is answered whole whatever stands behind it; then the connection ends."""
    for garbage in (b"\0garbage\r\n\r\n", SMUGGLING["both lengths"], NOT_HTTP["HTTP/0.9"]):
        with RawClient(shared_gateway.port) as client:
            client.send(request(chat_body("word " * 50, stream=True)) + garbage + HIDDEN)
            answer = client.read_answer()
            assert answer.whole
            assert answer.body.endswith(b"data: [DONE]\n\n")
            assert client.read_to_end() == b""
    assert_serves(shared_gateway)


def test_absolute_targets_are_served_by_their_path(shared_gateway: GatewayProcess) -> None:
    """A target with scheme and host is legal; only its path counts, the gateway is no proxy."""
    answer = ask(shared_gateway.port, b"GET http://evil.example/healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n")
    assert answer.status == 200


@pytest.mark.parametrize(
    "path",
    [
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/../v1/chat/completions",
        "/V1/chat/completions",
        "/v1/chat/completions%00",
        "/v1/chat/completions;x",
        "/%2e%2e/etc/passwd",
        "/" + "a" * 30_000,
        "/*",
        "/v1/unknown",
    ],
)
def test_other_paths_are_not_found(shared_gateway: GatewayProcess, path: str) -> None:
    """What isn't exactly a path of the API is a 404 in OpenAI's shape, of modest size."""
    for method in ("POST", "GET", "DELETE"):
        answer = ask(shared_gateway.port, request(BODY, path=path, method=method))
        assert answer.status == 404, (method, answer)
        assert answer.error["type"] == "invalid_request_error"
        assert len(answer.body) < 1000
    assert_serves(shared_gateway)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_wrong_methods_are_refused(shared_gateway: GatewayProcess, method: str) -> None:
    """A known path with another method is a 405 that names the right one; no key is needed to learn it."""
    answer = ask(shared_gateway.port, request(BODY, method=method, key=b""))
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"
    assert answer.error["code"] == "method_not_allowed"
    if method != "GET":
        answer = ask(shared_gateway.port, request(method=method, path="/v1/models"))
        assert answer.status == 405
        assert "GET" in answer.headers["allow"]
    assert_serves(shared_gateway)


def test_upgrades_are_declined_and_the_request_served(shared_gateway: GatewayProcess) -> None:
    """A client that offers HTTP/2, as Java's does with its first request, is served in HTTP/1.1, and so is its next."""
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\n"
    with RawClient(shared_gateway.port) as client:
        for n in range(3):
            client.send(request(chat_body(f"offer {n}"), headers=offer))
            answer = client.read_answer()
            assert answer.status == 200, answer
            assert json.loads(answer.body)["choices"][0]["message"]["content"] == f"offer {n}"
        client.send(request(BODY))
        assert client.read_answer().status == 200
    assert "pip install" not in shared_gateway.stderr


def test_large_bodies_with_an_offer_arrive_whole(shared_gateway: GatewayProcess) -> None:
    """The body behind a declined upgrade is read to its end, in however many pieces, sized or chunked."""
    offer = b"connection: upgrade\r\nupgrade: websocket\r\n"
    body = chat_body("x", user="u" * 500_000)
    with RawClient(shared_gateway.port) as client:
        client.send(request(body, headers=offer))
        assert client.read_answer().status == 200
        client.send(request(headers=offer + CHUNKED, sized=False) + chunked(body))
        assert client.read_answer().status == 200


def test_thousands_of_headers_are_served_or_refused(shared_gateway: GatewayProcess) -> None:
    """Heads are capped by their size, on the first request of a connection and on later ones."""
    few, many = (b"".join(b"x-%d: y\r\n" % n for n in range(count)) for count in (3_000, 20_000))
    with RawClient(shared_gateway.port) as client:
        client.send(request(BODY, headers=few))
        assert client.read_answer().status == 200
        client.send(request(BODY, headers=many))
        answer = client.read_answer()
        assert answer.status == 431
        assert answer.error["code"] == "request_headers_too_large"
        assert client.read_to_end() == b""
    assert_serves(shared_gateway)


def test_a_large_body_before_it_does_not_make_a_head_large(shared_gateway: GatewayProcess) -> None:
    """A small request right behind a large one is within the cap."""
    large = chat_body("x", user="u" * 300_000)
    with RawClient(shared_gateway.port) as client:
        client.send((request(large) + request(BODY)) * 3)
        assert [client.read_answer().status for _ in range(6)] == [200] * 6
