"""Every error that a client can see.

    GatewayError
    ├── InvalidRequest            400  invalid_request_error
    │   ├── ContextLengthExceeded      context_length_exceeded
    │   ├── UnsupportedModality        unsupported_modality
    │   └── ContentFiltered            content_filter
    ├── InvalidApiKey             401  invalid_api_key
    ├── ModelNotAllowed           403  model_not_allowed
    ├── ModelNotFound             404  model_not_found
    │   └── PathNotFound               (same code: one 404 for models and paths)
    ├── NotFound                  404  not_found
    ├── MethodNotAllowed          405  method_not_allowed
    ├── BodyTimeout               408  request_timeout
    ├── Conflict                  409  conflict
    ├── RequestTooLarge           413  request_too_large
    ├── RateLimited               429  rate_limit_exceeded
    │   ├── RequestOverLimit           (same code: no wait makes room for it)
    │   └── QuotaExceeded              insufficient_quota
    ├── HeadersTooLarge           431  request_headers_too_large
    ├── InternalError             500  internal_error
    ├── WorkerError               502  worker_error
    ├── NoWorkerAvailable         503  no_worker_available
    │   └── ShuttingDown               (same code: another replica may serve the retry)
    ├── LimitsUnavailable         503  limits_unavailable
    ├── KeysUnavailable           503  keys_unavailable
    ├── StoreUnavailable          503  store_unavailable
    └── WorkerTimeout             504  worker_timeout

Each leaf knows its status, type and code and whether a retry can mend it; `api/replies.py` is the one place that
renders them. Messages are written for the client: they never hold a key, a prompt, a worker's URL or a stack trace.
"""

from typing import ClassVar, Literal

ErrorType = Literal["invalid_request_error", "permission_error", "rate_limit_error", "server_error"]


class GatewayError(Exception):
    """An error in OpenAI's sense: `{"error": {"message", "type", "param", "code"}}` and a status.

    `retry_after_s` becomes `retry-after` and `retry-after-ms`. `retryable` False sends `x-should-retry: false`, which
    the OpenAI SDKs obey; None leaves the decision to the client.
    """

    status: ClassVar[int] = 500
    type: ClassVar[ErrorType] = "server_error"
    default_code: ClassVar[str | None] = None
    retryable: ClassVar[bool | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else self.default_code
        self.retry_after_s = retry_after_s


class InvalidRequest(GatewayError):
    """The request can't be served as it is; `param` names the field at fault."""

    status = 400
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """Prompt, or prompt and `max_tokens`, don't fit the model's context."""

    default_code = "context_length_exceeded"


class UnsupportedModality(InvalidRequest):
    """Image, audio or video for a variant that takes none."""

    default_code = "unsupported_modality"


class ContentFiltered(InvalidRequest):
    """The tenant's filter blocks the request. `header_lines` tell which filter."""

    default_code = "content_filter"
    retryable = False

    def __init__(self, message: str, *, header_lines: bytes = b"") -> None:
        super().__init__(message)
        self.header_lines = header_lines


class InvalidApiKey(GatewayError):
    """No key, an unknown, revoked or expired one: always the same message, so that nothing can be learnt from it."""

    status = 401
    type = "invalid_request_error"
    default_code = "invalid_api_key"
    retryable = False

    def __init__(self) -> None:
        super().__init__(
            "Invalid API key. Send a valid key as 'Authorization: Bearer <key>'; ask the gateway's operator for one."
        )


class ModelNotAllowed(GatewayError):
    """The key's tenant may not use this model."""

    status = 403
    type = "permission_error"
    default_code = "model_not_allowed"
    retryable = False


class ModelNotFound(GatewayError):
    """No model of this name is configured."""

    status = 404
    type = "invalid_request_error"
    default_code = "model_not_found"
    retryable = False


class PathNotFound(ModelNotFound):
    """No such path; OpenAI answers unknown paths and unknown models alike."""


class NotFound(GatewayError):
    """The admin API knows no such key or tenant."""

    status = 404
    type = "invalid_request_error"
    default_code = "not_found"
    retryable = False


class MethodNotAllowed(GatewayError):
    """The path exists for other methods; `allow` lists them for the `allow` header."""

    status = 405
    type = "invalid_request_error"
    default_code = "method_not_allowed"
    retryable = False

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class BodyTimeout(GatewayError):
    """The client stopped sending its body."""

    status = 408
    type = "invalid_request_error"
    default_code = "request_timeout"


class Conflict(GatewayError):
    """What the admin API is asked for goes against what is there: the message says what."""

    status = 409
    type = "invalid_request_error"
    default_code = "conflict"
    retryable = False


class RequestTooLarge(GatewayError):
    """The body, packed or unpacked, is over `server.max_body_mb`."""

    status = 413
    type = "invalid_request_error"
    default_code = "request_too_large"
    retryable = False


class RateLimited(GatewayError):
    """A limit has no room now; after `retry_after_s` it has room for one such request.

    `header_lines` are the `x-ratelimit-*` headers that go with the answer.
    """

    status = 429
    type = "rate_limit_error"
    default_code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float | None = None, header_lines: bytes = b"") -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.header_lines = header_lines


class RequestOverLimit(RateLimited):
    """The request alone is larger than a limit."""

    retryable = False


class QuotaExceeded(RateLimited):
    """A budget of a day is used up: `retry_after_s` tells when it has room again, which is too long to wait for."""

    default_code = "insufficient_quota"
    retryable = False


class HeadersTooLarge(GatewayError):
    """The request head is over the server's cap."""

    status = 431
    type = "invalid_request_error"
    default_code = "request_headers_too_large"
    retryable = False


class InternalError(GatewayError):
    """A fault of ours; the log has the details under the request id."""

    default_code = "internal_error"

    def __init__(self) -> None:
        super().__init__("The gateway failed to handle this request. The request id finds it in the gateway's log.")


class WorkerError(GatewayError):
    """The worker broke, answered nonsense, or refused what it should have taken (wrong key, wrong model)."""

    status = 502
    default_code = "worker_error"


class NoWorkerAvailable(GatewayError):
    """No usable worker for this model now; always has `retry_after_s`."""

    status = 503
    default_code = "no_worker_available"


class ShuttingDown(NoWorkerAvailable):
    """The gateway's drain time ended before the answer did."""

    def __init__(self) -> None:
        super().__init__("The gateway is shutting down. Please retry.", retry_after_s=1.0)


class LimitsUnavailable(GatewayError):
    """The store of the limits can't be reached and is configured not to let requests pass then."""

    status = 503
    default_code = "limits_unavailable"

    def __init__(self, *, retry_after_s: float) -> None:
        super().__init__("Limits can't be checked at the moment. Please retry.", retry_after_s=retry_after_s)


class KeysUnavailable(GatewayError):
    """The store of the keys can't be reached, and the key isn't known here: it may be valid."""

    status = 503
    default_code = "keys_unavailable"

    def __init__(self) -> None:
        super().__init__("Keys can't be checked at the moment. Please retry.", retry_after_s=1.0)


class StoreUnavailable(GatewayError):
    """The admin API or the usage needs the store, which doesn't answer."""

    status = 503
    default_code = "store_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The store doesn't answer; a change may have been made all the same. Please look, and retry.",
            retry_after_s=1.0,
        )


class WorkerTimeout(GatewayError):
    """The worker didn't answer within the request's deadline."""

    status = 504
    default_code = "worker_timeout"
