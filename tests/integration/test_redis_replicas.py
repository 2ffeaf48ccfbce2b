"""Three processes on one Redis: limits are exact between them, and a killed one frees what it held."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Self

import pytest

from tests.support.redis_server import RedisServer

LEASES_FREE_WITHIN_S = 15.0


class Replica:
    """The process of `tests.support.limit_replica`; killed at the end."""

    def __init__(self, url: str, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.limit_replica", url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._read() == "ready"
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def ask(self, count: int, *, tokens: int = 0, **limits: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"limits": limits, "tokens": tokens, "count": count}) + "\n")
        self._process.stdin.flush()

    def granted(self) -> int:
        answer: dict[str, Any] = json.loads(self._read())
        return int(answer["granted"])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as process:
        yield process


@pytest.fixture
def replicas(server: RedisServer) -> Iterator[list[Replica]]:
    with server.client() as client:
        client.flushall()
    with ExitStack() as stack:
        yield [stack.enter_context(Replica(server.url, name)) for name in "abc"]


def burst(replicas: list[Replica], each: int, *, tokens: int = 0, **limits: int) -> int:
    """Ask all at the same time; how many were granted."""
    for replica in replicas:
        replica.ask(each, tokens=tokens, **limits)
    return sum(replica.granted() for replica in replicas)


def test_a_burst_from_three_replicas_admits_exactly_the_limit(replicas: list[Replica]) -> None:
    """300 requests at once, 100 allowed."""
    assert burst(replicas, 100, requests_per_minute=100) == 100


def test_a_burst_of_tokens_admits_exactly_the_limit(replicas: list[Replica]) -> None:
    """300 requests of 70 tokens, 7,000 tokens allowed."""
    assert burst(replicas, 100, tokens=70, tokens_per_minute=7_000) == 100


def test_a_burst_of_streams_admits_exactly_the_limit(replicas: list[Replica]) -> None:
    """300 requests in flight at once, 100 allowed."""
    assert burst(replicas, 100, concurrent_requests=100) == 100


def test_a_killed_replica_frees_its_leases(replicas: list[Replica]) -> None:
    """The others' requests keep theirs, being renewed, for longer than a lease lives."""
    killed, kept, asking = replicas
    killed.ask(20, concurrent_requests=30)
    kept.ask(10, concurrent_requests=30)
    assert (killed.granted(), kept.granted()) == (20, 10)
    asking.ask(1, concurrent_requests=30)
    assert asking.granted() == 0
    killed.kill()
    died_at = time.monotonic()
    admitted = 0
    while admitted < 20 and time.monotonic() - died_at < LEASES_FREE_WITHIN_S + 0.5:
        time.sleep(0.2)
        asking.ask(30, concurrent_requests=30)
        admitted += asking.granted()
    took_s = time.monotonic() - died_at
    assert admitted == 20
    assert took_s <= LEASES_FREE_WITHIN_S + 0.5
    print(f"\nleases of the killed replica were free after {took_s:.1f} s")
    time.sleep(max(0.0, died_at + 17 - time.monotonic()))
    asking.ask(1, concurrent_requests=30)
    assert asking.granted() == 0
