"""The two loads, on the load core: unary requests by wrk, paced streams by our reader. A wrong answer ends the run."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bench import process_tree, tools
from tests.bench.candidates import KEY, LOAD_CORE, MODEL, Running
from tests.bench.tools import BenchError

_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Unary:
    requests_per_s: float
    cpu_us_per_request: float
    core_share: float
    """CPU time by elapsed time: 1.0 is a whole core."""
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Streamed:
    cpu_us_per_chunk: float
    chunks_per_s: float


def measure_unary(target: Running, connections: int, seconds: float) -> Unary:
    """Requests/s over kept connections, and the CPU time of the target per request."""
    command = [tools.system_tool("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s"]
    command += ["-s", str(Path(__file__).with_name("wrk.lua")), f"http://127.0.0.1:{target.port}/v1/chat/completions"]
    before = process_tree.cpu_s(target.pid)
    output = on_load_core(command, seconds)
    used = process_tree.cpu_s(target.pid) - before
    line = next((line for line in output.splitlines() if line.startswith("BENCH ")), None)
    if line is None:
        raise BenchError(f"{target.name}: wrk gave no figures:\n{output[-2000:]}")
    found = json.loads(line.removeprefix("BENCH "))
    if found["bad_status"] or found["socket_errors"] or not found["requests"]:
        raise BenchError(f"{target.name}: errors under load, no figures: {found}")
    rate = found["requests"] / found["seconds"]
    per_request_us = used / found["requests"] * 1e6
    return Unary(rate, per_request_us, used / found["seconds"], found["p50_ms"], found["p99_ms"])


def measure_streams(target: Running, count: int, chunks: int, seconds: float) -> Streamed:
    """CPU time of the target per streamed frame; every stream must come complete."""
    command = [sys.executable, "-m", "tests.bench.streams", "--port", str(target.port), "--count", str(count)]
    command += ["--chunks", str(chunks), "--model", MODEL, "--deadline", str(seconds + _GRACE_S / 2)]
    before = process_tree.cpu_s(target.pid)
    output = on_load_core(command, seconds)
    used = process_tree.cpu_s(target.pid) - before
    found = json.loads(output.splitlines()[-1])
    if found["complete"] != count:
        raise BenchError(
            f"{target.name}: {found['complete']} of {count} streams complete, no figures: {found['problem']}"
        )
    return Streamed(used / found["chunks"] * 1e6, found["chunks"] / found["seconds"])


def on_load_core(command: list[str], seconds: float) -> str:
    """What a load generator prints that runs for so long. Raises BenchError when it fails."""
    environment = {**os.environ, "BENCH_KEY": KEY, "BENCH_MODEL": MODEL}
    done = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds + _GRACE_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"`{command[0]}` failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout
