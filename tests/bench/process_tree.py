"""CPU time and memory of a process and all its descendants, read from /proc."""

import contextlib
import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def members(root: int) -> list[int]:
    """The process and its descendants that live now."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting.extend(parents.get(process, []))
    return found


def cpu_s(root: int) -> float:
    """CPU seconds used so far by the tree: exact per living thread, by ticks for threads that have ended."""
    return sum(_cpu_of(process) for process in members(root))


def peak_memory_mb(root: int) -> float:
    """Sum of the peak resident sizes; pages that processes share count in each."""
    return sum(_status_kb(process, "VmHWM") for process in members(root)) / 1024


def memory_mb(root: int) -> float:
    """Sum of the resident sizes now."""
    return sum(_status_kb(process, "VmRSS") for process in members(root)) / 1024


def _cpu_of(process: int) -> float:
    total_ns = 0
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            total_ns += int((thread / "schedstat").read_text().split()[0])
        fields = _stat(process)
        by_ticks = (int(fields[11]) + int(fields[12])) * _TICK_S
        return max(total_ns / 1e9, by_ticks - 2 * _TICK_S)
    return 0.0


def _stat(process: int) -> list[str]:
    """Fields of /proc/PID/stat after the command's name; the first is the state, the second the parent."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _status_kb(process: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return 0
