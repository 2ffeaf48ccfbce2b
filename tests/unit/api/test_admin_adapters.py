"""`/admin/v1/adapters` as its callers see it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from gateway.routing.discovery.overrides import AdapterWish, Overrides, OverridesUnavailableError
from gateway.routing.fleet import ServedModel
from gateway.values import WorkerFacts
from tests.support.admin_api import ADMIN_KEY, AdminWorld
from tests.support.key_files import FILE, SMALL

ADAPTERS = "/admin/v1/adapters"
NAME = f"{SMALL}@support"


class Engine:
    """One worker that has what it was told to load."""

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.refusal: httpx2.Response | None = None

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/models":
            cards = [{"id": name, "parent": SMALL, "root": root} for name, root in self.held.items()]
            return httpx2.Response(200, json={"data": cards})
        if self.refusal is not None:
            return self.refusal
        self.held = {} if request.url.path == "/v1/unload_lora_adapter" else {"support": "/a"}
        return httpx2.Response(200)


@pytest.fixture
def engine() -> Engine:
    """Has no adapter yet."""
    return Engine()


@pytest.fixture
def world(tmp_path: Path, engine: Engine) -> AdminWorld:
    """The worker is up."""
    file_text = FILE.replace("aliases: [gpt-4o-mini]", "aliases: [gpt-4o-mini], adapters: [support]")
    transport = httpx2.MockTransport(engine.answer)
    world = AdminWorld(tmp_path / "gateway.yaml", file_text=file_text, transport=transport)
    for worker in base_of(world).workers:
        worker.mark_up(WorkerFacts(8_192, ()))
    return world


@pytest.fixture
def client(world: AdminWorld) -> Iterator[TestClient]:
    """Presents the admin key."""
    with TestClient(world.app, headers={"authorization": f"Bearer {ADMIN_KEY}"}) as client:
        yield client


def base_of(world: AdminWorld) -> ServedModel:
    model = world.fleet.find(SMALL)
    assert model is not None
    return model


def error_of(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


def test_an_adapter_is_loaded_and_unloaded(client: TestClient, world: AdminWorld, engine: Engine) -> None:
    """Saying it twice changes nothing; the list and the log of changes show it."""
    for _ in range(2):
        answer = client.post(ADAPTERS, json={"model": NAME, "path": "/a"})
        assert answer.status_code == 200, answer.text
        (worker,) = answer.json()["workers"]
        assert worker == {"id": "127.0.0.1:9", "loaded": True, "path": "/a", "problem": None}
    (shown,) = client.get(ADAPTERS).json()["data"]
    assert shown == answer.json()
    assert (shown["model"], shown["base"], shown["adapter"]) == (NAME, SMALL, "support")
    assert (shown["wanted"], shown["path"]) == ("loaded", "/a")
    assert world.keeper.wishes == (AdapterWish(SMALL, "support", "/a"),)
    answer = client.delete(f"{ADAPTERS}/{NAME}")
    assert answer.status_code == 200
    assert (answer.json()["wanted"], answer.json()["workers"][0]["loaded"]) == ("unloaded", False)
    assert engine.held == {}
    audit = client.get("/admin/v1/audit").json()["data"]
    assert [(entry["action"], entry["target"]) for entry in audit] == [
        ("adapter.unload", NAME),
        ("adapter.load", NAME),
        ("adapter.load", NAME),
    ]
    assert audit[1]["detail"] == {"path": "/a", "done": 1, "workers": 1}


def test_before_anybody_said_anything_the_engines_decide(client: TestClient, world: AdminWorld) -> None:
    """The list tells what they have."""
    base_of(world).workers[0].note_adapters({"support": "/flag"})
    (shown,) = client.get(ADAPTERS).json()["data"]
    assert (shown["wanted"], shown["path"]) == (None, None)
    assert shown["workers"][0]["path"] == "/flag"


@pytest.mark.parametrize("earlier", [True, False])
def test_what_every_engine_refuses_changes_nothing(
    client: TestClient, world: AdminWorld, engine: Engine, earlier: bool
) -> None:
    """409 in the engine's words; what was wished before stays."""
    if earlier:
        client.post(ADAPTERS, json={"model": NAME, "path": "/a"})
    before = world.keeper.wishes
    engine.refusal = httpx2.Response(404, json={"error": {"message": "No adapter found for /b"}})
    error = error_of(client.post(ADAPTERS, json={"model": NAME, "path": "/b"}), 409)
    assert "127.0.0.1:9: No adapter found for /b" in error["message"]
    assert error["param"] == "path"
    assert world.keeper.wishes == before
    assert len(client.get("/admin/v1/audit").json()["data"]) == len(before)


def test_a_worker_that_is_down_gets_it_later(client: TestClient, world: AdminWorld) -> None:
    """207: the wish is kept, and the worker's problem is told."""
    base_of(world).workers[0].mark_down("ConnectError")
    answer = client.post(ADAPTERS, json={"model": NAME, "path": "/a"})
    assert answer.status_code == 207
    assert answer.json()["workers"] == [{"id": "127.0.0.1:9", "loaded": False, "path": None, "problem": "ConnectError"}]
    assert world.keeper.wishes == (AdapterWish(SMALL, "support", "/a"),)


def test_a_model_without_workers_keeps_the_wish(client: TestClient, world: AdminWorld) -> None:
    """Discovery may find some later."""
    model = base_of(world)
    world.fleet.remove(model, model.workers[0])
    answer = client.post(ADAPTERS, json={"model": NAME, "path": "/a"})
    assert (answer.status_code, answer.json()["workers"]) == (200, [])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": NAME}, 400, "path"),
        ({"path": "/a"}, 400, "model"),
        ({"model": NAME, "path": ""}, 400, "path"),
        ({"model": NAME, "path": "a\0b"}, 400, "path"),
        ({"model": NAME, "path": "/a\n"}, 400, "path"),
        ({"model": NAME, "path": "/" * 4_097}, 400, "path"),
        ({"model": NAME, "path": ["/a"]}, 400, "path"),
        ({"model": NAME, "path": "/a", "base": "x"}, 400, None),
        ({"model": SMALL, "path": "/a"}, 400, "model"),
        ({"model": "gpt-4o-mini", "path": "/a"}, 400, "model"),
        ({"model": f"{SMALL}@other", "path": "/a"}, 404, "model"),
        ({"model": "support", "path": "/a"}, 404, "model"),
    ],
)
def test_a_bad_body_changes_nothing(
    client: TestClient, world: AdminWorld, body: dict[str, Any], status: int, param: str | None
) -> None:
    """The field at fault is named; only adapters of the file have a name that clients can ask for."""
    assert error_of(client.post(ADAPTERS, json=body), status)["param"] == param
    assert world.keeper.wishes == ()


def test_only_adapters_of_the_file_can_be_unloaded(client: TestClient) -> None:
    """Not a model, not a name that nobody knows."""
    error_of(client.delete(f"{ADAPTERS}/{SMALL}"), 400)
    error_of(client.delete(f"{ADAPTERS}/nobody@support"), 404)
    assert client.delete(ADAPTERS).status_code == 405
    assert client.get(ADAPTERS, headers={"authorization": "Bearer wrong-key-1"}).status_code == 401


def test_a_store_that_is_away_is_said(
    client: TestClient, world: AdminWorld, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, and no engine was asked."""

    async def away() -> Overrides:
        raise OverridesUnavailableError("Redis: TimeoutError")

    monkeypatch.setattr(world.overrides, "read", away)
    assert error_of(client.post(ADAPTERS, json={"model": NAME, "path": "/a"}), 503)["code"] == "store_unavailable"
    assert engine.held == {}
