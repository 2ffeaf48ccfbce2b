"""How a command of this folder lives and ends: it owns children, and nothing of them outlives it."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from deploy.local import processes
from deploy.local.processes import Child
from deploy.local.progress import SetupError

WATCH_S = 0.5
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def supervised(body: Callable[[list[Child]], int], *, interrupted: int) -> int:
    """Run `body`, which adds the children it starts to the list it is given, and stop them whatever happens.

    Returns what `body` returns, `interrupted` after Ctrl-C, SIGTERM or a closed terminal, 1 after a SetupError, which
    is printed. Children stop in the opposite order of their start, so that none sees what it depends on vanish.
    """
    children: list[Child] = []
    for number in STOP_SIGNALS:
        signal.signal(number, _interrupt)
    try:
        return body(children)
    except KeyboardInterrupt:
        print("\nstopping", flush=True)
        return interrupted
    except SetupError as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        return 1
    finally:
        for number in STOP_SIGNALS:  # a second Ctrl-C must not leave anything behind
            signal.signal(number, signal.SIG_IGN)
        for child in reversed(children):
            processes.stop([child])


def watch(children: Sequence[Child]) -> NoReturn:
    """Sleep until a child ends, which is always a failure here."""
    while True:
        for child in children:
            if not child.running:
                raise SetupError(
                    f"The {child.name} ended by itself, exit status {child.process.returncode}; stopping the rest.\n"
                    f"{child.last_lines()}\nLog: {child.log}"
                )
        time.sleep(WATCH_S)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Any way of being told to stop takes the way of Ctrl-C."""
    del number, frame
    raise KeyboardInterrupt
