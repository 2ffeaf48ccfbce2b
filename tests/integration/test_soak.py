"""Eight seconds of everything at once: afterwards nothing is left behind."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import (
    in_flight,
    metric,
    open_files,
    peak_memory_mb,
    wait_for,
    wait_until_idle,
    wait_until_up,
)
from tests.support.raw_http import RawClient, ask, chat_body, request
from tests.support.sim_worker import SimWorker

CLIENTS = 300
DURATION_S = 8.0
SLACK_FILES = 4
FAULTS = (
    '{"fault": {"kind": "cut_before_headers"}}',
    '{"fault": {"kind": "cut_in_headers"}}',
    '{"fault": {"kind": "garbage"}}',
    '{"fault": {"kind": "status", "status": 500}}',
    '{"fault": {"kind": "status", "status": 503}}',
    '{"fault": {"kind": "close_after_reply"}}',
    '{"text": "a b c d", "fault": {"kind": "cut_mid_stream", "at_chunk": 2}}',
    '{"text": "a b c d", "fault": {"kind": "error_mid_stream", "at_chunk": 2}}',
)
SLOW = '{"chunks": ["word "], "repeat": 40, "delay_s": 0.02}'


def act(gateway: GatewayProcess, rng: random.Random) -> str:
    """One client's next deed; returns what it was and how it ended."""
    kind = rng.choice(("whole", "stream", "leave early", "leave late", "fault", "garbage", "half a body"))
    data = {
        "whole": request(chat_body("Hello")),
        "stream": request(chat_body(f"/sim {SLOW}", stream=True)),
        "leave early": request(chat_body('/sim {"first_delay_s": 30}', stream=rng.random() < 0.5)),
        "leave late": request(chat_body(f"/sim {SLOW}", stream=True)),
        "fault": request(chat_body(f"/sim {rng.choice(FAULTS)}", stream=rng.random() < 0.5)),
        "garbage": rng.randbytes(200) + b"\r\n\r\n",
        "half a body": request(chat_body("Hello", user="u" * 100_000))[: rng.randrange(1, 90_000)],
    }[kind]
    with RawClient(gateway.port, timeout_s=20) as client:
        client.send(data)
        if kind == "leave late":
            client.read_until(b"word")
        elif kind in ("leave early", "half a body"):
            time.sleep(rng.random() * 0.2)
        elif kind == "garbage":
            client.read_to_end()
        else:
            answer = client.read_answer()
            return f"{kind} {answer.status} {'whole' if answer.whole else 'broken'}"
    return kind


def test_nothing_stays_behind(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> None:
    """300 clients that talk, leave, break off and meet broken workers: no connection, file or count is left."""
    first, second = start_sim_worker(), start_sim_worker()
    config = gateway_config(first.url)
    config["models"][0]["workers"].append({"url": second.url})
    gateway = start_gateway(config)
    wait_until_up(gateway, 2)
    before = open_files(gateway)
    ends = time.monotonic() + DURATION_S

    def live(seed: int) -> Counter[str]:
        rng = random.Random(seed)
        deeds: Counter[str] = Counter()
        while time.monotonic() < ends:
            try:
                deeds[act(gateway, rng)] += 1
            except (TimeoutError, EOFError, ConnectionError) as error:
                deeds[type(error).__name__] += 1
        return deeds

    with ThreadPoolExecutor(CLIENTS) as pool:
        total = sum(pool.map(live, range(CLIENTS)), Counter())
    print(dict(total.most_common()), f"peak {peak_memory_mb(gateway):.0f} MB")
    assert total["whole 200 whole"] > CLIENTS
    assert total["stream 200 whole"] > CLIENTS
    assert not {deed for deed in total if deed.startswith(("whole", "stream"))} - {
        "whole 200 whole",
        "stream 200 whole",
    }
    assert not total.keys() & {"EOFError", "TimeoutError", "ConnectionResetError", "ConnectionRefusedError"}
    wait_until_idle(gateway, 10)
    for worker in (first, second):
        worker.wait_until(lambda w: w.running == 0)
    assert in_flight(gateway) == 0
    assert metric(gateway, "gateway_worker_in_flight") == 0
    wait_for(lambda: open_files(gateway) <= before + SLACK_FILES, "files are closed", 12)
    assert ask(gateway.port, request(chat_body())).status == 200
    assert "Traceback" not in gateway.stderr
    assert "never retrieved" not in gateway.stderr
