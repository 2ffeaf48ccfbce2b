"""One gateway on one simulated worker for the tests that leave both as they were."""

import socket
from collections.abc import Iterator

import pytest

from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_idle, wait_until_up
from tests.support.secret_search import FOUND, SEARCHED
from tests.support.sim_worker import Settings, SimWorker

MAX_BODY_MB = 1


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_left_anywhere() -> Iterator[None]:
    """After the whole run: no log, metrics, command line or Redis that a test made holds the secret of a key."""
    already = len(FOUND)
    yield
    print(f"\n{len(SEARCHED)} logs, metrics, command lines and Redis contents searched for secrets")
    assert FOUND[already:] == []


@pytest.fixture(scope="module")
def shared_worker() -> Iterator[SimWorker]:
    """A worker that lives as long as its module's tests."""
    with SimWorker(Settings()) as worker:
        yield worker


@pytest.fixture(scope="module")
def shared_gateway(shared_worker: SimWorker) -> Iterator[GatewayProcess]:
    """A gateway with a body cap of 1 MB. At its end nothing is in flight, and its log holds neither key nor trace."""
    with GatewayProcess(gateway_config(shared_worker.url, server={"max_body_mb": MAX_BODY_MB})) as gateway:
        wait_until_up(gateway)
        yield gateway
        wait_until_idle(gateway)
        log = gateway.stderr
        assert TEST_KEY not in log
        assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:3000]
        times_ms = [line["ms"] for line in gateway.logs if line["message"] == "request"]
        if times_ms:
            print(f"\n{len(times_ms)} requests in the gateway's log, the slowest took {max(times_ms)} ms")


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
