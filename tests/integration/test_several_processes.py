"""`server.workers`: several processes behind one port, with one set of limits and metrics, replaced without a loss."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.redis_server import RedisServer
from tests.support.sim_worker import Script, SimWorker

PROCESSES = 2
PATIENCE_S = 30.0


def until(what: Callable[[], Any]) -> Any:
    """What a function returns once that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """Where the processes count together."""
    with RedisServer() as server:
        yield server


def config(worker: SimWorker, redis: RedisServer, **sections: Any) -> dict[str, Any]:
    """A gateway of several processes."""
    return gateway_config(
        worker.url, server={"workers": PROCESSES, "drain_s": 10}, redis={"url": redis.url}, **sections
    )


@pytest.fixture
def gateway(sim_worker: SimWorker, redis_server: RedisServer) -> Iterator[GatewayProcess]:
    """Whose processes all have found the worker."""
    with GatewayProcess(config(sim_worker, redis_server)) as started:
        until(lambda: metric(started, "gateway_worker_up") == 1)
        yield started


def children(gateway: GatewayProcess) -> set[int]:
    """The processes that serve."""
    path = Path(f"/proc/{gateway.pid}/task/{gateway.pid}/children")
    return {int(pid) for pid in path.read_text().split()}


def metric(gateway: GatewayProcess, name: str) -> float:
    """The sum of a metric's samples at a scrape."""
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    labels = "" if "{" in name else r"(?:{.*})?"
    return sum(float(value) for value in re.findall(rf"^{re.escape(name)}{labels} (\S+)$", text, re.MULTILINE))


def ask(gateway: GatewayProcess, **fields: Any) -> Any:
    """One chat completion on a connection of its own."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=TEST_KEY, max_retries=0) as client:
        reply = client.chat.completions.create(
            model="google/gemma-3-270m", messages=[{"role": "user", "content": "hello"}], **fields
        )
        return list(reply) if "stream" in fields else reply


def requests_counted(gateway: GatewayProcess) -> float:
    """Chat completions that ended, in all processes."""
    return metric(gateway, 'gateway_requests_total{endpoint="chat",model="google/gemma-3-270m",status="200"}')


def test_they_share_the_port_and_the_metrics(gateway: GatewayProcess) -> None:
    """Every scrape adds up what all have counted, within a second; the log's lines stay whole."""
    for _ in range(20):
        ask(gateway)
    until(lambda: requests_counted(gateway) == 20)
    assert len(children(gateway)) == PROCESSES
    until(lambda: sum(line["message"] == "request" and line.get("status") == 200 for line in gateway.logs) >= 20)
    assert metric(gateway, "gateway_info") == 1


def test_they_share_the_limits(sim_worker: SimWorker, redis_server: RedisServer) -> None:
    """A limit holds over all processes."""
    tenants = [{"id": "acme", "limits": {"requests_per_minute": 10}, "keys": [{"id": "k", "secret": TEST_KEY}]}]
    with GatewayProcess(config(sim_worker, redis_server, tenants=tenants)) as gateway:
        until(lambda: metric(gateway, "gateway_worker_up") == 1)
        served = 0
        for _ in range(30):
            try:
                ask(gateway)
                served += 1
            except openai.RateLimitError:
                pass
        assert served == 10


def test_one_that_is_killed_is_replaced(gateway: GatewayProcess) -> None:
    """What it had counted is kept, to the last second."""
    for _ in range(20):
        ask(gateway)
    until(lambda: all(requests_counted(gateway) == 20 for _ in range(20)))  # whoever is scraped: all is written down
    before = children(gateway)
    subprocess.run(["kill", "-9", str(min(before))], check=True)
    after = until(lambda: len(now := children(gateway)) == PROCESSES and now != before and now)
    assert len(after & before) == PROCESSES - 1
    ask(gateway)
    until(lambda: requests_counted(gateway) == 21)
    assert any("another is started" in line["message"] for line in gateway.logs)


def test_all_are_replaced_without_a_lost_request(gateway: GatewayProcess, sim_worker: SimWorker) -> None:
    """SIGUSR2 under load, with new connections all the time and streams that are open meanwhile."""
    sim_worker.script(Script(chunks=("word ",), repeat=40, delay_s=0.02, times=None))
    before = children(gateway)
    problems: list[BaseException] = []
    done = threading.Event()
    answered = 0

    def load() -> None:
        nonlocal answered
        while not done.is_set():
            try:
                chunks = ask(gateway, stream=True)
                assert chunks[-1].choices[0].finish_reason == "stop"
                answered += 1
            except BaseException as error:  # noqa: BLE001  # told by the test's own thread
                problems.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    gateway.signal(signal.SIGUSR2)
    until(lambda: any(line["message"] == "every process has been replaced" for line in gateway.logs))
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert answered
    assert not children(gateway) & before


def test_a_reload_during_a_replacement_reaches_the_new_ones(gateway: GatewayProcess) -> None:
    """SIGHUP doesn't end a process that is just being started: it is told when it serves."""
    before = children(gateway)
    gateway.signal(signal.SIGUSR2)
    until(lambda: len(children(gateway)) > PROCESSES)
    gateway.signal(signal.SIGHUP)
    until(lambda: any(line["message"] == "every process has been replaced" for line in gateway.logs))
    assert not children(gateway) & before
    assert not any("could be started" in line["message"] for line in gateway.logs)
    until(lambda: sum("version 2 is in force" in line["message"] for line in gateway.logs) >= PROCESSES + 1)


def test_a_broken_file_ends_a_replacement_and_nothing_else(gateway: GatewayProcess) -> None:
    """The old processes serve on."""
    before = children(gateway)
    gateway.config_path.write_text("models: []\n")
    gateway.signal(signal.SIGUSR2)
    until(lambda: "the other processes serve on" in gateway.stderr)
    assert children(gateway) == before
    ask(gateway)


def test_without_the_supervisor_they_drain_and_end(sim_worker: SimWorker, redis_server: RedisServer) -> None:
    """Nobody is left behind on the port."""
    gateway = GatewayProcess(config(sim_worker, redis_server))
    gateway.start()
    pids = children(gateway)
    gateway.signal(signal.SIGKILL)
    gateway.wait()
    until(lambda: not any(_runs(pid) for pid in pids))
    gateway.stop()


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_what_can_t_be_listened_on_is_said(sim_worker: SimWorker, redis_server: RedisServer, tmp_path: Path) -> None:
    """One line and exit status 1."""
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(config(sim_worker, redis_server)))
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(file), "--host", "192.0.2.1", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert json.loads(done.stderr)["message"].startswith("can't listen on 192.0.2.1:0")
