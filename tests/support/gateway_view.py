"""What can be seen of a running gateway from outside: its metrics, its file descriptors, its memory."""

import json
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.gateway_process import GatewayProcess

_POLL_S = 0.02


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 5.0) -> None:
    """Returns when `condition()` is true; raises TimeoutError naming `what` otherwise."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:g} s in vain until {what}")
        time.sleep(_POLL_S)


def metric(gateway: GatewayProcess, name: str, **labels: str) -> float:
    """The sum of a metric's samples that carry these labels."""
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def in_flight(gateway: GatewayProcess) -> float:
    """Requests that the gateway serves plus those that it has at its workers."""
    return metric(gateway, "gateway_requests_in_flight") + metric(gateway, "gateway_worker_in_flight")


def wait_until_idle(gateway: GatewayProcess, timeout_s: float = 5.0) -> None:
    """Returns when nothing is in flight any more."""
    wait_for(lambda: in_flight(gateway) == 0, "nothing is in flight", timeout_s)


def wait_until_up(gateway: GatewayProcess, workers: int = 1) -> None:
    """Returns when so many workers are known to be up."""
    wait_for(lambda: metric(gateway, "gateway_worker_up") >= workers, f"{workers} workers are up", 10.0)


def open_files(gateway: GatewayProcess) -> int:
    """How many file descriptors the process holds."""
    return len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))


def peak_memory_mb(gateway: GatewayProcess) -> float:
    """The highest resident memory that the process ever had."""
    status = Path(f"/proc/{gateway.pid}/status").read_text()
    match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert match, status
    return int(match[1]) / 1024


def log_line(gateway: GatewayProcess, request_id: str) -> dict[str, object]:
    """The line of one request; waits for it, because lines are written a moment after the answer."""
    found: list[dict[str, object]] = []

    def look() -> bool:
        lines = (json.loads(line) for line in gateway.stderr.splitlines() if request_id in line)
        found.extend(line for line in lines if line.get("request_id") == request_id)
        return bool(found)

    wait_for(look, f"request {request_id} is in the log", 2.0)
    return found[0]
