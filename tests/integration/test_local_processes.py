"""The children of the local commands: none outlives its parent, whatever way that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import processes
from deploy.local.progress import SetupError

DEADLINE_S = 10.0
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
"""A program that does not stop when asked."""
WITH_GRANDCHILD = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {STUBBORN!r}])
"""
"""Ends at once and leaves such a program behind in its group."""


def wait_until(condition: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < DEADLINE_S
        time.sleep(0.02)


def group_lives(number: int) -> bool:
    """Whether a process of the group runs; a zombie that nobody has reaped yet does not count."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(int(pgid) == number and not state.startswith("Z") for pgid, state in map(str.split, listed.splitlines()))


def test_stop_ends_what_a_child_left_behind(tmp_path: Path) -> None:
    child = processes.launch("parent", [sys.executable, "-c", WITH_GRANDCHILD], log=tmp_path / "log")
    wait_until(lambda: "up" in child.tail() and not child.running)
    assert group_lives(child.process.pid)
    processes.stop([child], grace_s=0.2)
    wait_until(lambda: not group_lives(child.process.pid))


def test_a_failing_program_shows_the_end_of_its_log(tmp_path: Path) -> None:
    script = "print('\\x1b[31mout of milk\\x1b[0m'); raise SystemExit(3)"
    child = processes.launch("shopping", [sys.executable, "-c", script], log=tmp_path / "log")
    with pytest.raises(SetupError, match="Could not shop:\nout of milk\n"):
        processes.run(child, on_poll=lambda _: None, failure="Could not shop:")


SUPERVISED = """
import sys, time
from pathlib import Path
from deploy.local import processes
from deploy.local.supervision import supervised, watch

def body(children):
    for number in (1, 2):
        log = Path(sys.argv[1]) / f"log{number}"
        children.append(processes.launch(f"child {number}", [sys.executable, "-c", sys.argv[2]], log=log))
    print(*(child.process.pid for child in children), flush=True)
    watch(children)

sys.exit(supervised(body, interrupted=7))
"""


@pytest.fixture
def supervised(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A supervisor with two children that run, and the process ids of these."""
    sleeper = "print('up', flush=True); import time; time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, str(tmp_path), sleeper],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    children = [int(number) for number in process.stdout.readline().split()]
    wait_until(lambda: all("up" in (tmp_path / f"log{number}").read_text() for number in (1, 2)))
    return process, children


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_stops_all_children(
    supervised: tuple[subprocess.Popen[str], list[int]], number: signal.Signals
) -> None:
    process, children = supervised
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 7
    assert not any(group_lives(child) for child in children)


def test_the_end_of_one_child_is_the_end_of_all(supervised: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, children = supervised
    os.kill(children[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "The child 1 ended by itself, exit status -9" in errors
    assert not any(group_lives(child) for child in children)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_children_stop_when_the_parent_is_killed(supervised: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, children = supervised
    process.kill()
    process.communicate(timeout=DEADLINE_S)
    wait_until(lambda: not any(group_lives(child) for child in children))
