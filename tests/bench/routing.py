"""What the choice of a worker costs: CPU time per request, with a hundred workers, for each way of balancing.

`python -m tests.bench.routing [--workers N]`. One request is chosen for, counted in and counted out again; half of the
workers have requests, so that nothing is a special case. `head key` comes on top of `prefix`.
"""

import argparse
import random
import time
from collections import deque
from typing import get_args

from gateway.config.model import Balance
from gateway.pipeline.prompt_head import head_key
from gateway.routing.worker import EngineLoad, Worker
from gateway.routing.worker_set import WorkerSet
from tests.support.fleets import make_workers

_ROUNDS = 100_000
_IN_FLIGHT_PER_WORKER = 8
_MESSAGES = {"messages": [{"role": "system", "content": "You help. " * 200}, {"role": "user", "content": "Hello"}]}


def microseconds_per_request(balance: Balance, count: int) -> float:
    """CPU time of choosing, counting in and counting out, with a steady number in flight."""
    workers, rng = make_workers(count), random.Random(1)
    chosen_from = WorkerSet(workers, balance)
    for worker in workers:
        worker.see_engine(EngineLoad(running=3, waiting=rng.randrange(2), kv_use=rng.random() / 2, generated_tokens=0))
    keys = [rng.getrandbits(32) if balance == "prefix" else None for _ in range(_ROUNDS)]
    open_requests: deque[Worker] = deque()
    for key in keys[: count * _IN_FLIGHT_PER_WORKER]:
        _begin(chosen_from, rng, key, open_requests)
    began = time.process_time()
    for key in keys:
        _begin(chosen_from, rng, key, open_requests)
        open_requests.popleft().release()
    return (time.process_time() - began) / _ROUNDS * 1e6


def _begin(chosen_from: WorkerSet, rng: random.Random, key: int | None, open_requests: deque[Worker]) -> None:
    worker = chosen_from.pick((), rng, key)
    assert worker is not None
    worker.take()
    open_requests.append(worker)


def key_microseconds() -> float:
    """CPU time of the key of a prompt."""
    began = time.process_time()
    for _ in range(_ROUNDS):
        head_key("salt", "google/gemma-3-4b-it", _MESSAGES)
    return (time.process_time() - began) / _ROUNDS * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=100)
    workers: int = parser.parse_args().workers
    print(f"CPU time per request, {workers} workers")
    for balance in get_args(Balance):
        print(f"{balance:<12} {microseconds_per_request(balance, workers):6.2f} us")
    print(f"{'head key':<12} {key_microseconds():6.2f} us")


if __name__ == "__main__":
    main()
