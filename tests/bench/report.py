"""Rounds in, a table out: medians, spread, and each candidate relative to one of them."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any

REFERENCE = "vllm-router"


@dataclass(slots=True)
class Rounds:
    """What one candidate did in every round; figures by name, one value per round."""

    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.figures.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        return median(self.figures[name]) if self.figures.get(name) else None

    def spread(self, name: str) -> float | None:
        """(highest - lowest) / median."""
        values = self.figures.get(name)
        return (max(values) - min(values)) / median(values) if values and median(values) else None


_COLUMNS = {
    "requests_per_s": ("unary req/s", "{:,.0f}"),
    "cpu_us_per_request": ("CPU us/request", "{:.1f}"),
    "core_share": ("core used", "{:.0%}"),
    "p50_ms": ("p50 ms", "{:.2f}"),
    "p99_ms": ("p99 ms", "{:.2f}"),
    "cpu_us_per_chunk": ("CPU us/chunk", "{:.1f}"),
    "memory_mb": ("peak MB", "{:.0f}"),
}
_RATIOS = {"requests_per_s": "req/s", "cpu_us_per_request": "CPU/request", "cpu_us_per_chunk": "CPU/chunk"}


def as_table(results: dict[str, Rounds]) -> str:
    """A Markdown table of medians with the spread beside them; ratios to the reference where it was measured."""
    reference = results.get(REFERENCE)
    header = ["", *(title for title, _ in _COLUMNS.values())]
    if reference:
        header += [f"{title} / {REFERENCE}'s" for title in _RATIOS.values()]
    rows = [header, ["---", *["--:"] * (len(header) - 1)]]
    for name, rounds in results.items():
        cells = [name, *(_cell(rounds, column, pattern) for column, (_, pattern) in _COLUMNS.items())]
        if reference:
            cells += [_ratio(rounds, reference, column) for column in _RATIOS]
        rows.append(cells)
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    return "\n".join(
        "| " + " | ".join(_fill(cell, width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def as_json(results: dict[str, Rounds], settings: dict[str, Any]) -> dict[str, Any]:
    """Settings, and per candidate all rounds with their median and spread."""
    return {
        "settings": settings,
        "reference": REFERENCE,
        "results": {
            name: {
                column: {"median": rounds.median(column), "spread": rounds.spread(column), "rounds": values}
                for column, values in rounds.figures.items()
            }
            for name, rounds in results.items()
        },
    }


def _fill(cell: str, width: int) -> str:
    return "-" * (width - 1) + ":" if cell == "--:" else "-" * width if cell == "---" else cell.ljust(width)


def _cell(rounds: Rounds, column: str, pattern: str) -> str:
    value, spread = rounds.median(column), rounds.spread(column)
    if value is None:
        return "-"
    return pattern.format(value) + (
        f" ±{spread / 2:.0%}" if spread is not None and len(rounds.figures[column]) > 1 else ""
    )


def _ratio(rounds: Rounds, reference: Rounds, column: str) -> str:
    mine, theirs = rounds.median(column), reference.median(column)
    return f"{mine / theirs:.2f}" if mine and theirs else "-"
