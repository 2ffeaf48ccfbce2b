"""Two gateways with one Redis: neither sends its requests where the other has sent its own."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import redis

from gateway.routing.shared_load import Told
from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import metric, wait_for, wait_until_idle, wait_until_up
from tests.support.raw_http import ask, chat_body, request
from tests.support.redis_server import RedisServer
from tests.support.sim_worker import Fault, Script, SimWorker

BUSY = 6


def test_a_gateway_sees_what_another_has_sent(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> None:
    """A worker that is busy for one gateway is busy for the other, though engines tell nothing; after Redis has died
    both serve on.
    """
    busy, free = start_sim_worker(), start_sim_worker()
    for worker in (busy, free):
        worker.script(Script(path="/metrics", fault=Fault(kind="status", status=500), times=None))
        worker.script(Script(first_delay_s=4.0, times=None))
    with RedisServer() as server, redis.Redis.from_url(server.url) as looker, ThreadPoolExecutor(2 * BUSY) as pool:
        one: dict[str, Any] = gateway_config(busy.url, redis={"url": server.url, "prefix": "loads"})
        both: dict[str, Any] = gateway_config(busy.url, redis={"url": server.url, "prefix": "loads"})
        both["models"][0]["workers"].append({"url": free.url})
        first, second = start_gateway(one), start_gateway(both)
        wait_until_up(first)
        wait_until_up(second, 2)
        sent = [pool.submit(ask, first.port, request(chat_body(f"a{n}")), timeout_s=30) for n in range(BUSY)]
        wait_for(lambda: metric(first, "gateway_worker_in_flight") == BUSY, "the first gateway's are there")
        before = _numbers(looker)
        wait_for(
            lambda: len(now := _numbers(looker)) == 2 and all(now[name] > before.get(name, 0) + 2 for name in now),
            "both have told and heard",
            10.0,
        )
        asked = [pool.submit(ask, second.port, request(chat_body(f"b{n}")), timeout_s=30) for n in range(BUSY - 1)]
        used = Counter(future.result().headers["x-gateway-worker"] for future in asked)
        assert used == {f"127.0.0.1:{free.port}": BUSY - 1}
        assert {future.result().status for future in sent} == {200}
        server.stop()
        for worker in (busy, free):
            worker.reset()
        assert {ask(second.port, request(chat_body(f"c{n}"))).status for n in range(4)} == {200}
        wait_until_idle(first)
        wait_until_idle(second)


def _numbers(looker: redis.Redis) -> dict[bytes, int]:
    """How often each gateway has told the others so far."""
    fields: dict[bytes, bytes] = looker.hgetall("{loads:fleet}:loads")  # type: ignore[assignment]  # never a coroutine
    return {name: msgspec.msgpack.decode(value, type=Told).number for name, value in fields.items()}
