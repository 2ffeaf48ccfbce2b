"""The sliding window: what it counts, when it has room, what changing it afterwards does."""

import pytest

from gateway.ratelimit.window import NEVER, Window

MINUTE_US = 60_000_000
SECOND_US = 1_000_000


def test_counts_what_came_within_its_length() -> None:
    """Everything of the last minute counts, whenever in it that came."""
    window = Window(MINUTE_US)
    window.add(0, 2)
    window.add(30 * SECOND_US, 3)
    assert window.used(59 * SECOND_US) == 5


def test_holds_the_oldest_bucket_until_all_of_it_has_left() -> None:
    """A bucket that has left in part counts in full: until the minute after its last moment."""
    window = Window(MINUTE_US)
    window.add(0, 1)
    assert window.used(61 * SECOND_US - 1) == 1
    assert window.used(61 * SECOND_US) == 0


def test_has_room_at_once_while_the_cost_fits() -> None:
    """What fits has nothing to wait for."""
    window = Window(MINUTE_US)
    window.add(0, 4)
    assert window.wait_us(0, cost=6, limit=10) == 0


def test_waits_for_as_many_buckets_as_the_cost_needs() -> None:
    """The wait ends when enough of the oldest has left, not when all has."""
    window = Window(MINUTE_US)
    window.add(0, 4)
    window.add(10 * SECOND_US, 4)
    now = 20 * SECOND_US
    assert window.wait_us(now, cost=6, limit=10) == 41 * SECOND_US
    assert window.wait_us(now, cost=7, limit=10) == 51 * SECOND_US


def test_never_has_room_for_more_than_the_limit() -> None:
    """No wait makes room for a cost over the limit, not even with nothing counted."""
    assert Window(MINUTE_US).wait_us(0, cost=11, limit=10) == NEVER


def test_amends_the_bucket_that_was_counted() -> None:
    """What is given back leaves with the bucket it was taken in, not later."""
    window = Window(MINUTE_US)
    window.add(0, 10)
    window.used(30 * SECOND_US)
    window.amend(0, -4)
    assert window.used(30 * SECOND_US) == 6
    assert window.used(61 * SECOND_US) == 0


def test_leaves_a_bucket_alone_that_has_left() -> None:
    """Settling after the window has passed changes nothing that counts now."""
    window = Window(MINUTE_US)
    window.add(0, 10)
    window.add(70 * SECOND_US, 5)
    window.amend(0, -10)
    assert window.used(70 * SECOND_US) == 5


def test_waits_on_when_an_amendment_went_over_the_limit() -> None:
    """Answers may turn out longer than reserved: then the wait is for what was really used."""
    window = Window(MINUTE_US)
    window.add(0, 5)
    window.amend(0, 20)
    window.add(10 * SECOND_US, 1)
    assert window.wait_us(10 * SECOND_US, cost=1, limit=10) == 51 * SECOND_US


@pytest.mark.parametrize("idle_s", [61, 600, 86_400])
def test_forgets_after_any_idle_time(idle_s: int) -> None:
    """A window that wasn't looked at for long is empty."""
    window = Window(MINUTE_US)
    window.add(0, 5)
    assert window.used(idle_s * SECOND_US) == 0
