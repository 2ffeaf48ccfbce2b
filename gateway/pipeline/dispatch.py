"""Sending a request to one of a model's workers, and to another where the first gave no byte.

Retries are few and safe: only before any byte of an answer, only to a worker that was not tried, at most
`MAX_ATTEMPTS` in all, within the request's deadline. A worker that answers 429 or 503 has not begun, one that answers
500 or 502 has lost its engine, so another may.
"""

from collections.abc import Callable

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
from gateway.routing.worker import Worker
from gateway.upstream.failures import (
    ConnectFailed,
    ConnectionLost,
    ProtocolViolation,
    UpstreamFailure,
)
from gateway.upstream.vllm import Heartbeat, WorkerClient, WorkerReply
from gateway.values import RequestId


class _Tokens(Struct):
    tokens: list[int]


MAX_ATTEMPTS = 3
MAX_ERROR_BYTES = 65_536
STATUSES_FOR_ANOTHER = (429, 500, 502, 503)
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


class Dispatched(Struct, eq=False):
    """A worker's answer that has begun with status 200. `close` ends it on every path, and aborts it when early."""

    worker: Worker
    reply: WorkerReply

    def close(self) -> None:
        """Give the connection back or abort the request; free its place in the worker's load."""
        self.worker.release()
        self.reply.close()


async def dispatch(
    services: Services, model: ServedModel, call: WorkerCall, record: RequestRecord, heartbeat: Heartbeat | None = None
) -> Dispatched:
    """Return a worker's answer with status 200. Raises the GatewayError that the client gets."""
    tried: list[Worker] = []
    error: GatewayError | None = None
    while len(tried) < MAX_ATTEMPTS:
        worker = model.pick(tried, services.rng)
        if worker is None:
            break
        tried.append(worker)
        request = call.request_for(worker)
        record.worker = worker.id
        record.attempts += 1
        record.sent_at = services.clock()
        client = services.clients[worker]
        worker.take()
        try:
            if request.tokenised is None:
                reply = await client.post(
                    request.path,
                    request.body,
                    request_id=call.request_id,
                    deadline=call.deadline,
                    heartbeat=heartbeat,
                )
            else:
                reply = await _post_tokens(client, request.path, request.body, request.tokenised, call, heartbeat)
        except UpstreamFailure as failure:
            worker.release()
            record.cause = f"{worker.id}: {failure}"
            error = error_of_failure(failure)
            record.refused = isinstance(failure, ConnectFailed)
            if record.refused:
                worker.mark_down(str(failure))
            if not _another_may_try(failure):
                break
            continue
        except BaseException:  # cancellation too: the worker's load must not keep a request that is gone
            worker.release()
            raise
        dispatched = Dispatched(worker, reply)
        status = reply.status
        if status == 200:
            record.refused = False
            record.begun = True
            return dispatched
        record.refused = True
        error = await _refusal(dispatched, record, call.prompt_param)
        if status not in STATUSES_FOR_ANOTHER:
            break
    if error is None:
        message = "No worker for this model is available at the moment. Please retry."
        error = NoWorkerAvailable(message, retry_after_s=RETRY_AFTER_S)
    raise error


async def _post_tokens(
    client: WorkerClient,
    path: str,
    body: bytes,
    tokenised: Callable[[list[int]], bytes],
    call: WorkerCall,
    heartbeat: Heartbeat | None,
) -> WorkerReply:
    """Ask for the tokens of a prompt first; return the answer to the request with them, or the one that refuses."""
    answer = await _tokenise(client, body, call)
    if not isinstance(answer, list):
        return answer
    return await client.post(
        path, tokenised(answer), request_id=call.request_id, deadline=call.deadline, heartbeat=heartbeat
    )


async def _tokenise(client: WorkerClient, body: bytes, call: WorkerCall) -> list[int] | WorkerReply:
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
    return isinstance(failure, ConnectFailed) or (isinstance(failure, ConnectionLost) and not failure.bytes_received)


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
