"""Fixtures of all rings: simulated workers and the gateway as a process. What they return is in tests/support."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.sim_worker import Settings, SimWorker


@pytest.fixture
def start_sim_worker() -> Iterator[Callable[..., SimWorker]]:
    """Starts simulated workers, each with the given Settings fields; they stop after the test."""
    with ExitStack() as stack:

        def start(*, port: int = 0, **settings: Any) -> SimWorker:
            return stack.enter_context(SimWorker(Settings(**settings), port=port))

        yield start


@pytest.fixture
def sim_worker(start_sim_worker: Callable[..., SimWorker]) -> SimWorker:
    """One simulated worker with default settings."""
    return start_sim_worker()


@pytest.fixture
def start_gateway() -> Iterator[Callable[..., GatewayProcess]]:
    """Starts gateways from a configuration; after the test each gets SIGTERM and must exit 0."""
    with ExitStack() as stack:

        def start(config: dict[str, Any], **options: Any) -> GatewayProcess:
            return stack.enter_context(GatewayProcess(config, **options))

        yield start
