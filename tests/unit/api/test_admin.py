"""The admin API as its callers see it."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gateway.auth.store import StoreUnavailableError
from gateway.observability.usage import Counts, Subject, UsageBatch
from gateway.values import KeyId, ModelName, TenantId
from tests.support.admin_api import ADMIN_KEY, NOW_S, AdminWorld
from tests.support.key_files import FILE, FILE_SECRET, LARGE, SMALL

ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}
PATHS = [
    ("GET", "/admin/v1/keys"),
    ("POST", "/admin/v1/keys"),
    ("GET", "/admin/v1/keys/ci"),
    ("DELETE", "/admin/v1/keys/ci"),
    ("POST", "/admin/v1/keys/ci/rotate"),
    ("GET", "/admin/v1/tenants"),
    ("GET", "/admin/v1/tenants/acme"),
    ("PUT", "/admin/v1/tenants/acme"),
    ("DELETE", "/admin/v1/tenants/acme"),
    ("GET", "/admin/v1/usage"),
    ("GET", "/admin/v1/audit"),
    ("GET", "/admin/v1/config"),
    ("POST", "/admin/v1/config/reload"),
    ("GET", "/admin/v1/workers"),
    ("POST", "/admin/v1/workers"),
    ("DELETE", "/admin/v1/workers/a:1"),
    ("POST", "/admin/v1/workers/a:1/drain"),
    ("POST", "/admin/v1/workers/a:1/undrain"),
]
NOW = datetime.fromtimestamp(NOW_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def world(tmp_path: Path) -> AdminWorld:
    """Nothing but the file."""
    return AdminWorld(tmp_path / "gateway.yaml")


@pytest.fixture
def client(world: AdminWorld) -> Iterator[TestClient]:
    """Presents the admin key."""
    with TestClient(world.app, headers=ADMIN) as client:
        yield client


def opens(client: TestClient, secret: str) -> bool:
    """Whether a key's secret opens anything."""
    answer = client.get("/v1/usage", headers={"authorization": f"Bearer {secret}"})
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


def error_of(answer: Any, status: int) -> dict[str, Any]:
    """The error of an answer, which has OpenAI's four fields."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_only_the_admin_key_opens_it(world: AdminWorld, method: str, path: str) -> None:
    """No tenant's key, no part of the admin key, and nothing at all."""
    with TestClient(world.app) as client:
        for key in (None, FILE_SECRET, ADMIN_KEY[:-1], ADMIN_KEY + "x"):
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            error = error_of(client.request(method, path, headers=headers, content=b"{"), 401)
            assert error["code"] == "invalid_api_key"
    assert asyncio.run(world.keys.audit(10)) == []


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_without_an_admin_key_there_is_nothing(tmp_path: Path, method: str, path: str) -> None:
    """Whatever is presented."""
    world = AdminWorld(tmp_path / "gateway.yaml", admin_key=None)
    with TestClient(world.app, headers=ADMIN) as client:
        assert client.request(method, path).status_code == 404


def test_wrong_methods_name_the_right_ones(client: TestClient) -> None:
    """All of them."""
    answer = client.patch("/admin/v1/keys/ci")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "DELETE"}
    for path in ("/admin/v1/summary", "/admin/v1/alerts"):
        assert client.get(path).status_code == 404


def test_a_key_from_beginning_to_end(world: AdminWorld, client: TestClient) -> None:
    """Made, used, rotated, revoked; its secret is in the two answers that make one and nowhere else."""
    limits = {"requests_per_minute": 100}
    body = {"tenant": "acme", "id": "ci", "models": ["*-4b-*"], "limits": limits, "expires": "2028-01-01T00:00:00Z"}
    answer = client.post("/admin/v1/keys", json=body, headers={"x-request-id": "r-1"})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"] == "r-1"
    made = answer.json()
    first = made.pop("secret")
    assert made == {
        "id": "ci",
        "tenant": "acme",
        "source": "store",
        "status": "active",
        "created": NOW,
        "expires": "2028-01-01T00:00:00Z",
        "revoked": None,
        "models": ["*-4b-*"],
        "limits": limits,
        "older_secrets_until": [],
    }
    assert opens(client, first)
    assert client.get("/admin/v1/keys/ci").json() == made

    rotated = client.post("/admin/v1/keys/ci/rotate", json={"overlap_s": 60}).json()
    second = rotated.pop("secret")
    assert len(rotated["older_secrets_until"]) == 1
    assert opens(client, first)
    assert opens(client, second)
    world.now_s += 60
    assert not opens(client, first)
    assert opens(client, second)

    revoked = client.delete("/admin/v1/keys/ci")
    assert (revoked.status_code, revoked.json()["status"]) == (200, "revoked")
    assert not opens(client, second)
    listed = client.get("/admin/v1/keys").text + client.get("/admin/v1/audit").text
    assert first[-32:] not in listed
    assert second[-32:] not in listed
    entries = client.get("/admin/v1/audit?limit=3").json()["data"]
    assert [entry["action"] for entry in entries] == ["key.revoke", "key.rotate", "key.create"]
    assert entries[2] == {
        "at": NOW,
        "actor": "admin",
        "remote": "testclient",
        "request_id": "r-1",
        "action": "key.create",
        "target": "ci",
        "detail": entries[2]["detail"],
    }
    assert entries[2]["detail"]["tenant"] == "acme"


def test_a_rotation_needs_no_body(client: TestClient) -> None:
    """The old secret then lives for a day."""
    client.post("/admin/v1/keys", json={"tenant": "acme", "id": "ci"})
    answer = client.post("/admin/v1/keys/ci/rotate")
    assert answer.status_code == 200
    assert datetime.fromisoformat(answer.json()["older_secrets_until"][0]).timestamp() == NOW_S + 86_400


def test_the_files_keys_are_listed_and_left_alone(client: TestClient) -> None:
    """409 with the way to change them."""
    (key,) = client.get("/admin/v1/keys?tenant=acme").json()["data"]
    assert (key["id"], key["source"], key["status"], key["created"]) == ("acme-dev", "file", "active", None)
    assert FILE_SECRET not in json.dumps(key)
    for answer in (
        client.delete("/admin/v1/keys/acme-dev"),
        client.post("/admin/v1/keys/acme-dev/rotate"),
        client.put("/admin/v1/tenants/acme", json={}),
        client.delete("/admin/v1/tenants/acme"),
        client.post("/admin/v1/keys", json={"tenant": "acme", "id": "acme-dev"}),
    ):
        error = error_of(answer, 409)
        assert error["code"] == "conflict"
        assert "configuration file" in error["message"]
    assert client.get("/admin/v1/keys?tenant=nobody").json()["data"] == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", "tenant"),
        (b"[]", None),
        (b"{", None),
        (b'{"tenant": 5}', "tenant"),
        (b'{"tenant": "acme", "secret": "x"}', None),
        (b'{"tenant": "acme", "id": "a b"}', "id"),
        (b'{"tenant": "acme", "models": "x"}', "models"),
        (b'{"tenant": "acme", "models": ["nothing"]}', "models"),
        (b'{"tenant": "acme", "limits": {"requests_per_minute": 0}}', "limits.requests_per_minute"),
        (b'{"tenant": "acme", "limits": {"requests_per_second": 1}}', "limits"),
        (b'{"tenant": "acme", "expires": "soon"}', "expires"),
        (b'{"tenant": "acme", "expires": "2001-01-01"}', "expires"),
    ],
)
def test_wrong_bodies_name_the_field(client: TestClient, body: bytes, param: str | None) -> None:
    """As OpenAI's API does."""
    error = error_of(client.post("/admin/v1/keys", content=body), 400)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


def test_a_body_has_a_size(client: TestClient) -> None:
    """Which isn't the one of prompts."""
    assert error_of(client.post("/admin/v1/keys", content=b" " * 300_000), 413)["code"] == "request_too_large"


def test_unknown_keys_and_tenants(client: TestClient) -> None:
    """404."""
    for method, path in PATHS[2:5]:
        assert error_of(client.request(method, path), 404)["code"] == "not_found"
    for method in ("GET", "DELETE"):
        assert error_of(client.request(method, "/admin/v1/tenants/team"), 404)["code"] == "not_found"
    assert error_of(client.post("/admin/v1/keys", json={"tenant": "team"}), 404)["param"] == "tenant"


def test_a_tenant_from_beginning_to_end(client: TestClient) -> None:
    """As in the file; a PUT without a setting takes it back."""
    body = {
        "models": ["google/*", "gpt-4o"],
        "priority": 4,
        "limits": {"tokens_per_day": 1000},
        "model_limits": {LARGE: {"requests_per_minute": 6}},
        "count_cached": False,
    }
    answer = client.put("/admin/v1/tenants/team", json={"id": "team", **body})
    shown = {"id": "team", "source": "store", "filter": None, "keys": [], **body}
    assert (answer.status_code, answer.json()) == (201, shown)
    assert client.get("/admin/v1/tenants/team").json() == shown
    secret = client.post("/admin/v1/keys", json={"tenant": "team", "id": "team-ci"}).json()["secret"]
    assert opens(client, secret)
    answer = client.put("/admin/v1/tenants/team", json={})
    assert (answer.status_code, answer.json()["limits"], answer.json()["models"]) == (200, None, ["*"])
    tenants = client.get("/admin/v1/tenants").json()["data"]
    assert [(t["id"], t["source"], t["keys"]) for t in tenants] == [
        ("acme", "file", ["acme-dev"]),
        ("team", "store", ["team-ci"]),
    ]
    assert tenants[0]["model_limits"] == {LARGE: {"requests_per_minute": 60}}
    assert FILE_SECRET not in json.dumps(tenants)
    deleted = client.delete("/admin/v1/tenants/team").json()
    assert deleted == {"id": "team", "object": "tenant", "deleted": True, "revoked_keys": 1}
    assert not opens(client, secret)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"id": "other"}, "id"),
        ({"keys": []}, None),
        ({"models": ["nothing"]}, "models"),
        ({"model_limits": {"nothing": {}}}, "model_limits"),
        ({"filter": "strict"}, "filter"),
        ({"priority": 2**40}, "priority"),
        ({"limits": []}, "limits"),
    ],
)
def test_wrong_tenants_name_the_field(client: TestClient, body: dict[str, Any], param: str | None) -> None:
    """Nothing is made."""
    assert error_of(client.put("/admin/v1/tenants/team", json=body), 400)["param"] == param
    assert client.get("/admin/v1/tenants/team").status_code == 404


def test_the_configuration_and_its_reload(world: AdminWorld, client: TestClient) -> None:
    """A version, a hash and a time, never a value."""
    first = client.get("/admin/v1/config").json()
    assert (first["version"], first["loaded_at"], first["restart_needed"]) == (1, NOW, [])
    assert opens(client, FILE_SECRET)
    world.path.write_text(FILE.replace(FILE_SECRET, "another-secret") + "server: {port: 5}\n")
    answer = client.post("/admin/v1/config/reload")
    assert answer.status_code == 200
    second = answer.json()
    assert second.pop("replicas_told") is True
    assert (second["version"], second["restart_needed"]) == (2, ["server"])
    assert second["hash"] != first["hash"]
    assert client.get("/admin/v1/config").json() == second
    assert not opens(client, FILE_SECRET)
    assert opens(client, "another-secret")
    assert client.get("/admin/v1/audit").json()["data"][0]["action"] == "config.reload"


def test_a_bad_file_is_told_in_full(world: AdminWorld, client: TestClient) -> None:
    """With the place of each problem, and without a secret; what was in force stays."""
    world.path.write_text(FILE + "server: {port: x, hots: y}\n")
    error = error_of(client.post("/admin/v1/config/reload"), 400)
    assert error["code"] == "invalid_configuration"
    assert "server.port: must be a whole number" in error["message"]
    assert "server.hots: unknown key" in error["message"]
    assert FILE_SECRET not in error["message"]
    assert client.get("/admin/v1/config").json()["version"] == 1
    assert opens(client, FILE_SECRET)


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1001", "9" * 100, "\u0663"])
def test_the_audit_log_is_read_in_pieces(client: TestClient, limit: str) -> None:
    """Of a bounded size."""
    assert error_of(client.get("/admin/v1/audit", params={"limit": limit}), 400)["param"] == "limit"


def fill_usage(world: AdminWorld) -> None:
    """Two tenants, over two hours."""
    start_s = int(NOW_S) // 3600 * 3600
    for number, minute_s in enumerate((start_s - 3600, start_s)):
        counts = (
            (Subject(TenantId("acme"), KeyId("acme-dev"), ModelName(SMALL)), Counts(2, 30, 20, 10, 1)),
            (Subject(TenantId("acme"), KeyId("ci"), ModelName(LARGE)), Counts(1, 3, 2, 0, 0)),
            (Subject(TenantId("team"), KeyId("team-ci"), ModelName(SMALL)), Counts(5, 5, 5, 5, 5)),
        )
        asyncio.run(world.usage.add(UsageBatch("test", number, minute_s, counts)))


def test_usage_of_everybody(world: AdminWorld, client: TestClient) -> None:
    """A row for each bucket, tenant, key and model, and the sum."""
    fill_usage(world)
    body = client.get("/admin/v1/usage").json()
    assert (body["granularity"], len(body["data"]), body["total"]["requests"]) == ("hour", 6, 16)
    body = client.get("/admin/v1/usage?tenant=acme&granularity=day").json()
    assert [(row["key"], row["model"], row["requests"]) for row in body["data"]] == [
        ("acme-dev", SMALL, 4),
        ("ci", LARGE, 2),
    ]
    assert body["total"] == {
        "requests": 6,
        "prompt_tokens": 66,
        "completion_tokens": 44,
        "cached_tokens": 20,
        "errors": 2,
    }
    for query, requests in (("key=ci", 2), (f"model={SMALL}", 14), ("tenant=team&key=ci", 0), ("to=2001-01-01", 0)):
        assert client.get(f"/admin/v1/usage?{query}").json()["total"]["requests"] == requests
    since = int(NOW_S) // 3600 * 3600
    body = client.get(f"/admin/v1/usage?from={since}&to={since + 3600}").json()
    assert body["total"]["requests"] == 8
    assert datetime.fromisoformat(body["from"]).timestamp() == since


@pytest.mark.parametrize(
    ("query", "param"),
    [("granularity=week", "granularity"), ("from=x", "from"), ("to=2027-13-01", "to"), ("from=9&to=8", "from")],
)
def test_wrong_questions(client: TestClient, query: str, param: str) -> None:
    """Name what is wrong with them."""
    assert error_of(client.get(f"/admin/v1/usage?{query}"), 400)["param"] == param
    headers = {"authorization": f"Bearer {FILE_SECRET}"}
    if "granularity" in query:
        assert error_of(client.get(f"/v1/usage?{query}", headers=headers), 400)["param"] == param


def test_a_tenant_sees_its_own_usage(world: AdminWorld, client: TestClient) -> None:
    """In the running minute, hour and day, with its limits; or in buckets of its choice."""
    fill_usage(world)
    headers = {"authorization": f"Bearer {FILE_SECRET}"}
    body = client.get("/v1/usage", headers=headers).json()
    assert (body["object"], body["tenant"], body["key"]) == ("usage", "acme", "acme-dev")
    assert [body["windows"][name]["requests"] for name in ("minute", "hour", "day")] == [3, 3, 6]
    hour = body["windows"]["hour"]
    assert {name: counts["requests"] for name, counts in hour["keys"].items()} == {"acme-dev": 2, "ci": 1}
    assert {name: counts["prompt_tokens"] for name, counts in hour["models"].items()} == {SMALL: 30, LARGE: 3}
    assert body["limits"] == [
        {
            "scope": "tenant",
            "limit": "requests_per_minute",
            "amount": 600,
            "used": 1,
            "remaining": 599,
            "reset_s": 60.0,
            "model": None,
        }
    ]
    body = client.get("/v1/usage?granularity=day&tenant=team", headers=headers).json()
    assert {row["tenant"] for row in body["data"]} == {"acme"}
    error_of(client.get("/v1/usage", headers={"authorization": "Bearer wrong-0123456789"}), 401)


def test_a_store_that_is_away(world: AdminWorld, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 and when to come back, without the store's own words."""

    async def away(*_: Any) -> None:
        raise StoreUnavailableError("redis://:password@host")

    for name in ("keys", "tenants", "find", "tenant", "commit", "audit"):
        monkeypatch.setattr(world.keys, name, away)
    for path in ("/admin/v1/keys", "/admin/v1/keys/ci", "/admin/v1/tenants", "/admin/v1/audit"):
        answer = client.get(path)
        assert error_of(answer, 503)["code"] == "store_unavailable"
        assert answer.headers["retry-after"] == "1"
        assert "password" not in answer.text
    answer = client.post("/admin/v1/config/reload")
    assert (answer.status_code, answer.json()["replicas_told"]) == (200, False)
