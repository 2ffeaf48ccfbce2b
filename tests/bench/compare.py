"""Measures the gateway beside nginx and vllm-router, on this machine, in one run.

Everything measured runs on core 0; the load and a mock worker on core 1. Rounds are interleaved, so that a change of
the machine's speed meets every candidate. Only ratios within one run mean anything. A candidate that answers one
request wrongly ends the run without figures.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.bench import process_tree
from tests.bench.candidates import CANDIDATES, UNARY_ONLY, Running, mock_worker
from tests.bench.load import measure_streams, measure_unary
from tests.bench.report import Rounds, as_json, as_table
from tests.bench.tools import BenchError

PROBE = "probe (no gateway)"
_STREAM_EXTRA_S = 2.0
_CLOSE_TO_CEILING = 0.8
_WHOLE_CORE = 0.85


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of unary load per candidate and round (default 5)")
    parser.add_argument(
        "--only", action="append", choices=list(CANDIDATES), help="measure only this one; may be repeated"
    )
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--streams", type=int, default=300, help="0 leaves the streams out")
    parser.add_argument("--chunks", type=int, default=100, help="text frames per stream")
    parser.add_argument("--interval-ms", type=int, default=50, help="between the frames of a stream")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here")
    return parser.parse_args(argv)


def measure(target: Running, rounds: Rounds, args: argparse.Namespace) -> None:
    """One round of one candidate."""
    unary = measure_unary(target, args.connections, args.seconds)
    rounds.add(
        requests_per_s=unary.requests_per_s,
        cpu_us_per_request=unary.cpu_us_per_request,
        core_share=unary.core_share,
        p50_ms=unary.p50_ms,
        p99_ms=unary.p99_ms,
    )
    if args.streams and target.name not in UNARY_ONLY:
        seconds = args.chunks * args.interval_ms / 1000 + _STREAM_EXTRA_S
        rounds.add(cpu_us_per_chunk=measure_streams(target, args.streams, args.chunks, seconds).cpu_us_per_chunk)
    rounds.add(memory_mb=process_tree.peak_memory_mb(target.pid))


def run(args: argparse.Namespace) -> dict[str, Rounds]:
    """All rounds; the first entry is the load straight on the mock worker."""
    chosen = args.only or list(CANDIDATES)
    results = {PROBE: Rounds(), **{name: Rounds() for name in chosen}}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        worker = stack.enter_context(mock_worker(args.chunks, args.interval_ms, folder))
        running = [stack.enter_context(CANDIDATES[name](worker.port, folder)) for name in chosen]
        for number in range(args.rounds):
            for name, target in [(PROBE, worker), *((target.name, target) for target in running)]:
                print(f"bench: round {number + 1} of {args.rounds}: {name}", file=sys.stderr)
                measure(target, results[name], args)
    return results


def warnings(results: dict[str, Rounds]) -> list[str]:
    """Why requests/s may not be what a candidate can do: the load side was the limit, or others used its core."""
    ceiling = results[PROBE].median("requests_per_s") or 0.0
    found: list[str] = []
    for name, rounds in results.items():
        reached, share = rounds.median("requests_per_s") or 0.0, rounds.median("core_share") or 0.0
        if name == PROBE:
            continue
        if reached > _CLOSE_TO_CEILING * ceiling:
            found.append(f"{name}: {reached / ceiling:.0%} of what the load side can do, so req/s is a lower bound.")
        elif share < _WHOLE_CORE:
            found.append(
                f"{name}: used {share:.0%} of its core, so other programs slowed the run; trust CPU, not req/s."
            )
    return found


def main(argv: list[str]) -> int:
    args = arguments(argv)
    if (os.cpu_count() or 1) < 2:
        print("bench: two cores are needed", file=sys.stderr)
        return 2
    try:
        results = run(args)
    except BenchError as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    text = as_table(results)
    text = "\n".join([text, *(f"\nwarning: {found}" for found in warnings(results))])
    print(text)
    settings = {name: value for name, value in vars(args).items() if name not in ("json", "markdown")}
    if args.json:
        args.json.write_text(json.dumps(as_json(results, settings), indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
