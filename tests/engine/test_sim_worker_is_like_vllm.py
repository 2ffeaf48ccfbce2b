"""The simulated worker against the real engine: the same requests must get answers of the same shape."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.engine.conftest import RealEngine
from tests.support.replay import Case, load_cases, observe
from tests.support.sim_worker import Settings, SimWorker


@pytest.fixture(scope="module")
def simulated(gemma3: RealEngine) -> Iterator[httpx2.Client]:
    """A client of a simulated worker that serves the engine's model and adapter and, like it, no embeddings."""
    adapters = (gemma3.adapter_model,) if gemma3.adapter_model else ()
    settings = Settings(model=gemma3.model, lora_modules=adapters, embeddings=False)
    with SimWorker(settings) as sim, httpx2.Client(base_url=sim.url) as client:
        yield client


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
def test_answers_have_the_same_shape(case: Case, worker: httpx2.Client, simulated: httpx2.Client) -> None:
    assert observe(simulated, case) == observe(worker, case)
