"""What an administrator may do to keys and tenants, and what becomes of it."""

import asyncio
from typing import Any

import pytest

from gateway.auth.administration import MAX_SECRETS, KeyAdministration, NewKey, NewTenant
from gateway.auth.made_keys import digest_of, made_key_id
from gateway.auth.memory_key_store import MemoryKeyStore
from gateway.auth.records import StoredKey
from gateway.config.model import LimitSettings
from gateway.errors import Conflict, GatewayError, InvalidRequest, NotFound
from gateway.values import KeyId, ModelName, TenantId
from tests.support.key_files import ADMIN, LARGE, SMALL, ring

ACME, TEAM = TenantId("acme"), TenantId("team")


class World:
    """An administration over an embedded store, and a clock that is driven."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0
        self.store = MemoryKeyStore()
        self.ring = ring(now_s=lambda: self.now_s)
        self.admin = KeyAdministration(self.store, lambda: self.ring, now_s=lambda: self.now_s)

    async def stored(self, key_id: str) -> StoredKey:
        return (await self.store.find([KeyId(key_id)]))[KeyId(key_id)].key


@pytest.fixture
def world() -> World:
    """Nothing but the file."""
    return World()


def test_a_made_key_has_its_id_inside(world: World) -> None:
    """And only its hash is kept."""
    made = asyncio.run(world.admin.create_key(NewKey(tenant=ACME, id=KeyId("acme-ci.2_x")), ADMIN))
    assert made_key_id(made.secret) == "acme-ci.2_x"
    assert len(made.secret) == len("gk-acme-ci.2_x-") + 32
    assert made.key.secrets[0].sha256 == digest_of(made.secret)
    assert made.secret not in repr(made)
    assert made.secret not in repr(made.key)
    assert asyncio.run(world.admin.create_key(NewKey(tenant=ACME), ADMIN)).key.id.startswith("acme-")


@pytest.mark.parametrize(
    ("new", "kind", "param"),
    [
        (NewKey(tenant=TenantId("nobody")), NotFound, "tenant"),
        (NewKey(tenant=ACME, id=KeyId("acme-dev")), Conflict, "id"),
        (NewKey(tenant=ACME, id=KeyId("not an id")), InvalidRequest, "id"),
        (NewKey(tenant=ACME, id=KeyId("x" * 65)), InvalidRequest, "id"),
        (NewKey(tenant=ACME, models=("google/gemma-3-4b",)), InvalidRequest, "models"),
        (NewKey(tenant=ACME, models=("*", "not a glob")), InvalidRequest, "models"),
        (NewKey(tenant=ACME, expires_s=1_800_000_000.0), InvalidRequest, "expires"),
    ],
)
def test_keys_that_cannot_be_made(world: World, new: NewKey, kind: type[GatewayError], param: str) -> None:
    """The error names the field; nothing is stored nor noted."""
    with pytest.raises(kind) as caught:
        asyncio.run(world.admin.create_key(new, ADMIN))
    assert caught.value.param == param
    assert asyncio.run(world.store.keys()) == []
    assert asyncio.run(world.store.audit(10)) == []


def test_an_id_is_used_once(world: World) -> None:
    """A revoked key keeps its id: its name in logs must go on to mean one key."""

    async def run() -> None:
        await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("ci")), ADMIN)
        with pytest.raises(Conflict):
            await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("ci")), ADMIN)
        await world.admin.revoke_key(KeyId("ci"), ADMIN)
        with pytest.raises(Conflict):
            await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("ci")), ADMIN)

    asyncio.run(run())


def test_what_the_file_has_is_changed_in_the_file(world: World) -> None:
    """409, and the message says where."""
    attempts: list[Any] = [
        lambda: world.admin.rotate_key(KeyId("acme-dev"), 0, ADMIN),
        lambda: world.admin.revoke_key(KeyId("acme-dev"), ADMIN),
        lambda: world.admin.put_tenant(NewTenant(id=ACME), ADMIN),
        lambda: world.admin.delete_tenant(ACME, ADMIN),
    ]
    for attempt in attempts:
        with pytest.raises(Conflict, match="configuration file"):
            asyncio.run(attempt())


def test_rotation_lets_older_secrets_end_with_the_overlap(world: World) -> None:
    """The shortest overlap counts for all of them: 0 ends every older one at once."""

    async def run() -> None:
        await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("ci")), ADMIN)
        await world.admin.rotate_key(KeyId("ci"), 100, ADMIN)
        world.now_s += 10
        await world.admin.rotate_key(KeyId("ci"), 50, ADMIN)
        ends = [secret.until_s for secret in (await world.stored("ci")).secrets]
        assert ends == [None, world.now_s + 50, world.now_s + 50]
        world.now_s += 50
        made = await world.admin.rotate_key(KeyId("ci"), 7, ADMIN)
        assert [secret.until_s for secret in made.key.secrets] == [None, world.now_s + 7]
        made = await world.admin.rotate_key(KeyId("ci"), 0, ADMIN)
        assert [secret.sha256 for secret in made.key.secrets] == [digest_of(made.secret)]

    asyncio.run(run())


def test_a_key_has_few_secrets(world: World) -> None:
    """Rotating on is refused until one ends; without an overlap it always works."""

    async def run() -> None:
        await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("ci")), ADMIN)
        for _ in range(MAX_SECRETS - 1):
            await world.admin.rotate_key(KeyId("ci"), 100, ADMIN)
        with pytest.raises(Conflict, match="shorter overlap"):
            await world.admin.rotate_key(KeyId("ci"), 100, ADMIN)
        await world.admin.rotate_key(KeyId("ci"), 0, ADMIN)

    asyncio.run(run())


@pytest.mark.parametrize("overlap_s", [-1, float("inf"), float("nan"), 1e9])
def test_overlaps_are_bounded(world: World, overlap_s: float) -> None:
    """To a year."""
    with pytest.raises(InvalidRequest):
        asyncio.run(world.admin.rotate_key(KeyId("ci"), overlap_s, ADMIN))


def test_dead_keys_are_not_rotated(world: World) -> None:
    """Nor revoked twice; unknown ones are not found."""

    async def run() -> None:
        new = NewKey(tenant=ACME, id=KeyId("ci"), expires_s=world.now_s + 5)
        await world.admin.create_key(new, ADMIN)
        world.now_s += 5
        with pytest.raises(Conflict, match="expired"):
            await world.admin.rotate_key(KeyId("ci"), 0, ADMIN)
        first = await world.admin.revoke_key(KeyId("ci"), ADMIN)
        world.now_s += 5
        assert await world.admin.revoke_key(KeyId("ci"), ADMIN) == first
        with pytest.raises(Conflict, match="revoked"):
            await world.admin.rotate_key(KeyId("ci"), 0, ADMIN)
        for attempt in (world.admin.revoke_key(KeyId("x"), ADMIN), world.admin.key(KeyId("x"))):
            with pytest.raises(NotFound):
                await attempt

    asyncio.run(run())


def test_tenants_are_made_replaced_and_deleted(world: World) -> None:
    """A tenant takes its keys with it, for good: one of the same name begins without them."""

    async def run() -> None:
        new = NewTenant(id=TEAM, models=("google/*",), limits=LimitSettings(requests_per_minute=5))
        assert (await world.admin.put_tenant(new, ADMIN))[1]
        tenant, is_new = await world.admin.put_tenant(NewTenant(id=TEAM, priority=2), ADMIN)
        assert (tenant.version, tenant.models, tenant.limits, is_new) == (2, ("*",), None, False)
        await world.admin.create_key(NewKey(tenant=TEAM, id=KeyId("team-ci")), ADMIN)
        await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("other")), ADMIN)
        _, revoked = await world.admin.delete_tenant(TEAM, ADMIN)
        assert revoked == 1
        assert (await world.stored("team-ci")).status(world.now_s) == "revoked"
        assert (await world.stored("other")).status(world.now_s) == "active"
        for attempt in (world.admin.delete_tenant(TEAM, ADMIN), world.admin.tenant(TEAM)):
            with pytest.raises(NotFound):
                await attempt
        await world.admin.put_tenant(new, ADMIN)
        assert (await world.stored("team-ci")).status(world.now_s) == "revoked"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("new", "param"),
    [
        (NewTenant(id=TenantId("no way")), "id"),
        (NewTenant(id=TEAM, models=("gemma",)), "models"),
        (NewTenant(id=TEAM, model_limits={"gemma": LimitSettings()}), "model_limits"),
        (NewTenant(id=TEAM, filter="strict"), "filter"),
    ],
)
def test_tenants_that_cannot_be_made(world: World, new: NewTenant, param: str) -> None:
    """Names that lead nowhere are errors, as in the file."""
    with pytest.raises(InvalidRequest) as caught:
        asyncio.run(world.admin.put_tenant(new, ADMIN))
    assert caught.value.param == param


def test_everything_is_listed_the_file_first(world: World) -> None:
    """What the file has by the same id hides what the store has."""

    async def run() -> None:
        await world.admin.put_tenant(NewTenant(id=TEAM), ADMIN)
        await world.admin.create_key(NewKey(tenant=TEAM, id=KeyId("b")), ADMIN)
        await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("a")), ADMIN)
        assert [key.id for key in await world.admin.keys()] == ["acme-dev", "a", "b"]
        assert [key.id for key in await world.admin.keys(TEAM)] == ["b"]
        assert [tenant.id for tenant in await world.admin.tenants()] == ["acme", "team"]
        text = "models: [{name: google/gemma-3-4b-it, workers: [{url: 'http://a'}]}]\n"
        world.ring = ring(
            text + "tenants: [{id: team, keys: [{id: a, secret: 12345678}]}]".replace("12345678", '"x2345678"')
        )
        assert [key.id for key in await world.admin.keys()] == ["a", "b"]
        assert [tenant.id for tenant in await world.admin.tenants()] == ["team"]
        assert not isinstance(await world.admin.key(KeyId("a")), StoredKey)

    asyncio.run(run())


def test_two_administrators_cannot_undo_each_other(world: World) -> None:
    """Many rotations at once: each is made on the one before, none is lost."""

    async def run() -> None:
        await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("ci")), ADMIN)
        made = await asyncio.gather(*(world.admin.rotate_key(KeyId("ci"), 0, ADMIN) for _ in range(5)))
        assert sorted(one.key.version for one in made) == [2, 3, 4, 5, 6]

    asyncio.run(run())


def test_a_full_store_forgets_dead_keys(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And refuses when all are alive."""
    monkeypatch.setattr("gateway.auth.memory_key_store.MAX_RECORDS", 3)

    async def run() -> None:
        for name in "abc":
            await world.admin.create_key(NewKey(tenant=ACME, id=KeyId(name)), ADMIN)
        with pytest.raises(Conflict, match="holds"):
            await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("d")), ADMIN)
        await world.admin.revoke_key(KeyId("b"), ADMIN)
        await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("d")), ADMIN)
        assert {key.id for key in await world.store.keys()} == {"a", "c", "d"}

    asyncio.run(run())


def test_each_change_is_noted(world: World) -> None:
    """Who, what and when, newest first, and no secret."""

    async def run() -> None:
        limits = LimitSettings(tokens_per_day=9)
        made = await world.admin.create_key(NewKey(tenant=ACME, id=KeyId("ci"), limits=limits), ADMIN)
        rotated = await world.admin.rotate_key(KeyId("ci"), 60, ADMIN)
        await world.admin.revoke_key(KeyId("ci"), ADMIN)
        await world.admin.put_tenant(NewTenant(id=TEAM, model_limits={"gpt-4o": limits}), ADMIN)
        await world.admin.delete_tenant(TEAM, ADMIN)
        entries = await world.admin.audit(10)
        assert [entry.action for entry in entries] == [
            "tenant.delete",
            "tenant.put",
            "key.revoke",
            "key.rotate",
            "key.create",
        ]
        assert {entry.actor for entry in entries} == {ADMIN}
        assert {entry.at_s for entry in entries} == {world.now_s}
        assert entries[3].detail == {"overlap_s": 60}
        assert len(await world.admin.audit(2)) == 2
        for secret in (made.secret, rotated.secret):
            assert secret[-32:] not in repr(entries)

    asyncio.run(run())


def test_model_limits_go_by_the_models_own_names(world: World) -> None:
    """An alias in the file or in a stored tenant is resolved; a key narrows what its tenant may use."""

    async def run() -> None:
        assert world.ring.tenants[ACME].model_limits == {LARGE: LimitSettings(requests_per_minute=60)}
        limits = LimitSettings(requests_per_minute=1)
        await world.admin.put_tenant(NewTenant(id=TEAM, model_limits={"gpt-4o-mini": limits}), ADMIN)
        await world.admin.create_key(NewKey(tenant=TEAM, id=KeyId("ci"), models=("*-4b-*",), limits=limits), ADMIN)
        found = (await world.store.find([KeyId("ci")]))[KeyId("ci")]
        api_key = world.ring.adopt(found.key, found.tenant)
        assert api_key is not None
        assert api_key.limits == limits
        assert api_key.tenant.model_limits == {SMALL: limits}
        assert api_key.allowed == {ModelName(SMALL)}

    asyncio.run(run())
