"""Real vLLM engines, started once for the ring, and gateways in front of them.

`GEMMA3_URL` and `GEMMA4_DOUBLE_URL` name engines that run already (deploy/local/engines prints them); what is not named
is installed, started and stopped here. Both engines start at once when the chosen tests need both.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType

import httpx2
import pytest
from openai import OpenAI

from deploy.local import engine, processes, weights
from deploy.local.engines_command import GEMMA3, GEMMA4_DOUBLE, prepare
from deploy.local.places import Places
from deploy.local.processes import Child
from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config

TIMEOUT_S = 120.0
FIXTURES = MappingProxyType({"gemma3": GEMMA3, "gemma4_double": GEMMA4_DOUBLE})
MODELS = MappingProxyType({"gemma3": weights.PACKAGED_MODEL, "gemma4_double": weights.DOUBLE_MODEL})
ADAPTERS = MappingProxyType({"gemma3": weights.TOOLS_MODEL})


@dataclass(frozen=True, slots=True)
class RealEngine:
    """A vLLM server that answers. `started` is its process when it was started here and may still be starting."""

    url: str
    model: str
    adapter_model: str | None = None
    """The model that calls tools: a LoRA adapter of `model`."""
    started: Child | None = None

    def ready(self) -> "RealEngine":
        if self.started is not None:
            engine.wait_until_ready(self.started, self.url, lambda _: None)
        return self


@pytest.fixture(scope="session")
def _engines(request: pytest.FixtureRequest) -> Iterator[dict[str, RealEngine]]:
    """The engines that the selected tests use, all started before the first is waited for."""
    needed = [
        name for name in FIXTURES if any(name in getattr(item, "fixturenames", ()) for item in request.session.items)
    ]
    found: dict[str, RealEngine] = {}
    for name in needed:
        if url := os.environ.get(FIXTURES[name].variable):
            found[name] = RealEngine(url.rstrip("/"), MODELS[name], ADAPTERS.get(name))
    try:
        if missing := [name for name in needed if name not in found]:
            places = Places.from_environment()
            checkpoints = dict(zip(FIXTURES, prepare(places), strict=True))
            for name in missing:
                spec = engine.EngineSpec(checkpoints[name], engine.free_port(), runtime_adapters=name == "gemma3")
                started = engine.start(spec, places)
                found[name] = RealEngine(spec.url, spec.checkpoint.model, ADAPTERS.get(name), started)
        yield found
    finally:
        processes.stop([real.started for real in found.values() if real.started is not None])


@pytest.fixture(scope="session")
def gemma3(_engines: dict[str, RealEngine]) -> RealEngine:
    """Gemma 3 270M with Gemma 3's chat template."""
    return _engines["gemma3"].ready()


@pytest.fixture(scope="session")
def gemma4_double(_engines: dict[str, RealEngine]) -> RealEngine:
    """The same weights behind Gemma 4's tokens and chat template: right on the wire, nonsense in words."""
    return _engines["gemma4_double"].ready()


@pytest.fixture
def worker(gemma3: RealEngine) -> Iterator[httpx2.Client]:
    """A client of the Gemma 3 engine itself."""
    with httpx2.Client(base_url=gemma3.url, timeout=TIMEOUT_S) as client:
        yield client


@pytest.fixture
def double(gemma4_double: RealEngine) -> Iterator[httpx2.Client]:
    """A client of the Gemma 4 double itself."""
    with httpx2.Client(base_url=gemma4_double.url, timeout=TIMEOUT_S) as client:
        yield client


@pytest.fixture(scope="session")
def gateway(gemma3: RealEngine) -> Iterator[GatewayProcess]:
    """The gateway in front of the Gemma 3 engine."""
    with GatewayProcess(gateway_config(gemma3.url, model=gemma3.model)) as process:
        yield process
    process.close()


@pytest.fixture(scope="session")
def gateway_of_double(gemma4_double: RealEngine) -> Iterator[GatewayProcess]:
    """The gateway in front of the Gemma 4 double, which it takes for Gemma 4 31B."""
    with GatewayProcess(gateway_config(gemma4_double.url, model=gemma4_double.model)) as process:
        yield process
    process.close()


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[OpenAI]:
    """The OpenAI SDK as it comes, talking to the gateway."""
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
        yield client


@pytest.fixture
def client_of_double(gateway_of_double: GatewayProcess) -> Iterator[OpenAI]:
    """The OpenAI SDK, talking to the gateway of the Gemma 4 double."""
    with OpenAI(base_url=f"{gateway_of_double.url}/v1", api_key=TEST_KEY, max_retries=0, timeout=TIMEOUT_S) as client:
        yield client


@pytest.fixture
def running_requests(gemma3: RealEngine) -> Callable[[], int]:
    """How many requests the Gemma 3 engine is working on."""

    def count() -> int:
        text = httpx2.get(f"{gemma3.url}/metrics", timeout=TIMEOUT_S).text
        found = [line for line in text.splitlines() if line.startswith("vllm:num_requests_running{")]
        return round(sum(float(line.rpartition(" ")[2]) for line in found))

    return count
