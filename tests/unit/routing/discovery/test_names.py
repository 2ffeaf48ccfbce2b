"""What look-ups of a name mean."""

import pytest

from gateway.routing.discovery.endpoint import Endpoint
from gateway.routing.discovery.names import (
    EMPTY_ANSWERS,
    LONGEST_S,
    SHORTEST_S,
    NameHistory,
    Service,
    pause_after,
    preferred,
)

ONE = frozenset({Endpoint("10.0.0.1", 8000)})
TWO = ONE | {Endpoint("10.0.0.2", 8000)}
NONE = frozenset[Endpoint]()


def test_a_look_up_that_finds_others_changes_the_endpoints() -> None:
    """The same again changes nothing."""
    history = NameHistory()
    assert history.endpoints is None
    assert [history.take(found) for found in (ONE, ONE, TWO, ONE)] == [True, False, True, True]
    assert history.endpoints == ONE


def test_the_first_answer_is_believed_whatever_it_is() -> None:
    """Nothing is lost by it."""
    history = NameHistory()
    assert history.take(NONE)
    assert history.endpoints == NONE


def test_an_empty_answer_is_believed_when_it_is_repeated() -> None:
    """A name server that has just been restarted must not take all workers away; others begin the count anew."""
    history = NameHistory()
    history.take(TWO)
    answers = [NONE] * (EMPTY_ANSWERS - 1) + [TWO] + [NONE] * (EMPTY_ANSWERS - 1)
    assert not any(history.take(found) for found in answers)
    assert history.endpoints == TWO
    assert history.take(NONE)
    assert history.endpoints == NONE


def test_of_services_the_lowest_priority_counts() -> None:
    """RFC 2782; a target of `.` says that there is no service."""
    first, second, other = Service(1, "a.", 80), Service(1, "b.", 81), Service(2, "c.", 82)
    assert preferred([other, first, second]) == [first, second]
    assert preferred([Service(0, ".", 0)]) == []
    assert preferred([]) == []


@pytest.mark.parametrize(("ttl_s", "pause_s"), [(None, SHORTEST_S), (0, SHORTEST_S), (5.0, 5.0), (86_400.0, LONGEST_S)])
def test_the_time_to_live_tells_when_to_look_again(ttl_s: float | None, pause_s: float) -> None:
    """Within bounds: neither a flood nor a day of dead addresses."""
    assert pause_after(ttl_s) == pause_s
