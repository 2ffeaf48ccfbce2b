"""What the admin API has changed about the workers, for all replicas: those added, those that are drained, and which
adapters they are to have.

The whole of it is one small value with a version, changed only from the version that was read: two administrators can't
undo each other's change unseen.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from gateway.errors import Conflict
from gateway.values import ModelName, WorkerId

MAX_ADDED: Final = 1_000
MAX_DRAINED: Final = 1_000
MAX_WISHES: Final = 1_000
_ATTEMPTS: Final = 8


class AddedWorker(Struct, frozen=True):
    """A worker that the file and discovery don't know."""

    model: ModelName
    url: str
    weight: float = 1.0


class AdapterWish(Struct, frozen=True):
    """What the admin API has last said of a LoRA adapter; it holds for workers that come later, too."""

    model: ModelName
    """The base model."""
    adapter: str
    """The engine's name for it."""
    path: str | None = None
    """Where the engine finds it; None: it is to be unloaded."""

    def is_of_same(self, other: "AdapterWish") -> bool:
        """Whether both are of one adapter."""
        return (self.model, self.adapter) == (other.model, other.adapter)


class Overrides(Struct, frozen=True):
    """All changes that are in force."""

    version: int = 0
    added: tuple[AddedWorker, ...] = ()
    drained: tuple[WorkerId, ...] = ()
    """By id: an engine that serves several models is drained of all of them."""
    wishes: tuple[AdapterWish, ...] = ()
    """At most one of each adapter."""

    def add(self, worker: AddedWorker) -> "Overrides":
        """Return them with one more worker."""
        if len(self.added) >= MAX_ADDED:
            raise Conflict(
                f"{MAX_ADDED} workers were added already; list them in the file, or let discovery find them."
            )
        return msgspec.structs.replace(self, added=(*self.added, worker))

    def without(self, gone: Callable[[AddedWorker], bool]) -> "Overrides":
        """Return them without the added workers for which `gone` is true."""
        return msgspec.structs.replace(self, added=tuple(worker for worker in self.added if not gone(worker)))

    def drain(self, worker_id: WorkerId) -> "Overrides":
        """Return them with this worker drained."""
        if worker_id in self.drained:
            return self
        if len(self.drained) >= MAX_DRAINED:
            raise Conflict(f"{MAX_DRAINED} workers are drained already; undrain some.")
        return msgspec.structs.replace(self, drained=(*self.drained, worker_id))

    def undrain(self, worker_id: WorkerId) -> "Overrides":
        """Return them with this worker in use."""
        return msgspec.structs.replace(self, drained=tuple(each for each in self.drained if each != worker_id))

    def wish(self, wish: AdapterWish) -> "Overrides":
        """Return them with this instead of what was said of the adapter before."""
        others = self.without_wish(wish).wishes
        if wish in self.wishes:
            return self
        if len(others) >= MAX_WISHES:
            raise Conflict(f"{MAX_WISHES} adapters were loaded or unloaded already.")
        return msgspec.structs.replace(self, wishes=(*others, wish))

    def without_wish(self, wish: AdapterWish) -> "Overrides":
        """Return them with nothing said of the wish's adapter."""
        left = tuple(each for each in self.wishes if not each.is_of_same(wish))
        return msgspec.structs.replace(self, wishes=left)


class OverridesUnavailableError(Exception):
    """The store didn't answer, or answered nonsense. A change may have been made all the same."""


class OverrideStore(Protocol):
    """Where they are kept. Both methods may raise OverridesUnavailableError."""

    shared: bool
    """Whether others may change them."""

    async def read(self) -> Overrides:
        """Return what is in force."""
        ...

    async def replace(self, new: Overrides, *, of_version: int) -> bool:
        """Put `new` in place of those of this version, 0 for none at all; False when somebody was faster."""
        ...


class MemoryOverrideStore:
    """Keeps them in this process, until it ends."""

    shared = False

    def __init__(self) -> None:
        self._held = Overrides()

    async def read(self) -> Overrides:
        """Return what is in force."""
        return self._held

    async def replace(self, new: Overrides, *, of_version: int) -> bool:
        """Put `new`."""
        if of_version != self._held.version:
            return False
        self._held = new
        return True


async def change_overrides(store: OverrideStore, edit: Callable[[Overrides], Overrides]) -> Overrides:
    """Apply `edit` to what is in force, again when somebody was faster, and return the outcome. Raises Conflict."""
    for _ in range(_ATTEMPTS):
        held = await store.read()
        edited = edit(held)
        if edited == held:
            return held
        new = msgspec.structs.replace(edited, version=held.version + 1)
        if await store.replace(new, of_version=held.version):
            return new
    raise Conflict("Somebody else changes the workers at the moment. Please try again.")
