"""A client that goes away frees the engine: asked of a real one, with and without the gateway between."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.engine.conftest import RealEngine
from tests.support.gateway_process import TEST_KEY

FREED_WITHIN_S = 1.0
START_DEADLINE_S = 30.0
LONG: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Write a long story"}],
    "max_tokens": 2000,
    "ignore_eos": True,
}
BUSY_READING: dict[str, Any] = {**LONG, "messages": [{"role": "user", "content": "word " * 3000}]}
"""The engine reads this prompt for seconds before the first token, in steps that it can be stopped between."""


def wait_until(condition: Callable[[], bool], deadline_s: float) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < deadline_s
        time.sleep(0.02)


@contextmanager
def sent(url: str, body: dict[str, Any]) -> Iterator[socket.socket]:
    """A connection on which a chat request went out; leaving the block closes it without having read the answer."""
    address = urlsplit(url)
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\nauthorization: Bearer {TEST_KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=START_DEADLINE_S) as connection:
        connection.sendall(head.encode() + data)
        yield connection


@pytest.fixture(params=["worker", "gateway"])
def base_url(request: pytest.FixtureRequest, gemma3: RealEngine) -> str:
    """Where the client calls: the engine itself, then the gateway in front of it."""
    return str(gemma3.url if request.param == "worker" else request.getfixturevalue("gateway").url)


def test_closing_a_stream_frees_the_engine(
    base_url: str, gemma3: RealEngine, running_requests: Callable[[], int]
) -> None:
    with sent(base_url, {"model": gemma3.model, **LONG, "stream": True}) as connection:
        received = b""
        while received.count(b"data: ") < 3:
            received += connection.recv(65_536)
        wait_until(lambda: running_requests() == 1, START_DEADLINE_S)
    wait_until(lambda: running_requests() == 0, FREED_WITHIN_S)


@pytest.mark.parametrize("stream", [False, True], ids=["one piece", "stream"])
def test_leaving_before_the_answer_frees_the_engine(
    base_url: str, gemma3: RealEngine, running_requests: Callable[[], int], stream: bool
) -> None:
    """Not a token has come when the client gives up: it asked for one piece, or the prompt is still being read."""
    body = {"model": gemma3.model, **(BUSY_READING if stream else LONG), "stream": stream}
    with sent(base_url, body):
        wait_until(lambda: running_requests() == 1, START_DEADLINE_S)
    wait_until(lambda: running_requests() == 0, START_DEADLINE_S if stream else FREED_WITHIN_S)
