"""Who a presented key is: the file's keys, and those made at run time as far as they were used here.

A request never waits for the store, but for the first look at a key: whatever is known is kept right by one task that
watches the store's changes. A change drops what is known of the key or tenant, and the next request looks again. When
watching was interrupted, the task first reads everything known again. So a revocation is effective within a second on
every replica that reaches the store, and at once where no message is lost.

While the store can't be reached, known keys go on for `GRACE_S`: nobody can revoke one without the store either, unless
only this replica has lost it. Unknown keys are refused with 503, because they may be valid.
"""

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Self

from msgspec import Struct

from gateway.auth.keys import ApiKey, KeyRing
from gateway.auth.made_keys import digest_of, made_key_id
from gateway.auth.records import Found, StoredKey, StoredTenant, Touched
from gateway.auth.store import KeyStore, StoreUnavailableError
from gateway.background import end_task
from gateway.errors import KeysUnavailable
from gateway.values import KeyId

GRACE_S: Final = 900.0
"""How long known keys are good after the store was last heard of."""
LOOKUP_DEADLINE_S: Final = 0.05
"""What a request waits at most, once per key."""
MAX_LOOKUPS: Final = 256
"""At the same time; more unknown keys are refused with 503, so that a flood of them can't drown the store."""
MAX_KNOWN: Final = 10_000
MAX_ABSENT: Final = 10_000
ABSENT_S: Final = 10.0
"""How long an id that the store didn't know isn't asked for again. Creating the key ends it at once."""
START_WAIT_S: Final = 1.0
_LOOKS: Final = 3
_REREAD: Final = 500
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0

logger = logging.getLogger("gateway.auth")


class Unseen(Struct, frozen=True):
    """A key that may have been made at run time, and isn't known here yet."""

    key_id: KeyId
    digest: bytes

    def __repr__(self) -> str:
        return f"Unseen({self.key_id})"


class _Known:
    """A stored key that was used, and what it opens as."""

    __slots__ = ("api_key", "key", "ring", "tenant")

    def __init__(self, found: Found) -> None:
        self.key: StoredKey = found.key
        self.tenant: StoredTenant | None = found.tenant
        self.ring: KeyRing | None = None
        """What `api_key` was built with."""
        self.api_key: ApiKey | None = None


class KeyDirectory:
    """Owned by the application; a context manager that watches the store."""

    def __init__(
        self,
        ring: KeyRing,
        store: KeyStore,
        *,
        now_s: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        config_touched: Callable[[str], None] | None = None,
    ) -> None:
        """`config_touched` is called with the id of a replica that wants everybody to read the file again."""
        self._ring = ring
        self._store = store
        self._now_s = now_s
        self._clock = clock
        self._config_touched = config_touched
        self._known: dict[KeyId, _Known] = {}
        self._absent: dict[KeyId, float] = {}
        self._batches = 0
        """How many batches of changes came: a look-up that one overtook isn't kept."""
        self._lookups = 0
        self._in_touch_until = 0.0
        self._trusted_until = 0.0
        self._touched = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    @property
    def ring(self) -> KeyRing:
        """The file's keys and tenants."""
        return self._ring

    def use(self, ring: KeyRing) -> None:
        """Go on with another file; requests that are under way keep what they have."""
        self._ring = ring

    @property
    def in_touch(self) -> bool:
        """Whether the store answers, and every change until now is known."""
        return self._clock() < self._in_touch_until

    def authenticate(self, presented: str | None) -> ApiKey | Unseen | None:
        """Return whose key was presented, None when it opens nothing, or Unseen: `look_up` tells then."""
        ring = self._ring
        if ring.anonymous is not None:
            return ring.anonymous
        digest = digest_of(presented)
        if digest is None or presented is None:
            return None
        return ring.match(digest) or self._match(presented, digest)

    async def look_up(self, unseen: Unseen) -> ApiKey | None:
        """Ask the store. Raises KeysUnavailable when it can't be asked."""
        if not self.in_touch or self._lookups >= MAX_LOOKUPS:
            raise KeysUnavailable
        self._lookups += 1
        try:
            async with asyncio.timeout(LOOKUP_DEADLINE_S):
                known = await self._learn(unseen.key_id)
        except (TimeoutError, StoreUnavailableError):
            raise KeysUnavailable from None
        finally:
            self._lookups -= 1
        return None if known is None else self._open(known, unseen.digest)

    async def identify(self, presented: str | None) -> ApiKey | None:
        """Do both steps; for paths where a coroutine more doesn't matter."""
        key = self.authenticate(presented)
        return await self.look_up(key) if isinstance(key, Unseen) else key

    async def __aenter__(self) -> Self:
        """Begin to watch; wait a moment for the store, and go on without it."""
        self._watch = asyncio.create_task(self._watch_store(), name="key store watch")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_WAIT_S):
                await self._touched.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch is not None:
            await end_task(self._watch)

    def _match(self, presented: str, digest: bytes) -> ApiKey | Unseen | None:
        key_id = made_key_id(presented)
        if key_id is None or key_id in self._ring.keys:
            return None
        known = self._known.get(key_id)
        if known is not None and self._clock() < self._trusted_until:
            return self._open(known, digest)
        if self._absent.get(key_id, 0.0) > self._clock() and self.in_touch:
            return None
        return Unseen(key_id, digest)

    def _open(self, known: _Known, digest: bytes) -> ApiKey | None:
        """Return what a known key opens as, to whom presents a secret of this digest."""
        now_s = self._now_s()
        for secret in known.key.secrets:
            if hmac.compare_digest(secret.sha256, digest):
                if secret.until_s is not None and now_s >= secret.until_s:
                    return None
                break
        else:
            return None
        key = known.key
        if key.revoked_s is not None or (key.expires_s is not None and now_s >= key.expires_s):
            return None
        ring = self._ring
        if known.ring is not ring:
            known.api_key = ring.adopt(key, known.tenant)
            known.ring = ring
        return known.api_key

    async def _learn(self, key_id: KeyId) -> _Known | None:
        known: _Known | None = None
        for _ in range(_LOOKS):
            batches = self._batches
            found = (await self._store.find((key_id,))).get(key_id)
            known = None if found is None else _Known(found)
            if batches != self._batches:
                continue  # what was read may be older than the change that was just told
            if known is not None:
                _make_room(self._known, MAX_KNOWN)
                self._known[key_id] = known
            else:
                _make_room(self._absent, MAX_ABSENT)
                self._absent[key_id] = self._clock() + ABSENT_S
            break
        return known

    async def _watch_store(self) -> None:
        pause_s = _FIRST_PAUSE_S
        lost = False
        while True:
            try:
                async with contextlib.aclosing(self._store.changes()) as batches:
                    await anext(batches)
                    await self._reread()
                    if lost:
                        logger.info("the key store answers again")
                    pause_s, lost = _FIRST_PAUSE_S, False
                    self._heard()
                    async for batch in batches:
                        self._forget(batch)
                        self._heard()
            except StoreUnavailableError as error:
                if not lost:
                    logger.warning("the key store can't be reached: %s", error)
                lost = True
            except Exception:  # the supervisor: whatever it is, watching goes on
                logger.exception("watching the key store failed")
                lost = True
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _heard(self) -> None:
        now = self._clock()
        self._in_touch_until = now + self._store.touch_lease_s
        self._trusted_until = now + max(GRACE_S, self._store.touch_lease_s)
        self._touched.set()

    async def _reread(self) -> None:
        """Read everything known again: changes may have been missed."""
        self._batches += 1
        self._absent.clear()
        key_ids = list(self._known)
        fresh: dict[KeyId, _Known] = {}
        for start in range(0, len(key_ids), _REREAD):
            found = await self._store.find(key_ids[start : start + _REREAD])
            fresh.update((key_id, _Known(one)) for key_id, one in found.items())
        self._batches += 1
        self._known = fresh

    def _forget(self, batch: Sequence[Touched]) -> None:
        if batch:
            self._batches += 1
        tenants: set[str] = set()
        for touched in batch:
            match touched.kind:
                case "key":
                    self._known.pop(KeyId(touched.id), None)
                    self._absent.pop(KeyId(touched.id), None)
                case "tenant":
                    tenants.add(touched.id)
                case "config":
                    if self._config_touched is not None:
                        self._config_touched(touched.id)
        if tenants:
            for key_id in _keys_of(self._known, tenants):
                del self._known[key_id]


def _keys_of(known: dict[KeyId, _Known], tenants: set[str]) -> Iterable[KeyId]:
    return [key_id for key_id, one in known.items() if one.key.tenant in tenants]


def _make_room(cache: dict[KeyId, _Known] | dict[KeyId, float], size: int) -> None:
    """Drop what was put in first."""
    while len(cache) >= size:
        del cache[next(iter(cache))]
