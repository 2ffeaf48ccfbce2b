"""The `/v1` endpoints that reach workers: plain ASGI, one object per path.

Everything that happens to a request ends here: its errors become answers, its record becomes a log line and metrics,
on every path out, cancellation included.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.api.asgi import Receive, Scope, Send
from gateway.api.body import BODY_TIMEOUT_S, ClientGoneError, read_body
from gateway.api.exchange import Exchange
from gateway.api.request_ids import new_request_id, request_id_of
from gateway.auth.keys import extract_key
from gateway.errors import GatewayError, InternalError, InvalidApiKey, InvalidRequest, MethodNotAllowed, WorkerTimeout
from gateway.observability.record import RequestRecord
from gateway.pipeline.services import Inbound, Services
from gateway.values import RequestId

CLIENT_GONE = 499
"""nginx's status for it; a value for logs and metrics that is never sent."""
BYTES_PER_MB = 1024 * 1024

Handler = Callable[[Services, Inbound], Awaitable[None]]
logger = logging.getLogger("gateway.api")


class Observer(Protocol):
    """Is told when requests begin and end."""

    def begin(self) -> None:
        """Note that a request begins."""
        ...

    def end(self, record: RequestRecord) -> None:
        """Note that a request has ended, with all that is known of it."""
        ...


class ConnectionHandle(Protocol):
    """The client's connection; it cancels the task that serves it when the client goes away."""

    serving: "asyncio.Task[object] | None"

    @property
    def body_complete(self) -> bool:
        """Whether the whole body of the current request is here."""
        ...


class InferenceEndpoint:
    """Serves POST requests of one path with one function of the pipeline."""

    def __init__(self, name: str, handler: Handler, services: Services, observer: Observer) -> None:
        self._name = name
        self._handler = handler
        self._services = services
        self._observer = observer
        self._max_body_bytes = int(services.server.max_body_mb * BYTES_PER_MB)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        del send  # answers are written to the cycle
        headers = scope["headers"]
        own_id = new_request_id()
        record = RequestRecord(request_id_of(headers) or own_id, self._name, self._services.clock())
        exchange = Exchange(scope["gateway.cycle"], record.request_id)
        connection: ConnectionHandle = scope["gateway.connection"]
        connection.serving = asyncio.current_task()
        self._observer.begin()
        try:
            await self._serve(scope, receive, exchange, record, own_id)
            record.status = 200
        except GatewayError as error:
            await self._refuse(exchange, record, error)
        except ClientGoneError:
            record.status = CLIENT_GONE
        except RecursionError:  # what the decoder just took is too deep to be written again
            await self._refuse(exchange, record, InvalidRequest("The request body is nested too deeply."))
        except asyncio.CancelledError as cancelled:
            await self._cancelled(exchange, record, cancelled)
        except Exception:  # the outermost place: whatever it is, the client gets an answer and the process lives
            logger.exception("request failed", extra={"request_id": record.request_id})
            await self._refuse(exchange, record, InternalError())
        finally:
            if connection.serving is asyncio.current_task():
                connection.serving = None
            self._observer.end(record)

    async def _serve(
        self, scope: Scope, receive: Receive, exchange: Exchange, record: RequestRecord, own_id: RequestId
    ) -> None:
        if scope["method"] != "POST":
            message = f"Use POST for {scope['path']}."
            raise MethodNotAllowed(message, allow="POST")
        key = self._services.keys.authenticate(extract_key(scope["headers"]))
        if key is None:
            raise InvalidApiKey
        record.key = key.key_id
        record.tenant = key.tenant.id
        timeout_s = None if scope["gateway.connection"].body_complete else BODY_TIMEOUT_S
        body = await read_body(scope["headers"], receive, self._max_body_bytes, timeout_s)
        await self._handler(self._services, Inbound(exchange, key, body, record, own_id))

    async def _refuse(self, exchange: Exchange, record: RequestRecord, error: GatewayError) -> None:
        record.status = error.status
        record.error = error.code or error.type
        if not exchange.finished:
            await exchange.send_error(error)

    async def _cancelled(self, exchange: Exchange, record: RequestRecord, cancelled: asyncio.CancelledError) -> None:
        """Tell why the request was cut: the client went away, or the server's drain time is over."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        if exchange.finished:  # clients hang up at `[DONE]`, before the transfer's end
            record.status = 200
            return
        reason = str(cancelled.args[0]) if cancelled.args else ""
        if reason.startswith("Task cancelled"):  # uvicorn, when the drain time is over
            await self._refuse(exchange, record, WorkerTimeout("The gateway is shutting down. Please retry."))
            return
        record.status = CLIENT_GONE
        record.cause = reason or record.cause
