"""Bodies that are no chat request: each gets its documented error, and the gateway serves the next request."""

import gzip
import json
import socket
import zlib
from collections.abc import Callable

import pytest

from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.gateway_view import log_line
from tests.support.raw_http import AUTHORIZATION, MODEL, RawAnswer, RawClient, ask, chat_body, request

DEPTH = 100_000
DEEP_OBJECT = '{"a":' * DEPTH + "0" + "}" * DEPTH
MESSAGES = f'"model": "{MODEL}", "messages": [{{"role": "user", "content": "Hi"}}]'
GENEROUS_MS = 2_000


def nested(field: str, opening: str = "[", closing: str = "]") -> bytes:
    """A chat request whose `field` is nested far deeper than any parser's stack."""
    return f'{{{MESSAGES}, "{field}": {opening * DEPTH}0{closing * DEPTH}}}'.encode()


NESTED = {
    "everything": b"[" * DEPTH,
    "everything, closed": b"[" * DEPTH + b"]" * DEPTH,
    "objects": b'{"a":' * DEPTH,
    "unknown field": nested("unknown"),
    "unknown field of objects": nested("unknown", '{"a":', "}"),
    "known field of a wrong type": nested("temperature"),
    "known field of free form": nested("structured_outputs", '{"a":', "}"),
    "template switches": nested("chat_template_kwargs", '{"a":', "}"),
    "messages": f'{{"model": "{MODEL}", "messages": {"[" * DEPTH}{"]" * DEPTH}}}'.encode(),
    "content": f'{{"model": "{MODEL}", "messages": [{{"role": "user", "content": {"[" * DEPTH}'.encode(),
    "a tool's schema": (
        f'{{{MESSAGES}, "tools": [{{"type": "function", "function": {{"name": "f", "parameters": {DEEP_OBJECT}}}}}]}}'
    ).encode(),
    "a reply's schema": (
        f'{{{MESSAGES}, "response_format": {{"type": "json_schema", "json_schema": '
        f'{{"name": "f", "schema": {DEEP_OBJECT}}}}}}}'
    ).encode(),
}
MALFORMED = {
    "empty": b"",
    "white space": b"  \r\n ",
    "no JSON": b"hello",
    "cut off": chat_body()[:-5],
    "trailing comma": b"{" + MESSAGES.encode() + b",}",
    "two values": chat_body() + chat_body(),
    "single quotes": chat_body().replace(b'"', b"'"),
    "a byte order mark": b"\xef\xbb\xbf" + chat_body(),
    "UTF-16": chat_body().decode().encode("utf-16"),
    "Latin-1": chat_body("?").replace(b"?", b"\xe9"),
    "raw NUL in a string": chat_body("?").replace(b"?", b"\x00"),
    "raw NUL behind": chat_body() + b"\x00",
    "NUL bytes only": b"\x00" * 1000,
    "raw line break in a string": chat_body("?").replace(b"?", b"\n"),
    "escaped lone high surrogate": chat_body("?").replace(b"?", rb"\ud800"),
    "escaped lone low surrogate": chat_body("?").replace(b"?", rb"\udc00 tail"),
    "escaped surrogates in the wrong order": chat_body("?").replace(b"?", rb"\udc00\ud800"),
    "surrogate as CESU-8 bytes": chat_body("?").replace(b"?", b"\xed\xa0\x80"),
    "surrogate pair as CESU-8 bytes": chat_body("?").replace(b"?", b"\xed\xa0\xbd\xed\xb8\x80"),
    "overlong UTF-8": chat_body("?").replace(b"?", b"\xc0\xaf"),
    "UTF-8 beyond Unicode": chat_body("?").replace(b"?", b"\xf4\x90\x80\x80"),
    "surrogate in a name": chat_body().replace(b'"role"', rb'"role\ud800"'),
    "NaN": chat_body().replace(b"}]", b'}], "temperature": NaN'),
    "hexadecimal number": chat_body().replace(b"}]", b'}], "seed": 0x10'),
    "urlencoded form": b"model=gemma&messages=hello",
}
WRONG_TYPES: dict[str, tuple[bytes, str | None]] = {
    "null": (b"null", None),
    "a number": (b"1", None),
    "a string": (b'"hello"', None),
    "an array": (b"[" + chat_body() + b"]", None),
    "no model": (b'{"messages": [{"role": "user", "content": "Hi"}]}', "model"),
    "no messages": (json.dumps({"model": MODEL}).encode(), "messages"),
    "empty messages": (json.dumps({"model": MODEL, "messages": []}).encode(), "messages"),
    "model as a number": (b'{"model": 4, "messages": [{"role": "user", "content": "Hi"}]}', "model"),
    "messages as a string": (json.dumps({"model": MODEL, "messages": "Hi"}).encode(), "messages"),
    "message as a string": (json.dumps({"model": MODEL, "messages": ["Hi"]}).encode(), "messages[0]"),
    "unknown role": (json.dumps({"model": MODEL, "messages": [{"role": "king", "content": "Hi"}]}).encode(), None),
    "temperature as text": (chat_body(temperature="hot"), "temperature"),
    "temperature beyond": (chat_body(temperature=2.1), "temperature"),
    "infinite temperature": (chat_body().replace(b"}]", b'}], "temperature": 1e999'), "temperature"),
    "a million digits": (chat_body().replace(b"}]", b'}], "seed": ' + b"9" * 900_000), "seed"),
    "stream as text": (chat_body(stream="yes"), "stream"),
    "n of zero": (chat_body(n=0), "n"),
    "negative max_tokens": (chat_body(max_tokens=-1), "max_tokens"),
    "tools as an object": (chat_body(tools={}), "tools"),
    "too many stops": (chat_body(stop=["a"] * 5), "stop"),
    "stream_options without stream": (chat_body(stream_options={"include_usage": True}), "stream_options"),
}


def assert_serves(gateway: GatewayProcess) -> None:
    """The process lives and serves a good request on a fresh connection."""
    assert ask(gateway.port, request(chat_body())).status == 200


def refused(gateway: GatewayProcess, data: bytes, status: int, report: Callable[[str], None] = print) -> RawAnswer:
    """Sends a request that must be refused with `status` and leave no trace; returns the answer."""
    answer = ask(gateway.port, data)
    assert answer.status == status, answer
    assert TEST_KEY.encode() not in answer.body
    assert b"Traceback" not in answer.body
    assert b'File "' not in answer.body
    spent_ms = log_line(gateway, answer.headers["x-request-id"])["ms"]
    assert isinstance(spent_ms, float)
    report(f"refused in {spent_ms} ms: {answer.error['message'][:100]}")
    assert spent_ms < GENEROUS_MS
    assert_serves(gateway)
    return answer


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_json_is_refused(shared_gateway: GatewayProcess, body: bytes) -> None:
    """Malformed JSON is a 400 without `param`, whichever way it is malformed."""
    answer = refused(shared_gateway, request(body), 400)
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["code"] is None


@pytest.mark.parametrize("body", NESTED.values(), ids=NESTED)
def test_deep_nesting_is_refused(shared_gateway: GatewayProcess, body: bytes) -> None:
    """Nesting deeper than the stack is a 400 wherever it is, and never a crash."""
    assert refused(shared_gateway, request(body), 400).error["type"] == "invalid_request_error"


@pytest.mark.parametrize("field", ["structured_outputs", "chat_template_kwargs", "mm_processor_kwargs"])
def test_nesting_at_the_brink_is_served_or_refused(shared_gateway: GatewayProcess, field: str) -> None:
    """What the decoder just takes, the encoder may not: that too is a 400 and not a fault of the gateway."""
    seen: set[int] = set()
    with RawClient(shared_gateway.port) as client:
        for depth in range(900, 1010, 2):
            value = '{"a":' * depth + "0" + "}" * depth
            client.send(request(f'{{{MESSAGES}, "{field}": {value}}}'.encode()))
            answer = client.read_answer()
            assert answer.status in (200, 400), (depth, answer)
            seen.add(answer.status)
    assert 400 in seen
    assert_serves(shared_gateway)


@pytest.mark.parametrize(("body", "param"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_wrong_types_name_the_field(shared_gateway: GatewayProcess, body: bytes, param: str | None) -> None:
    """An ill-typed field is a 400 whose `param` is the field's path."""
    answer = refused(shared_gateway, request(body), 400)
    if param is not None:
        assert answer.error["param"] == param


def test_escaped_nul_is_text(shared_gateway: GatewayProcess) -> None:
    """An escaped NUL is a character like any other, in a stream and in a whole answer."""
    answer = ask(shared_gateway.port, request(chat_body("a\0b")))
    assert answer.status == 200
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "a\0b"


def test_paired_surrogates_are_one_character(shared_gateway: GatewayProcess) -> None:
    """An escaped pair of surrogates is the character it stands for."""
    answer = ask(shared_gateway.port, request(chat_body("😀")))
    assert rb"\ud83d\ude00" in chat_body("😀")
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "😀"


@pytest.mark.parametrize("name", ["", "gpt-9", "x" * 500_000, "a\0b", "../../etc/passwd", "<script>", "\u202e"])
def test_unknown_models_are_not_found(shared_gateway: GatewayProcess, name: str) -> None:
    """An unknown model is a 404 that doesn't repeat more than the start of its name."""
    answer = ask(
        shared_gateway.port, request(chat_body().replace(json.dumps(MODEL).encode(), json.dumps(name).encode()))
    )
    assert answer.status in ((400, 404) if not name or len(name) > 1000 or "\0" in name else (404,))
    assert answer.error["param"] == "model"
    assert len(answer.body) < 1000
    assert_serves(shared_gateway)


def test_a_stated_length_over_the_cap_is_refused_unread(shared_gateway: GatewayProcess) -> None:
    """Content-Length over the cap is a 413 before a byte of the body is read."""
    head = request(headers=b"content-length: 1048577\r\n", sized=False)
    answer = refused(shared_gateway, head, 413)
    assert answer.error["code"] == "request_too_large"
    assert answer.headers["x-should-retry"] == "false"


def test_a_body_over_the_cap_is_refused_although_the_client_goes_on(shared_gateway: GatewayProcess) -> None:
    """A client that sends its 20 MB before it reads finds the 413, not a reset."""
    answer = refused(shared_gateway, request(b"x" * 20_000_000), 413)
    assert answer.error["code"] == "request_too_large"


def test_chunks_over_the_cap_are_refused(shared_gateway: GatewayProcess) -> None:
    """A body of unknown length is refused when it passes the cap, not at its end."""
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    head = request(headers=b"transfer-encoding: chunked\r\n", sized=False)
    answer = refused(shared_gateway, head + chunk * 40, 413)
    assert answer.error["code"] == "request_too_large"


def test_a_body_of_the_cap_is_served(shared_gateway: GatewayProcess) -> None:
    """The cap itself is allowed; one byte more is not."""
    exact = chat_body()
    exact += b" " * (1_048_576 - len(exact))
    assert ask(shared_gateway.port, request(exact)).status == 200
    refused(shared_gateway, request(exact + b" "), 413)


def test_expectations_are_answered_before_the_body(shared_gateway: GatewayProcess) -> None:
    """`Expect: 100-continue` gets 100 for a fair size, and the refusal at once for what would be refused anyway."""
    with RawClient(shared_gateway.port) as client:
        body = chat_body()
        head = request(headers=b"expect: 100-continue\r\ncontent-length: %d\r\n" % len(body), sized=False)
        client.send(head)
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        assert client.read_answer().status == 200
    for line, key, status in ((b"99999999", AUTHORIZATION, 413), (b"10", b"", 401)):
        head = request(headers=b"expect: 100-continue\r\ncontent-length: " + line + b"\r\n", sized=False, key=key)
        with RawClient(shared_gateway.port) as client:
            client.send(head)
            assert client.read_until(b"\r\n").startswith(b"HTTP/1.1 %d " % status)
    assert_serves(shared_gateway)


def packed(data: bytes) -> bytes:
    """A chat request with a packed body."""
    return request(data, headers=b"content-encoding: gzip\r\n")


def test_packed_bodies_are_unpacked(shared_gateway: GatewayProcess) -> None:
    """A body packed by gzip is understood, in several members too."""
    body = chat_body()
    assert ask(shared_gateway.port, packed(gzip.compress(body))).status == 200
    assert ask(shared_gateway.port, packed(gzip.compress(body[:10]) + gzip.compress(body[10:]))).status == 200


def test_gzip_bombs_are_refused(shared_gateway: GatewayProcess) -> None:
    """A small body that unpacks to 1 GB is refused at the cap."""
    bomb = gzip.compress(b" " * 64_000_000, 9) * 16
    assert len(bomb) < 1_048_576
    assert refused(shared_gateway, packed(bomb), 413).error["code"] == "request_too_large"
    nested_bomb = gzip.compress(bomb)
    assert refused(shared_gateway, packed(nested_bomb), 400).error["code"] is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not packed",
        gzip.compress(chat_body())[:-9],
        gzip.compress(chat_body()) + b"garbage",
        zlib.compress(chat_body()),
        b"\x1f\x8b\x09" + gzip.compress(chat_body())[3:],
    ],
    ids=["empty", "plain", "cut off", "garbage behind", "zlib", "unknown method"],
)
def test_broken_gzip_is_refused(shared_gateway: GatewayProcess, data: bytes) -> None:
    """What says gzip and isn't is a 400."""
    refused(shared_gateway, packed(data), 400)


def test_other_encodings_are_refused(shared_gateway: GatewayProcess) -> None:
    """An encoding that the gateway can't unpack is a 400, not a misreading."""
    for name in (b"br", b"deflate", b"zstd", b"gzip, gzip", b"\xff"):
        refused(shared_gateway, request(chat_body(), headers=b"content-encoding: " + name + b"\r\n"), 400)


def test_content_types_do_not_matter(shared_gateway: GatewayProcess) -> None:
    """JSON is read whatever the client calls it, as OpenAI's clients in other languages expect."""
    for kind in (b"", b"content-type: text/plain\r\n", b"content-type: application/json; charset=utf-16\r\n"):
        assert ask(shared_gateway.port, request(chat_body(), headers=kind)).status == 200


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
def test_other_endpoints_refuse_alike(shared_gateway: GatewayProcess, path: str) -> None:
    """Completions and embeddings have the same guards."""
    for body in (b"", b"[" * DEPTH, chat_body()[:-3], b'{"model": 5}', nested("unknown")):
        refused(shared_gateway, request(body, path=path), 400)


def test_a_half_closed_client_counts_as_gone(shared_gateway: GatewayProcess) -> None:
    """A client that ends its side has hung up: the next one is served all the same."""
    with RawClient(shared_gateway.port) as client:
        client.send(request(chat_body()))
        client.socket.shutdown(socket.SHUT_WR)
        client.read_to_end()
    assert_serves(shared_gateway)
