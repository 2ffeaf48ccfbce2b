"""What tools cost: CPU time of the gateway with them against the same request or chunk without, per dialect.

All loads are served in turns in one process, as often as asked for, on transports that are not sockets. Of each load
the quickest turn counts, less that of a short one, so that neither the start nor a busy machine is in the figures.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final

from tests.bench.instructions import Load, run

DIALECTS: Final = ("gemma3-json", "gemma3-python", "gemma3-toolcode", "gemma3-functioncall", "functiongemma", "gemma4")
_PLAIN_CHUNKS: Final = 64
"""Of a stream that is counted as a whole."""


class Cost:
    """CPU seconds of one request, or chunk, of a load."""

    def __init__(self, load: Load, short: int, long: int) -> None:
        self._load: Final = load
        self._counts: Final = (short, long)
        self._best: Final = [float("inf"), float("inf")]

    def measure(self) -> None:
        """One turn."""
        for place, count in enumerate(self._counts):
            started = time.process_time()
            run(count, self._load)
            self._best[place] = min(self._best[place], time.process_time() - started)

    @property
    def seconds(self) -> float:
        """Of the quickest turns."""
        short, long = self._counts
        return (self._best[1] - self._best[0]) / (long - short)


def measure(dialects: Sequence[str], rounds: int, scale: int) -> dict[str, dict[str, Cost]]:
    """The costs per dialect: a unary request, a stream of 64 chunks, a chunk of text; with tools, and of a call."""
    costs: dict[str, dict[str, Cost]] = {}
    for dialect in dialects:
        costs[dialect] = {
            "unary": Cost(Load(dialect=dialect), scale, 5 * scale),
            "unary+tools": Cost(Load(tools=True, dialect=dialect), scale, 5 * scale),
            "stream": Cost(Load(stream=True, dialect=dialect, chunks=_PLAIN_CHUNKS), scale // 8, scale // 2),
            "stream+tools": Cost(
                Load(stream=True, tools=True, dialect=dialect, chunks=_PLAIN_CHUNKS), scale // 8, scale // 2
            ),
            "chunk": Cost(Load(stream=True, dialect=dialect), scale, 20 * scale),
            "chunk+tools": Cost(Load(stream=True, tools=True, dialect=dialect), scale, 20 * scale),
            "call chunk": Cost(Load(stream=True, call=True, dialect=dialect), scale, 20 * scale),
        }
    for _ in range(rounds):
        for named in costs.values():
            for cost in named.values():
                cost.measure()
    return costs


def as_table(costs: dict[str, dict[str, Cost]]) -> str:
    """One line per dialect: microseconds without tools, and how many times that it is with them."""
    lines = [
        f"{'dialect':<20}"
        + "".join(f" {name:>9} {'+ tools':>8}" for name in ("unary", "stream", "chunk"))
        + "  of a call"
    ]
    for dialect, named in costs.items():
        took = {name: cost.seconds for name, cost in named.items()}
        lines.append(
            f"{dialect:<20} {took['unary'] * 1e6:6.1f} us {took['unary+tools'] / took['unary']:7.2f}x"
            f" {took['stream'] * 1e6:6.1f} us {took['stream+tools'] / took['stream']:7.2f}x"
            f" {took['chunk'] * 1e6:6.2f} us {took['chunk+tools'] / took['chunk']:7.2f}x"
            f" {took['call chunk'] / took['chunk']:9.2f}x"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tool_costs", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="turns of each load (default 10)")
    parser.add_argument("--scale", type=int, default=100, help="requests of the short run (default 100)")
    parser.add_argument("--dialect", action="append", choices=DIALECTS, help="only this one; may be repeated")
    args = parser.parse_args(argv)
    print(as_table(measure(args.dialect or DIALECTS, args.rounds, args.scale)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
