"""What is known of a request when it ends: filled in by the steps, handed to observability once."""

from msgspec import Struct

from gateway.values import KeyId, ModelName, RequestId, TenantId, Usage, WorkerId


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
    sent_at: float | None = None
    """When the worker was asked."""
    first_byte_at: float | None = None
    usage: Usage | None = None
    refused: bool = False
    """The worker refused it: nothing was generated."""
    limit_lines: bytes = b""
    """`x-ratelimit-*` header lines of the answer."""
    frames: int = 0
    """Data frames of a stream that went by; what an aborted stream has produced."""
