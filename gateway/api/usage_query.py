"""Usage as it is asked for and shown: `/v1/usage` and `/admin/v1/usage`."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, get_args

import msgspec

from gateway.api.admin.views import moment, read_moment
from gateway.errors import InvalidRequest
from gateway.observability.usage import (
    KEPT,
    LENGTH_S,
    Granularity,
    UsageRow,
    UsageStore,
    bucket_start,
    bucket_starts,
    total,
)
from gateway.values import TenantId

MAX_ROWS: Final = 50_000
_DEFAULT_BUCKETS: Final[Mapping[Granularity, int]] = {"minute": 60, "hour": 24, "day": 30}


class UsageQuery(NamedTuple):
    """Which buckets, and what of them."""

    granularity: Granularity
    starts_s: list[int]
    key: str | None = None
    model: str | None = None

    async def answer(self, store: UsageStore, tenant: TenantId | None) -> dict[str, Any]:
        """Return the rows of a tenant, or of all, as JSON. Raises UsageUnavailableError and InvalidRequest."""
        rows = [
            row
            for row in await store.read(self.granularity, self.starts_s, tenant)
            if self.key in (None, row.subject.key) and self.model in (None, row.subject.model)
        ]
        if len(rows) > MAX_ROWS:
            raise InvalidRequest(f"That is more than {MAX_ROWS:,} rows: ask for less time, or for one tenant.")
        starts_s, length_s = self.starts_s, LENGTH_S[self.granularity]
        return {
            "object": "list",
            "granularity": self.granularity,
            "from": moment(starts_s[0]) if starts_s else None,
            "to": moment(starts_s[-1] + length_s) if starts_s else None,
            "total": total(rows),
            "data": [_row(row) for row in sorted(rows, key=lambda row: (row.start_s, row.subject))],
        }


def read_query(parameters: Mapping[str, str], now_s: float) -> UsageQuery:
    """Read `granularity`, `from`, `to`, `key` and `model`. Raises InvalidRequest."""
    granularity: Granularity = _granularity(parameters.get("granularity", "hour"))
    length_s = LENGTH_S[granularity]
    to_s = read_moment(parameters["to"], "to") if "to" in parameters else now_s + 1  # the running bucket too
    if "from" in parameters:
        from_s = read_moment(parameters["from"], "from")
    else:
        from_s = min(to_s, now_s) - (_DEFAULT_BUCKETS[granularity] - 1) * length_s
    if from_s > to_s:
        raise InvalidRequest("'from' is after 'to'.", param="from")
    starts_s = bucket_starts(granularity, from_s, to_s, now_s)
    return UsageQuery(granularity, starts_s, parameters.get("key"), parameters.get("model"))


async def running_windows(store: UsageStore, tenant: TenantId, now_s: float) -> dict[str, Any]:
    """Return a tenant's counts of the running minute, hour and day, as JSON. Raises UsageUnavailableError."""
    windows: dict[str, Any] = {}
    for granularity in KEPT:
        start_s = bucket_start(now_s, granularity)
        rows = await store.read(granularity, [start_s], tenant)
        windows[granularity] = {
            "from": moment(start_s),
            "to": moment(start_s + LENGTH_S[granularity]),
            **msgspec.to_builtins(total(rows)),
            "keys": _sums((row.subject.key, row) for row in rows),
            "models": _sums((row.subject.model, row) for row in rows),
        }
    return windows


def _sums(named: Iterable[tuple[str, UsageRow]]) -> dict[str, Any]:
    rows: dict[str, list[UsageRow]] = {}
    for name, row in named:
        rows.setdefault(name, []).append(row)
    return {name: total(some) for name, some in sorted(rows.items())}


def _granularity(text: str) -> Granularity:
    for granularity in KEPT:
        if text == granularity:
            return granularity
    raise InvalidRequest(f"'granularity' must be one of {', '.join(get_args(Granularity))}.", param="granularity")


def _row(row: UsageRow) -> dict[str, Any]:
    return {"start": moment(row.start_s), **row.subject._asdict(), **msgspec.to_builtins(row.counts)}
