"""HTTP as it is on the wire, for what SDKs hide: headers, framing, the bytes of a stream."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.gateway_process import TEST_KEY, GatewayProcess

TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case; of several headers with one name the last."""
    body: bytes
    complete: bool
    """Whether the body came to the end that its framing announced."""

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """The frames of an event stream, without their blank lines."""
        return self.body.decode().removesuffix("\n\n").split("\n\n")


class Opened:
    """An answer whose head is in and whose body is still to be read, whole or line by line."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}

    def read_line(self) -> bytes:
        """The next line of the body as soon as it is there; b"" at the end."""
        return self._response.readline()

    def read_event(self) -> str:
        """The next frame of an event stream."""
        lines = []
        while (line := self.read_line()).strip():
            lines.append(line.decode())
        return "".join(lines).strip()

    def rest(self) -> Answer:
        """The rest of the body."""
        try:
            return Answer(self.status, self.headers, self._response.read(), complete=True)
        except http.client.IncompleteRead as cut:
            return Answer(self.status, self.headers, cut.partial, complete=False)


@contextmanager
def opened(
    gateway: GatewayProcess,
    path: str,
    body: object = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Opened]:
    """Sends a request (a POST of JSON if there is a body) with the test key and waits for the head of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=TIMEOUT_S)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    sent = {"authorization": f"Bearer {TEST_KEY}", "content-type": "application/json", **(headers or {})}
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, data, sent)
        yield Opened(connection.getresponse())
    finally:
        connection.close()


def ask(
    gateway: GatewayProcess,
    path: str,
    body: object = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Sends a request and reads the whole answer."""
    with opened(gateway, path, body, method=method, headers=headers) as answer:
        return answer.rest()
