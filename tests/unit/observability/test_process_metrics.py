"""Several processes' metrics as one: totals never go down, and nothing is counted twice."""

from pathlib import Path

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.observability.process_metrics import ProcessMetrics, retire


class Counting:
    """A process that has counted something."""

    def __init__(self, folder: Path, name: str) -> None:
        self.requests = 0
        self.in_touch = 1.0
        self.metrics = ProcessMetrics(folder, name, self.collect)

    def collect(self) -> list[Metric]:
        """A counter, a histogram, a gauge to be summed and one to be chosen from."""
        requests = CounterMetricFamily("gateway_requests", "Requests.", labels=("model", "status"))
        requests.add_metric(("gemma", "200"), self.requests)
        seconds = HistogramMetricFamily("gateway_request_seconds", "Seconds.", labels=("model",))
        seconds.add_metric(("gemma",), [("1.0", self.requests), ("+Inf", self.requests)], self.requests * 0.5)
        return [
            requests,
            seconds,
            GaugeMetricFamily("gateway_requests_in_flight", "Open.", value=1),
            GaugeMetricFamily("gateway_key_store_in_touch", "In touch.", value=self.in_touch),
            GaugeMetricFamily("gateway_info", "Version.", value=1),
        ]


def scraped(counting: Counting) -> dict[str, float]:
    """The samples of a scrape by name; of the histogram its last bucket."""
    families = text_string_to_metric_families(counting.metrics.render().decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Counting, Counting]:
    """Two processes with 3 and 4 requests; the second has written them down."""
    one, other = Counting(tmp_path, "0-0"), Counting(tmp_path, "1-1")
    one.requests, other.requests = 3, 4
    other.metrics.write()
    return one, other


def test_counters_and_histograms_add_up(pair: tuple[Counting, Counting]) -> None:
    """Whoever is scraped knows its own counts to the moment and the others' as they were written down."""
    one, other = pair
    found = scraped(one)
    assert (found["gateway_requests_total"], found["gateway_request_seconds_count"]) == (7, 7)
    assert (found["gateway_request_seconds_sum"], found["gateway_request_seconds_bucket"]) == (3.5, 7)
    other.requests = 10
    assert scraped(one)["gateway_requests_total"] == 7
    other.metrics.write()
    assert scraped(one)["gateway_requests_total"] == 13


def test_gauges_are_summed_or_chosen(pair: tuple[Counting, Counting]) -> None:
    """Open requests add up; one process out of touch is worth an alert; the version is no number to add."""
    one, other = pair
    other.in_touch = 0
    other.metrics.write()
    found = scraped(one)
    assert found["gateway_requests_in_flight"] == 2
    assert found["gateway_key_store_in_touch"] == 0
    assert found["gateway_info"] == 1


def test_a_process_that_ended_leaves_its_counters(pair: tuple[Counting, Counting], tmp_path: Path) -> None:
    """But not its gauges: what it had open is open no more."""
    one, _ = pair
    retire(tmp_path, "1-1")
    found = scraped(one)
    assert (found["gateway_requests_total"], found["gateway_requests_in_flight"]) == (7, 1)
    assert not (tmp_path / "1-1.metrics").exists()
    successor = Counting(tmp_path, "1-2")
    successor.requests = 1
    successor.metrics.write()
    assert scraped(one)["gateway_requests_total"] == 8


def test_between_the_two_steps_of_retiring_nothing_is_counted_twice(
    pair: tuple[Counting, Counting], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scrape that finds a process's file and its counters among the retired takes them once."""
    one, _ = pair
    monkeypatch.setattr(Path, "unlink", lambda _: None)
    retire(tmp_path, "1-1")
    assert (tmp_path / "1-1.metrics").exists()
    assert scraped(one)["gateway_requests_total"] == 7


def test_a_process_that_counted_nothing_leaves_nothing(tmp_path: Path) -> None:
    """One that ended before it wrote anything."""
    retire(tmp_path, "0-0")
    assert list(tmp_path.iterdir()) == []
