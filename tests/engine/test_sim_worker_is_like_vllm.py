"""The simulated worker against a real vLLM: the same requests, and the same shapes, statuses and order of frames."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.support.replay import Case, load_cases, observe
from tests.support.sim_worker import Settings, SimWorker

_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def real(gemma3: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gemma3, timeout=_TIMEOUT_S) as client:
        yield client


@pytest.fixture(scope="module")
def simulated() -> Iterator[httpx2.Client]:
    with SimWorker(Settings(embeddings=False)) as worker, httpx2.Client(base_url=worker.url) as client:
        yield client


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
def test_same_request_same_shape(case: Case, real: httpx2.Client, simulated: httpx2.Client) -> None:
    assert observe(simulated, case) == observe(real, case)
