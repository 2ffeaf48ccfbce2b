"""Whether something takes time in proportion to its input, told apart from noise."""

import time
from collections.abc import Callable

_FLOOR_S = 0.005
"""Less time than this says nothing."""


def assert_linear(run: Callable[[int], None], small: int = 20_000) -> None:
    """Four times the input takes about four times as long; a quadratic run would take sixteen times.

    One quiet moment is enough: a loaded machine makes single measurements worse, never better.
    """

    def seconds(size: int) -> float:
        started = time.process_time()
        run(size)
        return time.process_time() - started

    if seconds(4 * small) < 9 * _FLOOR_S:
        return
    ratios = (seconds(4 * small) / max(seconds(small), _FLOOR_S) for _ in range(4))
    assert any(ratio < 9 for ratio in ratios)
