"""The clients of a fleet's workers: one is made when a worker joins and closed when it leaves."""

import asyncio

from gateway.routing.fleet import ServedModel
from gateway.routing.worker import Worker
from gateway.upstream.client import InferenceClient
from gateway.upstream.vllm import WorkerClient


class WorkerClients:
    """Follows a fleet; whoever makes it closes it. A client that is closed finishes the exchanges it has begun."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._clients: dict[Worker, InferenceClient] = {}

    def joined(self, model: ServedModel, worker: Worker) -> None:
        """Make the worker's client."""
        key = worker.api_key.reveal() if worker.api_key else None
        heard = None if model.canary_s is None else worker.pulse.beat
        self._clients[worker] = WorkerClient(worker.url, api_key=key, loop=self._loop, heard=heard)

    def left(self, model: ServedModel, worker: Worker) -> None:
        """Close the worker's client."""
        del model
        self._clients.pop(worker).close()

    def use(self, worker: Worker, client: InferenceClient) -> None:
        """Reach a worker that is no part of the fleet by a client of its own."""
        self._clients[worker] = client

    def __getitem__(self, worker: Worker) -> InferenceClient:
        return self._clients[worker]

    def give_up_waiting(self, worker: Worker) -> None:
        """Let the requests that wait for a worker's first byte go elsewhere: it hangs."""
        client = self._clients.get(worker)
        if client is not None:
            client.give_up_waiting()

    def close(self) -> None:
        """Close them all."""
        for client in self._clients.values():
            client.close()
