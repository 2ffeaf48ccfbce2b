"""How much later the first token comes through the gateway: `python -m tests.bench.first_token [--rounds 5]`.

Streams arrive at random at the rate that would use half of the candidate's core by what a stream costs at a low rate.
At a higher one it costs less, so the table says what was used. The same arrivals go straight to the mock worker in
turn with each candidate. What is added is the difference of the medians, and of the 99th percentiles, of time to first
text.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench import process_tree
from tests.bench.candidates import CANDIDATES, EVERYTHING, MODEL, UNARY_ONLY, Running, mock_worker
from tests.bench.load import on_load_core
from tests.bench.tools import BenchError

_HALF = 0.5
_CALIBRATION_RATE = 50.0
_CALIBRATION_S = 3.0


@dataclass(frozen=True, slots=True)
class Waits:
    """Milliseconds to the first text, direct and through a candidate, in one round."""

    direct_p50: float
    direct_p99: float
    p50: float
    p99: float
    core_share: float


def arrivals(target: Running, rate: float, seconds: float, chunks: int) -> tuple[float, float, int]:
    """Median and 99th percentile in milliseconds, and how many streams there were."""
    command = [sys.executable, "-m", "tests.bench.arrivals", "--port", str(target.port), "--rate", str(rate)]
    command += ["--seconds", str(seconds), "--chunks", str(chunks), "--model", MODEL]
    found = json.loads(on_load_core(command, seconds).splitlines()[-1])
    if found["complete"] != found["streams"]:
        count = f"{found['complete']} of {found['streams']}"
        raise BenchError(f"{target.name}: {count} streams complete, no figures: {found['problem']}")
    return found["p50_ms"], found["p99_ms"], found["streams"]


def half_load(target: Running, chunks: int) -> float:
    """Streams a second that use half of the candidate's core, at most."""
    before = process_tree.cpu_s(target.pid)
    _, _, streams = arrivals(target, _CALIBRATION_RATE, _CALIBRATION_S, chunks)
    return _HALF * streams / (process_tree.cpu_s(target.pid) - before)


def one_round(target: Running, worker: Running, rate: float, args: argparse.Namespace) -> Waits:
    """The same arrivals straight at the worker, then through the candidate."""
    direct_p50, direct_p99, _ = arrivals(worker, rate, args.seconds, args.chunks)
    before = process_tree.cpu_s(target.pid)
    p50, p99, _ = arrivals(target, rate, args.seconds, args.chunks)
    share = (process_tree.cpu_s(target.pid) - before) / args.seconds
    return Waits(direct_p50, direct_p99, p50, p99, share)


def as_table(results: dict[str, tuple[float, list[Waits]]]) -> str:
    """Medians of the rounds."""
    rows = [
        "| | streams/s | core used | direct p50 ms | added p50 ms | direct p99 ms | added p99 ms |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, (rate, rounds) in results.items():
        figures = (
            median(each.direct_p50 for each in rounds),
            median(each.p50 - each.direct_p50 for each in rounds),
            median(each.direct_p99 for each in rounds),
            median(each.p99 - each.direct_p99 for each in rounds),
        )
        share = median(each.core_share for each in rounds)
        rows.append(f"| {name} | {rate:.0f} | {share:.0%} | " + " | ".join(f"{each:.2f}" for each in figures) + " |")
    return "\n".join(rows)


def main(argv: list[str]) -> int:
    streaming = [name for name in CANDIDATES if name not in UNARY_ONLY]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.first_token", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of arrivals per round (default 5)")
    parser.add_argument("--only", action="append", choices=streaming, help="may be repeated")
    parser.add_argument("--chunks", type=int, default=20, help="text frames per stream")
    parser.add_argument("--interval-ms", type=int, default=10, help="between the frames of a stream")
    args = parser.parse_args(argv)
    if (os.cpu_count() or 1) < 2:
        print("bench: two cores are needed", file=sys.stderr)
        return 2
    chosen = args.only or ["vllm-router", "gateway", EVERYTHING]
    results: dict[str, tuple[float, list[Waits]]] = {}
    try:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
            worker = stack.enter_context(mock_worker(args.chunks, args.interval_ms, folder))
            running = [stack.enter_context(CANDIDATES[name](worker.port, folder)) for name in chosen]
            for target in running:
                results[target.name] = half_load(target, args.chunks), []
            for number in range(args.rounds):
                for target in running:
                    print(f"bench: round {number + 1} of {args.rounds}: {target.name}", file=sys.stderr)
                    rate, rounds = results[target.name]
                    rounds.append(one_round(target, worker, rate, args))
    except BenchError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    print(as_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
