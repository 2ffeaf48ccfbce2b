"""Sending a request to one of a model's workers, and to another where the first gave no byte.

Retries are few and safe: only before any byte of an answer, only to a worker that was not tried, at most
`MAX_ATTEMPTS` in all, within the request's deadline and the model's retry budget. A worker that answers 429 or 503 has
not begun, one that answers 500 or 502 has lost its engine, one that hangs answers nothing, one that refuses its key or
knows no such model is set up wrongly: another may. What costs the
workers nothing, because no connection was made, is no attempt and needs no budget.

What a worker did wrong is told to its circuit breaker; one that is full is let alone for a second. What clients do
wrong and clients that go away are nobody's fault.
"""

import logging
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from gateway.errors import GatewayError, NoWorkerAvailable
from gateway.observability.record import RequestRecord
from gateway.pipeline.services import Services
from gateway.pipeline.worker_errors import (
    RETRY_AFTER_S,
    PromptParam,
    detail_of,
    error_of_failure,
    error_of_status,
)
from gateway.routing.fleet import ServedModel
from gateway.routing.waiting_room import QueueFullError, WaitingRoom
from gateway.routing.worker import Worker
from gateway.upstream.client import Heartbeat, InferenceClient, Reply
from gateway.upstream.failures import (
    ConnectFailed,
    ConnectionLost,
    ProtocolViolation,
    UpstreamFailure,
    WorkerSilent,
)
from gateway.values import RequestId, TenantId


class _Tokens(Struct):
    tokens: list[int]


MAX_ATTEMPTS: Final = 3
MAX_ERROR_BYTES: Final = 65_536
STATUSES_OF_OPERATORS: Final = (401, 403, 404)
"""A wrong key, a model that was unloaded, an engine without this endpoint: no client can mend it."""
STATUSES_FOR_ANOTHER: Final = (429, 500, 502, 503, *STATUSES_OF_OPERATORS)
STATUSES_AT_FAULT: Final = (500, 502, 504)
_JITTER: Final = 0.2
logger = logging.getLogger("gateway.dispatch")
_ANONYMOUS: Final = TenantId("anonymous")
_TOKENS = msgspec.json.Decoder(_Tokens)


class WorkerRequest(Struct, frozen=True):
    """A request in one worker's terms."""

    path: str
    body: bytes
    tokenised: Callable[[list[int]], bytes] | None = None
    """Set when `body` goes to `/tokenize` first: writes the body for `path` with the prompt's tokens."""


class WorkerCall(Struct, frozen=True):
    """What is asked of a worker."""

    request_for: Callable[[Worker], WorkerRequest]
    """Writes the request for one worker: what it told when it joined may change it."""
    request_id: RequestId
    """Ours, unique: vLLM makes the answer's id of it."""
    deadline: float
    """A time of the event loop's clock."""
    prompt_param: PromptParam
    """The field that holds the endpoint's prompt, for errors."""
    key: int | None = None
    """Of the conversation, for `balance: prefix`."""


class Dispatched(Struct, eq=False):
    """A worker's answer that has begun with status 200. `close` ends it on every path, and aborts it when early."""

    worker: Worker
    reply: Reply

    def close(self) -> None:
        """Give the connection back or abort the request; free its place in the worker's load."""
        self.worker.release()
        self.reply.close()


async def dispatch(
    services: Services, model: ServedModel, call: WorkerCall, record: RequestRecord, heartbeat: Heartbeat | None = None
) -> Dispatched:
    """Return a worker's answer with status 200. Raises the GatewayError that the client gets."""
    if model.budget.owes:
        model.budget.request()
    tried: list[Worker] = []
    asked = 0
    error: GatewayError | None = None
    while asked < MAX_ATTEMPTS:
        worker = model.pick(tried, services.rng, call.key)
        if worker is not None:
            worker.take()
        elif not tried and model.room is not None and model.full:
            worker = await _wait_for_place(services, model.room, call, record)
        else:
            break
        tried.append(worker)
        answer = await _ask(services, worker, call, record, heartbeat)
        if isinstance(answer, UpstreamFailure):
            error = error_of_failure(answer)
            if isinstance(answer, ConnectFailed):
                continue
            again = _another_may_try(answer)
        else:
            status = answer.reply.status
            if status == 200:
                record.refused = False
                record.begun = True
                return answer
            record.refused = True
            error = await _refusal(answer, record, call.prompt_param)
            again = status in STATUSES_FOR_ANOTHER
        asked += 1
        if not (again and model.may_retry(tried, services.clock())):
            break
    if error is None:
        message = "No worker for this model is available at the moment. Please retry."
        error = NoWorkerAvailable(message, retry_after_s=RETRY_AFTER_S)
    raise error


async def _wait_for_place(services: Services, room: WaitingRoom, call: WorkerCall, record: RequestRecord) -> Worker:
    """Return the worker that has a place for this request now, already taken. Raises NoWorkerAvailable."""
    began = services.clock()
    try:
        return await room.wait(record.tenant or _ANONYMOUS, call.deadline)
    except QueueFullError as full:
        record.cause = str(full)
        message = "All workers for this model are busy at the moment. Please retry."
        raise NoWorkerAvailable(message, retry_after_s=full.retry_after_s) from full
    finally:
        record.queued_s = services.clock() - began


async def _ask(
    services: Services, worker: Worker, call: WorkerCall, record: RequestRecord, heartbeat: Heartbeat | None
) -> Dispatched | UpstreamFailure:
    """Ask a worker that was taken for this request; it is released unless an answer has come, whatever its status."""
    try:
        request = call.request_for(worker)
        record.worker = worker.id
        record.attempts += 1
        record.sent_at = services.clock()
        client = services.clients[worker]
        if request.tokenised is None:
            reply = await client.post(
                request.path, request.body, request_id=call.request_id, deadline=call.deadline, heartbeat=heartbeat
            )
        else:
            reply = await _post_tokens(client, request.path, request.body, request.tokenised, call, heartbeat)
    except UpstreamFailure as failure:
        worker.release()
        record.cause = f"{worker.id}: {failure}"
        record.refused = isinstance(failure, ConnectFailed)
        if record.refused:
            worker.mark_down(str(failure))
        blame(services, worker)
        return failure
    except BaseException:  # cancellation too: the worker's load must not keep a request that is gone
        worker.release()
        raise
    if reply.status in STATUSES_AT_FAULT:
        blame(services, worker)
    elif reply.status in (429, 503):
        worker.rest(services.clock())
    else:
        if reply.status in STATUSES_OF_OPERATORS:
            _tell_operators(worker, reply.status)
        if worker.breaker.troubled:
            worker.succeeded()
    return Dispatched(worker, reply)


def _tell_operators(worker: Worker, status: int) -> None:
    """Count it, and log the first, the tenth, the hundredth: what each said is in the line of its request."""
    count = worker.refused(status)
    if str(count).strip("0") == "1":
        message = "worker %s refuses what it is asked with status %d (%d times): see to its api_key and what it serves"
        logger.warning(message, worker.id, status, count)


def blame(services: Services, worker: Worker) -> None:
    """Note that a worker failed by a fault of its own."""
    worker.failed(services.clock(), 1 - _JITTER / 2 + _JITTER * services.rng.random())


async def _post_tokens(
    client: InferenceClient,
    path: str,
    body: bytes,
    tokenised: Callable[[list[int]], bytes],
    call: WorkerCall,
    heartbeat: Heartbeat | None,
) -> Reply:
    """Ask for the tokens of a prompt first; return the answer to the request with them, or the one that refuses."""
    answer = await _tokenise(client, body, call)
    if not isinstance(answer, list):
        return answer
    return await client.post(
        path, tokenised(answer), request_id=call.request_id, deadline=call.deadline, heartbeat=heartbeat
    )


async def _tokenise(client: InferenceClient, body: bytes, call: WorkerCall) -> list[int] | Reply:
    """Return a prompt's tokens, or the answer that refuses them. Raises an `UpstreamFailure`."""
    reply = await client.post("/tokenize", body, request_id=call.request_id, deadline=call.deadline)
    if reply.status != 200:
        return reply
    with reply:
        try:
            tokens: list[int] = _TOKENS.decode(await reply.read()).tokens
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProtocolViolation("/tokenize answered no tokens") from error
    return tokens


def _another_may_try(failure: UpstreamFailure) -> bool:
    """Whether nothing of an answer has come, and time is left."""
    return isinstance(failure, WorkerSilent) or (isinstance(failure, ConnectionLost) and not failure.begun)


async def _refusal(dispatched: Dispatched, record: RequestRecord, prompt_param: PromptParam) -> GatewayError:
    """Return the client's error for an answer that is not 200."""
    reply = dispatched.reply
    try:
        body = await reply.read(MAX_ERROR_BYTES)
    except UpstreamFailure as failure:
        record.cause = f"{dispatched.worker.id}: status {reply.status}, then {failure}"
        return error_of_failure(failure) if reply.status == 200 else error_of_status(reply.status, b"", prompt_param)
    finally:
        dispatched.close()
    if reply.status not in (400, 422):
        record.cause = f"{dispatched.worker.id}: status {reply.status}: {detail_of(body).message[:200]}"
    return error_of_status(reply.status, body, prompt_param)
