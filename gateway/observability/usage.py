"""Usage: requests and tokens per tenant, key and model, in buckets of a minute, an hour and a day.

A request adds to counters in this process; once a second they go to the store. Each batch has a number, so that one
whose answer was lost can be given again without counting twice. While the store is away, counters keep on adding up per
minute, up to a bound; nothing is lost unless the process is killed.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol, Self

from msgspec import Struct

from gateway.background import end_task
from gateway.observability.record import RequestRecord
from gateway.values import KeyId, ModelName, TenantId

Granularity = Literal["minute", "hour", "day"]
MINUTE_S: Final = 60
LENGTH_S: Final = MappingProxyType[Granularity, int]({"minute": 60, "hour": 3_600, "day": 86_400})
KEPT: Final = MappingProxyType[Granularity, int]({"minute": 120, "hour": 72, "day": 100})
"""How many buckets of each kind are kept, the running one included."""
FLUSH_S: Final = 1.0
CLOSE_DEADLINE_S: Final = 3.0
"""For the last flush; a store that doesn't answer by then loses what it hasn't taken."""
MAX_PENDING: Final = 50_000
"""Counters that wait for the store; what comes after them is dropped, and logged."""
NO_MODEL: Final = ModelName("none")
"""Of requests that end before their model is known."""

logger = logging.getLogger("gateway.usage")


class Counts(Struct):
    """What is counted. `errors`: requests that ended with a status of 400 or more, or with an error in their stream."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Part of the prompt tokens."""
    errors: int = 0

    def add(self, other: "Counts") -> None:
        """Add another's counts to these."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.cached_tokens += other.cached_tokens
        self.errors += other.errors


class Subject(NamedTuple):
    """Whose usage of what."""

    tenant: TenantId
    key: KeyId
    model: ModelName


class UsageRow(NamedTuple):
    """One bucket of one subject; `start_s` in Unix seconds."""

    start_s: int
    subject: Subject
    counts: Counts


class UsageBatch(Struct, frozen=True):
    """What one process has counted in one minute, or in a part of it."""

    source: str
    """The process."""
    number: int
    """Of the batch; each is larger than those that its process gave before."""
    minute_s: int
    """Start of the minute, Unix seconds."""
    counts: Sequence[tuple[Subject, Counts]]


class UsageUnavailableError(Exception):
    """The store didn't answer; it may have taken the batch all the same."""


class UsageStore(Protocol):
    """Both methods may raise UsageUnavailableError."""

    async def add(self, batch: UsageBatch) -> None:
        """Add to the buckets, unless a batch of this number or a later one was added for its source before."""
        ...

    async def read(self, granularity: Granularity, starts_s: Sequence[int], tenant: TenantId | None) -> list[UsageRow]:
        """Return what the buckets hold that begin at these times; of one tenant, or of all."""
        ...


class MemoryUsageStore:
    """Buckets in this process: for a gateway of one process without Redis."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[Granularity, int], dict[Subject, Counts]] = {}
        self._numbers: dict[str, int] = {}

    async def add(self, batch: UsageBatch) -> None:
        """Add to the buckets; forget those that are too old."""
        if batch.number <= self._numbers.get(batch.source, -1):
            return
        self._numbers[batch.source] = batch.number
        for granularity in LENGTH_S:
            bucket = self._buckets.setdefault((granularity, bucket_start(batch.minute_s, granularity)), {})
            for subject, counts in batch.counts:
                bucket.setdefault(subject, Counts()).add(counts)
        for granularity, start_s in list(self._buckets):
            if start_s <= batch.minute_s - LENGTH_S[granularity] * KEPT[granularity]:
                del self._buckets[granularity, start_s]

    async def read(self, granularity: Granularity, starts_s: Sequence[int], tenant: TenantId | None) -> list[UsageRow]:
        """Return what the buckets hold."""
        return [
            UsageRow(start_s, subject, counts)
            for start_s in starts_s
            for subject, counts in self._buckets.get((granularity, start_s), {}).items()
            if tenant is None or subject.tenant == tenant
        ]


class UsageRecorder:
    """Counts the requests of this process; a context manager that gives the counts to the store every second."""

    def __init__(self, store: UsageStore, *, now_s: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now_s = now_s
        self._minute_s = 0
        self._counts: dict[Subject, Counts] = {}
        self._past: dict[int, dict[Subject, Counts]] = {}
        """What isn't flushed of minutes that are over."""
        self._pending = 0
        self._dropped = 0
        self._source = secrets.token_hex(6)
        self._number = 0
        self._unanswered: list[UsageBatch] = []
        """Batches that the store was given and didn't answer; they go first."""
        self._failing = False
        self._flushing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def record(self, record: RequestRecord) -> None:
        """Count a request that has ended; one of no tenant isn't counted."""
        tenant, key = record.tenant, record.key
        if tenant is None or key is None:
            return
        now_s = int(self._now_s())
        if not self._minute_s <= now_s < self._minute_s + MINUTE_S:
            self._begin_minute(now_s)
        subject = Subject(tenant, key, record.model or NO_MODEL)
        counts = self._counts.get(subject)
        if counts is None:
            if self._pending >= MAX_PENDING:
                self._dropped += 1
                return
            self._pending += 1
            counts = self._counts[subject] = Counts()
        counts.requests += 1
        if record.usage is not None:
            counts.prompt_tokens += record.usage.prompt_tokens
            counts.completion_tokens += record.usage.completion_tokens
            counts.cached_tokens += record.usage.cached_tokens
        if record.status >= 400 or record.error is not None:
            counts.errors += 1

    async def flush(self) -> None:
        """Give everything counted until now to the store. Raises UsageUnavailableError; nothing is lost by it."""
        async with self._flushing:
            while self._unanswered:
                await self._store.add(self._unanswered[0])
                del self._unanswered[0]
            self._begin_minute(int(self._now_s()))
            past, self._past, self._pending = self._past, {}, 0
            self._unanswered = list(self._batches(past))
            while self._unanswered:
                await self._store.add(self._unanswered[0])
                del self._unanswered[0]

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._flush_regularly(), name="usage flush")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give the rest to the store."""
        if self._task is not None:
            await end_task(self._task)
        try:
            async with asyncio.timeout(CLOSE_DEADLINE_S):
                await self.flush()
        except (TimeoutError, UsageUnavailableError) as error:
            logger.warning("the usage of the last moments could not be stored: %s", error)

    def _begin_minute(self, now_s: int) -> None:
        """Put what was counted aside, under its minute."""
        if self._counts:
            past = self._past.get(self._minute_s)
            if past is None:
                self._past[self._minute_s] = self._counts
            else:
                for subject, counts in self._counts.items():
                    past.setdefault(subject, Counts()).add(counts)
            self._counts = {}
        self._minute_s = now_s - now_s % MINUTE_S

    def _batches(self, past: dict[int, dict[Subject, Counts]]) -> Iterator[UsageBatch]:
        for minute_s, counts in sorted(past.items()):
            self._number += 1
            yield UsageBatch(self._source, self._number, minute_s, tuple(counts.items()))

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except UsageUnavailableError as error:
                if not self._failing:
                    logger.warning("usage can't be stored at the moment, and is kept: %s", error)
                self._failing = True
            else:
                self._failing = False
            if self._dropped:
                logger.error("%d requests were not counted in the usage: the store is away too long", self._dropped)
                self._dropped = 0


def bucket_start(moment_s: float, granularity: Granularity) -> int:
    """Return when the bucket of a moment begins; days begin at midnight UTC."""
    whole = int(moment_s)
    return whole - whole % LENGTH_S[granularity]


def bucket_starts(granularity: Granularity, from_s: float, to_s: float, now_s: float) -> list[int]:
    """Return the buckets that are kept and overlap the time from `from_s` to before `to_s`, oldest first."""
    length_s = LENGTH_S[granularity]
    latest = bucket_start(now_s, granularity)
    first = max(bucket_start(from_s, granularity), latest - (KEPT[granularity] - 1) * length_s)
    return list(range(first, min(latest + 1, max(first, int(-(-to_s // 1)))), length_s))


def total(rows: Iterable[UsageRow]) -> Counts:
    """Return the sum of all rows."""
    counts = Counts()
    for row in rows:
        counts.add(row.counts)
    return counts
