"""Reading an engine's metrics: exact names, summed over its processes, nonsense is nothing."""

import pytest

from gateway.routing.engine_metrics import parse_engine_load
from tests.support.sim_worker.exposition import render_metrics
from tests.support.sim_worker.journal import Journal

TWO = b"""# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 99.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:generation_tokens_total{engine="0",model_name="m"} 1e+03
vllm:generation_tokens_created{engine="0",model_name="m"} 1.7e9
"""


def test_numbers_are_summed_over_engines() -> None:
    """The cache counts where it is fullest; names that only begin alike don't."""
    load = parse_engine_load(TWO)
    assert load is not None
    assert (load.running, load.waiting, load.kv_use, load.generated_tokens) == (7, 2, 0.75, 1000)


def test_the_simulated_engine_is_read_as_well() -> None:
    """As is vLLM's whole page with comments and histograms."""
    load = parse_engine_load(render_metrics("m", Journal()).encode())
    assert load is not None
    assert (load.running, load.waiting) == (0, 0)


@pytest.mark.parametrize(
    "text", [b"", b"\xff\xfe", b"<html>", b"vllm:num_requests_running 1.0\n", TWO.replace(b"3.0", b"--")]
)
def test_what_is_missing_or_broken_is_not_guessed(text: bytes) -> None:
    """Half of the numbers are none: zero would draw all requests there."""
    assert parse_engine_load(text) is None


def test_numbers_out_of_range_are_bounded() -> None:
    """A negative count, a cache above 1 or one that is no number harm nobody."""
    load = parse_engine_load(TWO.replace(b"3.0", b"-90.0").replace(b"0.75", b"7.5"))
    assert load is not None
    assert (load.running, load.kv_use) == (0, 1)
