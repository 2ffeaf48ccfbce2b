"""Thousands of streams open at once in one process: `python -m tests.bench.many_streams [--streams 5000]`.

Opens the streams, and when all are open measures what each holds of resident memory, sends new short requests one after
another, and tells how much longer these take than before. All streams must come complete.
"""

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

from tests.bench import process_tree
from tests.bench.candidates import CANDIDATES, EVERYTHING, KEY, LOAD_CORE, MODEL, UNARY_ONLY, Running, mock_worker
from tests.bench.streams import RAMP_S
from tests.bench.tools import BenchError

_PROBES = 200
_GRACE_S = 60.0


def short_requests_ms(target: Running) -> tuple[float, float]:
    """Median and 99th percentile of unary requests, one after another on one connection."""
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]})
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
    took: list[float] = []
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", target.port, timeout=30)) as connection:
        for _ in range(_PROBES):
            begun = time.perf_counter()
            connection.request("POST", "/v1/chat/completions", body, headers)
            reply = connection.getresponse()
            reply.read()
            took.append((time.perf_counter() - begun) * 1e3)
            if reply.status != 200:
                raise BenchError(f"{target.name}: a short request was answered {reply.status}")
    cuts = quantiles(took, n=100)
    return cuts[49], cuts[98]


@contextlib.contextmanager
def streams_open(target: Running, args: argparse.Namespace) -> Iterator["subprocess.Popen[str]"]:
    """A reader of so many streams on the load core, as soon as it has opened all."""
    command = [sys.executable, "-m", "tests.bench.streams", "--port", str(target.port), "--count", str(args.streams)]
    command += ["--chunks", str(args.chunks), "--model", MODEL, "--ramp", str(args.ramp)]
    command += ["--deadline", str(args.chunks * args.interval_ms / 1000 + _GRACE_S)]
    reader = subprocess.Popen(
        ["taskset", "-c", str(LOAD_CORE), *command],
        env={**os.environ, "BENCH_KEY": KEY},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(args.ramp + RAMP_S)
        yield reader
    finally:
        reader.kill()
        reader.wait()


def measure(target: Running, args: argparse.Namespace) -> str:
    """One row of the table."""
    calm_p50, calm_p99 = short_requests_ms(target)
    before = process_tree.memory_mb(target.pid)
    with streams_open(target, args) as reader:
        memory_kb = (process_tree.memory_mb(target.pid) - before) * 1024 / args.streams
        p50, p99 = short_requests_ms(target)
        if reader.poll() is not None:
            raise BenchError(f"{target.name}: streams ended before all was measured; ask for more --chunks")
        output, _ = reader.communicate(timeout=args.chunks * args.interval_ms / 1000 + 2 * _GRACE_S)
    found = json.loads(output.splitlines()[-1])
    if found["complete"] != args.streams:
        raise BenchError(f"{target.name}: {found['complete']} of {args.streams} complete: {found['problem']}")
    cells = [f"{found['complete']:,}", f"{memory_kb:.1f}", f"{calm_p50:.2f} / {calm_p99:.2f}", f"{p50:.2f} / {p99:.2f}"]
    return f"| {target.name} | {' | '.join(cells)} |"


def main(argv: list[str]) -> int:
    streaming = [name for name in CANDIDATES if name not in UNARY_ONLY]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.many_streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--only", action="append", choices=streaming, help="may be repeated")
    parser.add_argument("--chunks", type=int, default=40, help="text frames per stream")
    parser.add_argument("--interval-ms", type=int, default=1000, help="between the frames of a stream")
    parser.add_argument("--ramp", type=float, default=10.0, help="seconds in which the streams are opened")
    args = parser.parse_args(argv)
    if (os.cpu_count() or 1) < 2:
        print("bench: two cores are needed", file=sys.stderr)
        return 2
    rows = [
        "| | streams complete | KB resident each | short request, alone: p50 / p99 ms | beside them: p50 / p99 ms |",
        "|---|--:|--:|--:|--:|",
    ]
    try:
        with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
            folder = Path(name)
            with mock_worker(args.chunks, args.interval_ms, folder) as worker:
                for candidate in args.only or ["gateway", EVERYTHING]:
                    print(f"bench: {candidate}", file=sys.stderr)
                    with CANDIDATES[candidate](worker.port, folder) as target:
                        rows.append(measure(target, args))
    except BenchError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
