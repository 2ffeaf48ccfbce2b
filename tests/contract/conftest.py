"""One set of workers and one gateway per patience for the whole ring; scripts and counts are new for every test."""

from collections.abc import Iterator

import pytest

from tests.support.deployment import Workers, running_gateway, running_workers
from tests.support.gateway_process import GatewayProcess
from tests.support.sim_worker import SimWorker


@pytest.fixture(scope="session")
def _workers() -> Iterator[Workers]:
    with running_workers() as workers:
        yield workers


@pytest.fixture(scope="session")
def _gateway(_workers: Workers) -> Iterator[GatewayProcess]:
    with running_gateway(_workers, max_body_mb=1) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def _hasty_gateway(_workers: Workers) -> Iterator[GatewayProcess]:
    with running_gateway(_workers, request_timeout_s=0.5) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def _lively_gateway(_workers: Workers) -> Iterator[GatewayProcess]:
    with running_gateway(_workers, keepalive_s=0.2, stream_idle_timeout_s=0.7, request_timeout_s=10) as gateway:
        yield gateway


@pytest.fixture
def workers(_workers: Workers) -> Workers:
    """The workers, without what earlier tests told them; a request that one of them left running fails this test."""
    _workers.reset()
    return _workers


@pytest.fixture
def worker(workers: Workers) -> SimWorker:
    """The worker of the CHAT model."""
    return workers.chat


@pytest.fixture
def gateway(workers: Workers, _gateway: GatewayProcess) -> GatewayProcess:
    """A gateway that takes bodies up to 1 MB and has all the time."""
    return _gateway


@pytest.fixture
def hasty_gateway(workers: Workers, _hasty_gateway: GatewayProcess) -> GatewayProcess:
    """A gateway whose requests may take half a second."""
    return _hasty_gateway


@pytest.fixture
def lively_gateway(workers: Workers, _lively_gateway: GatewayProcess) -> GatewayProcess:
    """A gateway that sends comments after 0.2 s of silence and gives a silent worker up after 0.7 s."""
    return _lively_gateway


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
