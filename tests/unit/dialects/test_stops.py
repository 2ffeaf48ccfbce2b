"""Each family's end-of-turn markers."""

from typing import get_args

from gateway.dialects.control_tokens import markers
from gateway.dialects.stops import default_stop_token_ids, stop_markers
from gateway.values import Family


def test_every_family_has_as_many_ids_as_markers() -> None:
    """The defaults stand in the order of the markers they replace."""
    for family in get_args(Family):
        assert len(default_stop_token_ids(family)) == len(stop_markers(family))


def test_stop_markers_are_control_tokens() -> None:
    """A stop marker that a client could write would end its own turn."""
    for family in get_args(Family):
        assert set(stop_markers(family)) <= set(markers(family))


def test_gemma_4_stops_where_it_waits_for_tool_results() -> None:
    """Without it the model repeats `<|tool_response>` up to the length limit."""
    assert stop_markers("gemma4") == ("<eos>", "<turn|>", "<|tool_response>")
