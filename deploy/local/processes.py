"""Child processes that never outlive us: each in a process group of its own, stopped together.

A group, because vLLM and the gateway have children themselves. A session of its own, because Ctrl-C at a terminal
goes to everything in the foreground group at once and we want to stop things in order. And should this process be
killed outright, Linux sends the children SIGTERM.
"""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from deploy.local.progress import SetupError

POLL_S = 0.25
GRACE_S = 10.0
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True, slots=True)
class Child:
    """A running program, what we call it, and the file its output goes to; without one it shares our output."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path | None

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def last_lines(self, count: int = 15) -> str:
        return "\n".join(self.tail().splitlines()[-count:])

    def tail(self, size: int = 16_384) -> str:
        """The end of the log as text, without terminal colours; a carriage return counts as a line end."""
        if self.log is None:
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size))
            text = file.read().decode("utf-8", "replace")
        return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "\n")


def launch(
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path | None,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Child:
    """Start `command` with `environment` on top of ours; its output overwrites `log`, or joins ours."""
    with ExitStack() as stack:
        output = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            output = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=directory,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - see there
        )
    return Child(name, process, log)


def run(child: Child, *, on_poll: Callable[[str], None], failure: str) -> None:
    """Wait for a child that is meant to end, showing the end of its log now and then; `SetupError` if it fails."""
    try:
        while child.running:
            on_poll(child.tail())
            time.sleep(POLL_S)
    finally:
        stop([child])
    if child.process.returncode != 0:
        raise SetupError(f"{failure}\n{child.last_lines()}\nThe whole log: {child.log}")


def stop(children: Sequence[Child], grace_s: float = GRACE_S) -> None:
    """SIGTERM to every group, SIGKILL to what is left of it after `grace_s`. Returns when the groups are empty.

    Children that a program started stay in its group, so a group may live on after its first process has gone.
    """
    for child in children:
        _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(_group_lives(child) for child in children):
        time.sleep(0.05)
    for child in children:
        if _group_lives(child):
            _signal_group(child, signal.SIGKILL)
        child.process.wait()


def _signal_group(child: Child, number: signal.Signals) -> None:
    try:
        os.killpg(child.process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        return


def _group_lives(child: Child) -> bool:
    child.process.poll()  # reap, or the zombie leader would keep the group alive
    try:
        os.killpg(child.process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Runs between fork and exec, where locks of other threads may be held: one system call, nothing else.

    The signal comes when the thread that started the child ends, so children are started from the main thread.
    """
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
