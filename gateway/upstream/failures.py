"""How an exchange with a worker can fail, seen from the connection.

    UpstreamFailure
    ├── ConnectFailed      no connection: refused, unreachable, TLS, or the connect deadline
    ├── ConnectionLost     the worker closed or reset it; `begun` tells whether something of the answer had come
    ├── WorkerSilent       the worker hangs, as its health checks say, and has not begun to answer
    ├── ProtocolViolation  what came is not HTTP/1.1, or is over a cap
    └── DeadlineExceeded   the request's deadline passed

They stay inside the gateway: `pipeline/` turns them into the errors that clients see.
"""


class UpstreamFailure(Exception):
    """Base of all failures of one exchange with a worker."""


class ConnectFailed(UpstreamFailure):
    """No connection could be made."""


class ConnectionLost(UpstreamFailure):
    """The worker's side went away before the answer was complete."""

    def __init__(self, message: str, *, bytes_received: bool, begun: bool | None = None) -> None:
        """`begun`: bytes that count were among those received; a good head alone tells nothing yet."""
        super().__init__(message)
        self.bytes_received = bytes_received
        self.begun = bytes_received if begun is None else begun


class WorkerSilent(UpstreamFailure):
    """The worker hangs, and nothing of the answer has come."""


class ProtocolViolation(UpstreamFailure):
    """The worker answered something that is not HTTP/1.1, or more than the caps allow."""


class DeadlineExceeded(UpstreamFailure):
    """The request's deadline passed while waiting for the worker."""
