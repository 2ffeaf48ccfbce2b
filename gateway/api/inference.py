"""The `/v1` endpoints that reach workers, one object per path.

Everything that happens to a request ends here: its errors become answers, its record becomes a log line and metrics,
on every path out, cancellation included.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from gateway.api.answer import Answer
from gateway.api.body import read_body
from gateway.api.exchange import ClientGoneError, Exchange
from gateway.api.request_ids import draw_request_id, request_id_of
from gateway.auth.directory import Unseen
from gateway.auth.keys import extract_key
from gateway.errors import GatewayError, InternalError, InvalidApiKey, InvalidRequest, MethodNotAllowed, ShuttingDown
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


class InferenceEndpoint:
    """Serves POST requests of one path with one function of the pipeline."""

    def __init__(self, name: str, handler: Handler, services: Services, observer: Observer) -> None:
        self._name = name
        self._handler = handler
        self._services = services
        self._observer = observer
        self._max_body_bytes = int(services.server.max_body_mb * BYTES_PER_MB)

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one request."""
        own_id = draw_request_id(self._services.rng)
        record = RequestRecord(request_id_of(exchange.headers) or own_id, self._name, self._services.clock())
        answer = Answer(exchange, record.request_id)
        self._observer.begin()
        try:
            await self._serve(exchange, answer, record, own_id)
            record.status = 200
        except GatewayError as error:
            await self._refuse(answer, record, error)
        except ClientGoneError:
            record.status = CLIENT_GONE
        except RecursionError:  # what the decoder just took is too deep to be written again
            await self._refuse(answer, record, InvalidRequest("The request body is nested too deeply."))
        except asyncio.CancelledError as cancelled:
            await self._cancelled(answer, record, cancelled)
        except Exception:  # the outermost place: whatever it is, the client gets an answer and the process lives
            logger.exception("request failed", extra={"request_id": record.request_id})
            await self._refuse(answer, record, InternalError())
        finally:
            self._observer.end(record)

    async def _serve(self, exchange: Exchange, answer: Answer, record: RequestRecord, own_id: RequestId) -> None:
        if exchange.method != b"POST":
            message = f"Use POST for {exchange.path}."
            raise MethodNotAllowed(message, allow="POST")
        key = self._services.keys.authenticate(extract_key(exchange.headers))
        if isinstance(key, Unseen):
            key = await self._services.keys.look_up(key)
        if key is None:
            raise InvalidApiKey
        record.key = key.key_id
        record.tenant = key.tenant.id
        body = await read_body(exchange, self._max_body_bytes)
        await self._handler(self._services, Inbound(answer, key, body, record, own_id))

    async def _refuse(self, answer: Answer, record: RequestRecord, error: GatewayError) -> None:
        record.status = error.status
        record.error = error.code or error.type
        if not answer.finished:
            await answer.send_error(error)

    async def _cancelled(self, answer: Answer, record: RequestRecord, cancelled: asyncio.CancelledError) -> None:
        """Tell why the request was cut: the client went away, or the server's drain time is over."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        if answer.finished:  # clients hang up at `[DONE]`, before the transfer's end
            record.status = 200
            return
        reason = str(cancelled.args[0]) if cancelled.args else ""
        if reason.startswith("Task cancelled"):  # uvicorn, when the drain time is over
            await self._refuse(answer, record, ShuttingDown())
            return
        record.status = CLIENT_GONE
        record.cause = reason or record.cause
