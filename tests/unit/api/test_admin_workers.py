"""`/admin/v1/workers` as its callers see it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gateway.routing.discovery.overrides import Overrides, OverridesUnavailableError
from tests.support.admin_api import ADMIN_KEY, AdminWorld
from tests.support.key_files import LARGE, SMALL

WORKERS = "/admin/v1/workers"
NEW_URL = "http://10.9.9.9:8000"
NEW = "10.9.9.9:8000"


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    """Nothing but the file."""
    return AdminWorld(tmp_path / "gateway.yaml")


@pytest.fixture
def client(world: AdminWorld) -> Iterator[TestClient]:
    """Presents the admin key."""
    with TestClient(world.app, headers={"authorization": f"Bearer {ADMIN_KEY}"}) as client:
        yield client


def listed(client: TestClient, **query: str) -> dict[str, dict[str, Any]]:
    """The workers by id."""
    answer = client.get(WORKERS, params=query)
    assert answer.status_code == 200, answer.text
    return {worker["id"]: worker for worker in answer.json()["data"]}


def error_of(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


def test_the_files_workers_are_listed(client: TestClient, world: AdminWorld) -> None:
    """Each with its state, its load and where it was learnt of; by model too."""
    workers = listed(client)
    assert set(workers) == {worker.id for _, worker in world.fleet.workers()}
    first = next(iter(workers.values()))
    assert (first["source"], first["state"], first["draining"], first["in_flight"]) == ("file", "unknown", False, 0)
    assert first["breaker"] == "closed"
    assert {worker["model"] for worker in listed(client, model=SMALL).values()} == {SMALL}
    assert "no model" in error_of(client.get(WORKERS, params={"model": "nobody"}), 404)["message"]


def test_a_worker_joins_and_leaves(client: TestClient, world: AdminWorld) -> None:
    """Added it is used at once; deleted it is used no more, and both are in the log of changes."""
    answer = client.post(WORKERS, json={"model": SMALL, "url": f"{NEW_URL}/", "weight": 2})
    assert answer.status_code == 201
    (added,) = answer.json()["data"]
    assert (added["id"], added["source"], added["weight"], added["url"]) == (NEW, "admin", 2.0, NEW_URL)
    model = world.fleet.find(SMALL)
    assert model is not None
    assert NEW in {worker.id for worker in model.workers}
    assert NEW not in {worker["id"] for worker in listed(client, model=LARGE).values()}
    assert client.delete(f"{WORKERS}/{NEW}").status_code == 200
    assert NEW not in listed(client)
    error_of(client.delete(f"{WORKERS}/{NEW}"), 404)
    audit = client.get("/admin/v1/audit").json()["data"]
    assert [(entry["action"], entry["target"]) for entry in audit] == [("worker.delete", NEW), ("worker.add", NEW)]
    assert audit[1]["detail"] == {"model": SMALL, "url": NEW_URL, "weight": 2.0}


def test_a_worker_is_drained_and_used_again(client: TestClient, world: AdminWorld) -> None:
    """Doing it twice changes nothing; the list shows it."""
    found = next(worker for _, worker in world.fleet.workers())
    for _ in range(2):
        answer = client.post(f"{WORKERS}/{found.id}/drain")
        assert answer.status_code == 200
        assert all(worker["draining"] for worker in answer.json()["data"])
        assert found.draining
        assert not found.usable
    for _ in range(2):
        assert client.post(f"{WORKERS}/{found.id}/undrain").status_code == 200
        assert found.usable


def test_a_worker_that_was_drained_and_deleted_comes_back_in_use(client: TestClient) -> None:
    """A drain ends with its worker."""
    client.post(WORKERS, json={"model": SMALL, "url": NEW_URL})
    client.post(f"{WORKERS}/{NEW}/drain")
    client.delete(f"{WORKERS}/{NEW}")
    client.post(WORKERS, json={"model": SMALL, "url": NEW_URL})
    assert not listed(client)[NEW]["draining"]


def test_a_drain_can_be_ended_without_its_worker(client: TestClient, world: AdminWorld) -> None:
    """A worker that was taken out of the file while it was drained leaves nothing behind that can't be undone."""
    _, worker = next(iter(world.fleet.workers()))
    client.post(f"{WORKERS}/{worker.id}/drain")
    for model, each in world.fleet.find_workers(worker.id):
        world.fleet.remove(model, each)
    assert client.post(f"{WORKERS}/{worker.id}/undrain").json()["data"] == []
    assert world.keeper.drained == ()
    error_of(client.post(f"{WORKERS}/{worker.id}/undrain"), 404)


def test_the_files_workers_belong_to_the_file(client: TestClient, world: AdminWorld) -> None:
    """They can be drained, not deleted, and not added once more."""
    found = next(worker for _, worker in world.fleet.workers())
    assert "configuration file" in error_of(client.delete(f"{WORKERS}/{found.id}"), 409)["message"]
    model = next(model.name for model, worker in world.fleet.workers() if worker is found)
    answer = client.post(WORKERS, json={"model": model, "url": found.url})
    assert error_of(answer, 409)["param"] == "url"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": SMALL}, 400, "url"),
        ({"model": "nobody", "url": NEW_URL}, 404, "model"),
        ({"model": SMALL, "url": "ftp://a"}, 400, "url"),
        ({"model": SMALL, "url": "http://user:secret@a:1"}, 400, "url"),
        ({"model": SMALL, "url": "http://a:1/v1"}, 400, "url"),
        ({"model": SMALL, "url": NEW_URL, "weight": 0}, 400, "weight"),
        ({"model": SMALL, "url": NEW_URL, "api_key": "secret-123"}, 400, None),
    ],
)
def test_a_bad_body_changes_nothing(client: TestClient, body: dict[str, Any], status: int, param: str | None) -> None:
    """The field at fault is named; a key is not taken, since it would be kept in the store."""
    before = listed(client)
    error = error_of(client.post(WORKERS, json=body), status)
    assert error["param"] == param
    assert "secret" not in error["message"]
    assert listed(client) == before


def test_unknown_workers_are_404(client: TestClient) -> None:
    """On every path."""
    for method, path in (("POST", "/nobody:1/drain"), ("POST", "/nobody:1/undrain"), ("DELETE", "/nobody:1")):
        error_of(client.request(method, WORKERS + path), 404)


def test_a_store_that_is_away_is_said(client: TestClient, world: AdminWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and the workers stay as they are."""

    async def away() -> Overrides:
        raise OverridesUnavailableError("Redis: TimeoutError")

    monkeypatch.setattr(world.overrides, "read", away)
    assert error_of(client.post(WORKERS, json={"model": SMALL, "url": NEW_URL}), 503)["code"] == "store_unavailable"
    assert NEW not in listed(client)
