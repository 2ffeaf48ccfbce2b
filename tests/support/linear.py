"""Whether something takes time in proportion to its input, told apart from noise."""

import time
from collections.abc import Callable


def assert_linear(run: Callable[[int], None], small: int = 20_000) -> None:
    """Four times the input takes about four times as long; a quadratic run would take sixteen times.

    One quiet moment is enough: a loaded machine makes single measurements worse, never better.
    """

    def seconds(size: int) -> float:
        started = time.process_time()
        run(size)
        return time.process_time() - started

    ratios = (seconds(4 * small) / max(seconds(small), 0.005) for _ in range(4))
    assert any(ratio < 9 for ratio in ratios)
