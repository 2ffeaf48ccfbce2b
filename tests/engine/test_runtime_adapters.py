"""LoRA adapters loaded and unloaded at a real vLLM by the admin API."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from deploy.local.places import Places
from tests.engine.conftest import TIMEOUT_S, RealEngine
from tests.support.admin_client import ADMIN_KEY
from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_up

NAME = "another"


@pytest.fixture(scope="module")
def gateway(gemma3: RealEngine) -> Iterator[httpx2.Client]:
    config: dict[str, Any] = gateway_config(gemma3.url, model=gemma3.model, admin={"key": ADMIN_KEY})
    config["models"][0]["adapters"] = [NAME]
    with GatewayProcess(config) as running, httpx2.Client(base_url=running.url, timeout=TIMEOUT_S) as client:
        wait_until_up(running)
        yield client


@pytest.fixture
def weights(gemma3: RealEngine) -> str:
    """The adapter of the repository, which the engine serves by another name already."""
    return str(Places.from_environment().adapters / str(gemma3.adapter_model))


def change(gateway: httpx2.Client, method: str, place: str, **body: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    return gateway.request(method, f"/admin/v1/adapters{place}", json=body or None, headers=headers)


def chat_status(gateway: httpx2.Client, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
    headers = {"authorization": f"Bearer {TEST_KEY}"}
    return gateway.post("/v1/chat/completions", json=body, headers=headers).status_code


def test_an_adapter_comes_and_goes_while_the_engine_runs(
    gateway: httpx2.Client, gemma3: RealEngine, weights: str
) -> None:
    """Loading twice and unloading twice is no error, though the engine refuses both."""
    model = f"{gemma3.model}@{NAME}"
    for _ in range(2):
        loaded = change(gateway, "POST", "", model=model, path=weights)
        assert loaded.status_code == 200, loaded.text
        assert [worker["path"] for worker in loaded.json()["workers"]] == [weights]
    assert chat_status(gateway, model) == 200
    for _ in range(2):
        gone = change(gateway, "DELETE", f"/{model}")
        assert gone.status_code == 200, gone.text
        assert [worker["loaded"] for worker in gone.json()["workers"]] == [False]
    assert chat_status(gateway, model) == 503
    assert chat_status(gateway, gemma3.model) == 200


def test_what_the_engine_refuses_is_told_in_its_words(gateway: httpx2.Client, gemma3: RealEngine) -> None:
    refused = change(gateway, "POST", "", model=f"{gemma3.model}@{NAME}", path="/nowhere/at/all")
    assert refused.status_code == 409
    assert "No adapter found for /nowhere/at/all" in refused.json()["error"]["message"]
