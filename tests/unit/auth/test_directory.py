"""What a replica knows of keys made at run time: when it asks the store, when it trusts what it knows."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import msgspec
import pytest

from gateway.auth.administration import KeyAdministration, NewKey, NewTenant
from gateway.auth.directory import ABSENT_S, GRACE_S, MAX_LOOKUPS, KeyDirectory, Unseen
from gateway.auth.keys import KeyRing
from gateway.auth.made_keys import made_key_id, make_secret
from gateway.auth.memory_key_store import MemoryKeyStore
from gateway.auth.records import Actor, Found, Touched
from gateway.auth.store import StoreUnavailableError
from gateway.config.load import parse_settings
from gateway.config.model import LimitSettings
from gateway.errors import KeysUnavailable
from gateway.routing.catalog import VARIANTS
from gateway.values import KeyId, TenantId
from tests.support.key_files import ADMIN, FILE, FILE_SECRET, LARGE, SMALL, ring

ACME, TEAM = TenantId("acme"), TenantId("team")
LEASE_S = 0.6


class WeakStore(MemoryKeyStore):
    """An embedded store that counts look-ups, and can be away, slow, or lose its messages as Redis can."""

    touch_lease_s = LEASE_S

    def __init__(self) -> None:
        super().__init__()
        self.lookups = 0
        self.away = False
        self.before_answer: Callable[[], Awaitable[None]] | None = None
        self._breaks: set[asyncio.Event] = set()

    def lose(self) -> None:
        """From now on nothing is answered; whoever watches learns it."""
        self.away = True
        for broken in self._breaks:
            broken.set()

    async def find(self, key_ids: Sequence[KeyId]) -> Mapping[KeyId, Found]:
        if self.away:
            raise StoreUnavailableError("away")
        self.lookups += 1
        found = await super().find(key_ids)
        if self.before_answer is not None:
            await self.before_answer()
        return found

    async def changes(self) -> AsyncGenerator[Sequence[Touched], None]:
        broken = asyncio.Event()
        self._breaks.add(broken)
        try:
            if self.away:
                raise StoreUnavailableError("away")
            source = super().changes()
            while True:
                batch = asyncio.ensure_future(anext(source))
                breaking = asyncio.ensure_future(broken.wait())
                try:
                    await asyncio.wait({batch, breaking}, return_when=asyncio.FIRST_COMPLETED)
                    if broken.is_set():
                        raise StoreUnavailableError("away")
                    yield batch.result()
                finally:
                    batch.cancel()
                    breaking.cancel()
                    await asyncio.gather(batch, breaking, return_exceptions=True)
        finally:
            self._breaks.discard(broken)


class World:
    """A directory over a store that can be troubled, with driven clocks."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0
        self.monotonic_s = 1000.0
        self.store = WeakStore()
        self.told: list[str] = []
        self.directory = KeyDirectory(
            ring(now_s=lambda: self.now_s),
            self.store,
            now_s=lambda: self.now_s,
            clock=lambda: self.monotonic_s,
            config_touched=self.told.append,
        )
        self.admin = KeyAdministration(self.store, lambda: self.directory.ring, now_s=lambda: self.now_s)

    async def make(self, key_id: str = "ci", tenant: TenantId = ACME, **options: object) -> str:
        """The secret of a new key."""
        new = NewKey(tenant=tenant, id=KeyId(key_id), **options)  # type: ignore[arg-type]
        return (await self.admin.create_key(new, ADMIN)).secret

    async def opens(self, secret: str) -> bool:
        return await self.directory.identify(secret) is not None

    async def settle(self) -> None:
        """Let the watcher take what it was told."""
        for _ in range(10):
            await asyncio.sleep(0)


def run(scenario: Callable[[World], Awaitable[None]]) -> None:
    """Plays a scenario in a new world whose directory watches."""

    async def play() -> None:
        world = World()
        async with world.directory:
            await scenario(world)

    asyncio.run(play())


def test_the_files_keys_need_no_store() -> None:
    """Not even one that answers."""
    world = World()
    key = world.directory.authenticate(FILE_SECRET)
    assert not isinstance(key, Unseen)
    assert key is not None
    assert key.key_id == "acme-dev"
    assert key.tenant.limits == LimitSettings(requests_per_minute=600)
    for secret in (None, "", "wrong-0123456789", "gk-short", "x" * 1000, "gk-" + "x" * 99 + "-" + "y" * 32):
        assert world.directory.authenticate(secret) is None


def test_a_made_key_is_asked_for_once() -> None:
    """Then it is known, as the same object."""

    async def scenario(world: World) -> None:
        secret = await world.make(limits=LimitSettings(tokens_per_day=5))
        unseen = world.directory.authenticate(secret)
        assert isinstance(unseen, Unseen)
        assert secret not in repr(unseen)
        key = await world.directory.look_up(unseen)
        assert key is not None
        assert (key.key_id, key.tenant.id, key.limits) == ("ci", "acme", LimitSettings(tokens_per_day=5))
        assert world.directory.authenticate(secret) is key
        assert world.store.lookups == 2  # one by the administration

    run(scenario)


def test_unknown_keys_do_not_hammer_the_store() -> None:
    """An id is asked for once in a while; a wrong secret of a known id never."""

    async def scenario(world: World) -> None:
        stranger = make_secret(KeyId("stranger"))
        assert not await world.opens(stranger)
        lookups = world.store.lookups
        assert world.directory.authenticate(stranger) is None
        assert world.directory.authenticate(make_secret(KeyId("stranger"))) is None
        await world.opens(await world.make())
        assert world.directory.authenticate(make_secret(KeyId("ci"))) is None
        assert world.store.lookups == lookups + 2
        world.monotonic_s += ABSENT_S
        assert isinstance(world.directory.authenticate(stranger), Unseen)

    run(scenario)


def test_a_key_that_was_absent_works_as_soon_as_it_is_made() -> None:
    """The negative cache hears of it."""

    async def scenario(world: World) -> None:
        assert not await world.opens(make_secret(KeyId("ci")))
        secret = await world.make()
        await world.settle()
        assert await world.opens(secret)

    run(scenario)


def test_changes_are_effective_at_once() -> None:
    """Revocation, rotation and its overlap, expiry, the tenant's end."""

    async def scenario(world: World) -> None:
        first = await world.make(expires_s=world.now_s + 100)
        assert await world.opens(first)
        second = (await world.admin.rotate_key(KeyId("ci"), 50, ADMIN)).secret
        await world.settle()
        assert await world.opens(first)
        assert await world.opens(second)
        world.now_s += 50
        assert not await world.opens(first)
        assert await world.opens(second)
        world.now_s += 50
        assert not await world.opens(second)

        third = await world.make("third")
        assert await world.opens(third)
        await world.admin.revoke_key(KeyId("third"), ADMIN)
        await world.settle()
        assert not await world.opens(third)

        await world.admin.put_tenant(NewTenant(id=TEAM), ADMIN)
        fourth = await world.make("fourth", TEAM)
        assert await world.opens(fourth)
        await world.admin.delete_tenant(TEAM, ADMIN)
        await world.settle()
        assert not await world.opens(fourth)

    run(scenario)


def test_a_tenants_new_settings_reach_its_keys() -> None:
    """Models, limits and all."""

    async def scenario(world: World) -> None:
        await world.admin.put_tenant(NewTenant(id=TEAM, models=(SMALL,)), ADMIN)
        secret = await world.make(tenant=TEAM)
        key = await world.directory.identify(secret)
        assert key is not None
        assert (key.may_use(SMALL), key.may_use(LARGE)) == (True, False)
        await world.admin.put_tenant(NewTenant(id=TEAM, models=(LARGE,), priority=7), ADMIN)
        await world.settle()
        key = await world.directory.identify(secret)
        assert key is not None
        assert (key.may_use(SMALL), key.may_use(LARGE), key.tenant.priority) == (False, True, 7)

    run(scenario)


def test_another_file_is_in_force_at_once() -> None:
    """The file's ids win over the store's; a stored key follows its tenant in the file."""

    async def scenario(world: World) -> None:
        secret = await world.make()
        before = await world.directory.identify(secret)
        assert before is not None
        world.directory.use(ring(FILE.replace("priority: 3", "priority: 5")))
        after = world.directory.authenticate(secret)
        assert not isinstance(after, Unseen)
        assert after is not None
        assert (before.tenant.priority, after.tenant.priority) == (3, 5)
        world.directory.use(ring(FILE.replace("acme-dev", "ci")))
        assert world.directory.authenticate(secret) is None
        world.directory.use(ring(FILE.replace("id: acme\n", "id: other\n")))
        assert world.directory.authenticate(secret) is None
        assert not await world.opens(secret)

    run(scenario)


def test_without_auth_everybody_is_anonymous() -> None:
    """Made keys too."""
    world = World()
    settings = replace(parse_settings(FILE, {}, VARIANTS), no_auth=True)
    world.directory.use(KeyRing.from_settings(settings, now_s=lambda: 0))
    for secret in (None, "x", make_secret(KeyId("ci"))):
        key = world.directory.authenticate(secret)
        assert not isinstance(key, Unseen)
        assert key is not None
        assert key.key_id == "anonymous"


def test_a_store_that_is_away_locks_nobody_out_who_is_known() -> None:
    """For a time; who isn't known is told to come back, at once."""

    async def scenario(world: World) -> None:
        known, unknown = await world.make("known"), await world.make("unknown")
        assert await world.opens(known)
        world.store.lose()
        world.monotonic_s += LEASE_S
        assert not world.directory.in_touch
        assert await world.opens(known)
        with pytest.raises(KeysUnavailable):
            await world.opens(unknown)
        world.monotonic_s += GRACE_S
        with pytest.raises(KeysUnavailable):
            await world.opens(known)
        assert await world.opens(FILE_SECRET)

    run(scenario)


def test_what_was_missed_while_the_store_was_away_is_caught_up() -> None:
    """Before anything else is believed."""

    async def scenario(world: World) -> None:
        kept, revoked = await world.make("kept"), await world.make("revoked")
        assert await world.opens(kept)
        assert await world.opens(revoked)
        world.store.lose()
        await world.settle()
        world.store._keys["revoked"] = msgspec.structs.replace(world.store._keys["revoked"], revoked_s=world.now_s)
        assert await world.opens(revoked)
        world.store.away = False
        for _ in range(500):
            if not await world.opens(revoked):
                break
            await asyncio.sleep(0.01)
        assert not await world.opens(revoked)
        lookups = world.store.lookups
        assert await world.opens(kept)
        assert world.store.lookups == lookups

    run(scenario)


def test_a_store_that_is_away_at_the_start_is_found_later() -> None:
    """The gateway starts all the same."""

    async def play(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.auth.directory.START_WAIT_S", 0.02)
        world = World()
        secret = await world.make()
        world.store.away = True
        async with world.directory:
            with pytest.raises(KeysUnavailable):
                await world.opens(secret)
            world.store.away = False
            for _ in range(500):
                if world.directory.in_touch:
                    break
                await asyncio.sleep(0.01)
            assert await world.opens(secret)

    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(play(monkeypatch))


def test_a_slow_store_is_not_waited_for() -> None:
    """A request is answered in a twentieth of a second."""

    async def scenario(world: World) -> None:
        secret = await world.make()
        world.store.before_answer = lambda: asyncio.sleep(60)
        started = asyncio.get_running_loop().time()
        with pytest.raises(KeysUnavailable):
            await world.opens(secret)
        assert asyncio.get_running_loop().time() - started < 1

    run(scenario)


def test_a_flood_of_unknown_keys_is_bounded() -> None:
    """What is too much is told to come back."""

    async def scenario(world: World) -> None:
        gate = asyncio.Event()

        async def wait() -> None:
            await gate.wait()

        world.store.before_answer = wait
        unseen = [Unseen(KeyId(f"k{number}"), b"") for number in range(MAX_LOOKUPS)]
        waiting = [asyncio.ensure_future(world.directory.look_up(one)) for one in unseen]
        await asyncio.sleep(0)
        with pytest.raises(KeysUnavailable):
            await world.directory.look_up(Unseen(KeyId("one-more"), b""))
        gate.set()
        assert set(await asyncio.gather(*waiting)) == {None}

    run(scenario)


def test_a_look_up_that_a_change_overtakes_is_not_kept() -> None:
    """Else the answer from before a revocation would live on."""

    async def scenario(world: World) -> None:
        secret = await world.make()

        async def revoke_meanwhile() -> None:
            world.store.before_answer = None
            await world.admin.revoke_key(KeyId("ci"), ADMIN)
            await world.settle()

        world.store.before_answer = revoke_meanwhile
        assert not await world.opens(secret)
        assert not await world.opens(secret)

    run(scenario)


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes first, and is asked for again."""
    monkeypatch.setattr("gateway.auth.directory.MAX_KNOWN", 2)
    monkeypatch.setattr("gateway.auth.directory.MAX_ABSENT", 2)

    async def scenario(world: World) -> None:
        secrets = [await world.make(name) for name in "abc"]
        for secret in secrets:
            assert await world.opens(secret)
        assert [isinstance(world.directory.authenticate(secret), Unseen) for secret in secrets] == [True, False, False]
        strangers = [make_secret(KeyId(f"x{number}")) for number in range(3)]
        for stranger in strangers:
            assert not await world.opens(stranger)
        assert isinstance(world.directory.authenticate(strangers[0]), Unseen)
        assert world.directory.authenticate(strangers[2]) is None

    run(scenario)


def test_replicas_hear_of_a_reload() -> None:
    """With the name of who has done it, who needn't do it again."""

    async def scenario(world: World) -> None:
        await world.admin.tell_reload("replica-1", Actor("admin"))
        await world.settle()
        assert world.told == ["replica-1"]

    run(scenario)


@pytest.mark.parametrize("key_id", ["a", "a-b-c", "x" * 64, "gk-gk-", "with.dots_and-more"])
def test_the_id_is_found_in_the_key(key_id: str) -> None:
    """Whatever hyphens are in it."""
    assert made_key_id(make_secret(KeyId(key_id))) == key_id


@pytest.mark.parametrize("presented", ["gk-" + "x" * 32, "gk--" + "x" * 32, "sk-a-" + "x" * 32, "gk-a" + "x" * 33])
def test_other_forms_have_no_id(presented: str) -> None:
    """They aren't asked for."""
    assert made_key_id(presented) is None
