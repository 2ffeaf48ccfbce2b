"""HTTP over a bare socket: requests that no client library would send, and answers read by the book."""

import json
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.gateway_process import TEST_KEY

CHAT_PATH = "/v1/chat/completions"
MODEL = "google/gemma-3-270m"
AUTHORIZATION = f"authorization: Bearer {TEST_KEY}\r\n".encode()
_STATUS_LINE = re.compile(rb"^HTTP/1\.1 (\d{3}) ")


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """One answer as it came off the wire. `whole` tells whether its transfer had a proper end."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool

    @property
    def error(self) -> dict[str, Any]:
        """The object in OpenAI's envelope; raises when the answer has another shape."""
        assert self.headers["content-type"] == "application/json", self
        document = json.loads(self.body)
        assert document.keys() == {"error"}, document
        error: dict[str, Any] = document["error"]
        assert error.keys() == {"message", "type", "param", "code"}, error
        assert isinstance(error["message"], str)
        assert isinstance(error["type"], str)
        assert error["param"] is None or isinstance(error["param"], str)
        assert error["code"] is None or isinstance(error["code"], str)
        return error


class RawClient:
    """One connection. Bytes go out as they are given; answers are parsed one after the other."""

    def __init__(self, port: int, *, timeout_s: float = 5.0, receive_buffer_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Sends everything, or as much as the other side takes before it closes."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def read_until(self, marker: bytes) -> bytes:
        """What comes up to and including `marker`; raises EOFError when the connection ends before it."""
        while marker not in self._buffer:
            self._more()
        end = self._buffer.index(marker) + len(marker)
        head, self._buffer = self._buffer[:end], self._buffer[end:]
        return head

    def read_answer(self) -> RawAnswer:
        """The next final answer; interim ones are skipped."""
        while True:
            lines = self.read_until(b"\r\n\r\n").split(b"\r\n")
            match = _STATUS_LINE.match(lines[0])
            assert match, lines[0]
            status = int(match[1])
            if status >= 200:
                break
        headers = {
            name.decode("latin-1").lower(): value.strip().decode("latin-1")
            for name, _, value in (line.partition(b":") for line in lines[1:] if line)
        }
        if "content-length" in headers:
            return RawAnswer(status, headers, self._exactly(int(headers["content-length"])), whole=True)
        body, whole = self._chunks()
        return RawAnswer(status, headers, body, whole)

    def read_to_end(self) -> bytes:
        """Everything until the other side closes."""
        try:
            while True:
                self._more()
        except (EOFError, ConnectionResetError):
            rest, self._buffer = self._buffer, b""
            return rest

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        try:
            while size := int(self.read_until(b"\r\n"), 16):
                body += self._exactly(size)
                assert self._exactly(2) == b"\r\n"
            assert self.read_until(b"\r\n") == b"\r\n"
        except (EOFError, ConnectionResetError):
            return body, False
        return body, True

    def _more(self) -> None:
        data = self.socket.recv(262_144)
        if not data:
            raise EOFError("the connection ended")
        self._buffer += data


def chat_body(content: str = "Hello", **fields: Any) -> bytes:
    """A chat request with one user message."""
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}).encode()


def request(
    body: bytes = b"",
    *,
    method: str = "POST",
    path: str = CHAT_PATH,
    headers: bytes | Iterable[bytes] = b"",
    key: bytes = AUTHORIZATION,
    sized: bool = True,
) -> bytes:
    """A request's bytes; `headers` and `key` are whole header lines."""
    lines = headers if isinstance(headers, bytes) else b"".join(headers)
    length = b"content-length: %d\r\n" % len(body) if sized else b""
    return b"%s %s HTTP/1.1\r\nhost: gateway\r\n%s%s%s\r\n%s" % (
        method.encode(),
        path.encode(),
        key,
        lines,
        length,
        body,
    )


def ask(port: int, data: bytes, *, timeout_s: float = 5.0) -> RawAnswer:
    """Sends bytes over a new connection and returns the first answer."""
    with RawClient(port, timeout_s=timeout_s) as client:
        client.send(data)
        return client.read_answer()
