"""What is known of a request when it ends: filled in by the steps, handed to observability once."""

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from gateway.values import KeyId, ModelName, RequestId, TenantId, Usage, WorkerId


class FilterFinding(Protocol):
    """A rule that acted."""

    @property
    def rule(self) -> str: ...

    @property
    def action(self) -> str: ...

    @property
    def count(self) -> int: ...


class FilterRecord(Struct):
    """What a tenant's filter did to a request and to its answer."""

    name: str
    """Of the filter."""
    input: Sequence[Any]
    """`FilterFinding`s."""
    output: Sequence[Any] = ()
    has_output: bool = False
    """The answer is screened."""
    input_blocked: bool = False
    output_blocked: bool = False
    content: str | None = None
    """What the configuration lets the log tell of texts that rules acted on: a salted hash, or the texts."""

    def sides(self) -> tuple[tuple[str, Sequence[FilterFinding]], ...]:
        """Return the findings of each side."""
        return (("input", self.input), ("output", self.output))

    def header_line(self) -> bytes:
        """Return `x-gateway-filters`: the filter, and what was found before the answer's head went out."""
        parts = [self.name]
        for side, findings in self.sides():
            acted = ", ".join(f"{found.rule} {found.action} {found.count}" for found in findings)
            if acted or side == "input" or self.has_output:
                parts.append(f"{side}={acted or ('passed' if side == 'input' else 'screened')}")
        return b"x-gateway-filters: %s\r\n" % "; ".join(parts).encode("ascii", "replace")


class RequestRecord(Struct):
    """The facts of one request; the basis of its log line and its metrics."""

    request_id: RequestId
    endpoint: str
    started: float
    """Seconds of the monotonic clock."""
    key: KeyId | None = None
    tenant: TenantId | None = None
    model: ModelName | None = None
    worker: WorkerId | None = None
    stream: bool = False
    status: int = 0
    """499: the client went away."""
    error: str | None = None
    """The error's code, or its type where it has none."""
    cause: str | None = None
    """What happened at the worker, for the operator: never sent to a client."""
    attempts: int = 0
    queued_s: float | None = None
    """How long it waited for a place at a worker, where it had to."""
    sent_at: float | None = None
    """When the worker was asked."""
    first_byte_at: float | None = None
    usage: Usage | None = None
    begun: bool = False
    """A worker has begun to answer: no other is asked any more."""
    asked_model: str | None = None
    """`auto` and its kin, where the gateway chose the model."""
    fallback_from: ModelName | None = None
    """The model that was asked for, where `model` stands in for it."""
    refused: bool = False
    """The worker refused it, or was never reached: nothing was generated."""
    limit_lines: bytes = b""
    """`x-ratelimit-*` header lines of the answer."""
    frames: int = 0
    """Data frames of a stream that went by; what an aborted stream has produced."""
    filter: FilterRecord | None = None
    """Set when the tenant has a filter."""
