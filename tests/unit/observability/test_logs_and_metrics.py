"""Request lines and metrics."""

import json
from types import SimpleNamespace

import msgspec

from gateway.observability.logs import RequestLines, Timestamps
from gateway.observability.metrics import Metrics
from gateway.observability.record import RequestRecord
from gateway.values import KeyId, ModelName, RequestId, TenantId, Usage, WorkerId


def record(**fields: object) -> RequestRecord:
    base = RequestRecord(RequestId("r-1"), "chat", 10.0)
    return msgspec.structs.replace(base, status=200, **fields)


def test_a_request_is_one_json_line() -> None:
    """Names, times in milliseconds and tokens; what isn't known is left out."""
    full = record(
        key=KeyId("k"),
        tenant=TenantId("t"),
        model=ModelName("google/gemma"),
        worker=WorkerId("10.0.0.1:8000"),
        sent_at=10.0005,
        first_byte_at=10.25,
        usage=Usage(3, 4),
        stream=True,
        frames=4,
        attempts=2,
        fallback_from=ModelName("google/other"),
    )
    assert json.loads(RequestLines().line(full, 10.5, 1_800_000_000.125)) == {
        "time": "2027-01-15T08:00:00.125Z",
        "level": "info",
        "message": "request",
        "request_id": "r-1",
        "endpoint": "chat",
        "tenant": "t",
        "key": "k",
        "model": "google/gemma",
        "worker": "10.0.0.1:8000",
        "status": 200,
        "ms": 500.0,
        "first_byte_ms": 250.0,
        "overhead_ms": 0.5,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "stream": True,
        "frames": 4,
        "fallback_from": "google/other",
        "attempts": 2,
    }


def test_hostile_ids_stay_inside_their_string() -> None:
    """A request id may hold quotes and backslashes."""
    hostile = '","status":200,"x":"\\'
    line = json.loads(RequestLines().line(RequestRecord(RequestId(hostile), "chat", 0.0), 1.0, 0.0))
    assert line["request_id"] == hostile
    assert line["status"] == 0


def test_errors_and_causes_are_escaped() -> None:
    """Causes quote workers; a server's fault is a warning."""
    line = json.loads(RequestLines().line(record(error="worker_error", cause='a "b"\n'), 11.0, 0.0))
    assert line["cause"] == 'a "b"\n'
    assert line["error"] == "worker_error"
    failed = msgspec.structs.replace(record(), status=502)
    assert json.loads(RequestLines().line(failed, 11.0, 0.0))["level"] == "warning"


def test_timestamps_over_a_second() -> None:
    """The cached second changes with the clock, forwards and backwards."""
    stamps = Timestamps()
    assert stamps.text(0.999) == "1970-01-01T00:00:00.999Z"
    assert stamps.text(1.0) == "1970-01-01T00:00:01.000Z"
    assert stamps.text(0.5) == "1970-01-01T00:00:00.500Z"


def test_metrics_add_up() -> None:
    """Counts per status, cumulative buckets, tokens by kind, workers at the scrape."""
    worker = SimpleNamespace(id="w:1", state="up", in_flight=3)
    metrics = Metrics(lambda: [("m", worker)], "1.2.3", limits_mode=lambda: "local", keys_in_touch=lambda: True)
    for status in (200, 200, 499):
        metrics.begin()
        one = record(model=ModelName("m"), first_byte_at=10.02, sent_at=10.0001, usage=Usage(10, 5))
        metrics.end(msgspec.structs.replace(one, status=status), 10.03)
    metrics.begin()
    text = metrics.render().decode()
    for line in (
        'gateway_requests_total{endpoint="chat",model="m",status="200"} 2.0',
        'gateway_requests_total{endpoint="chat",model="m",status="499"} 1.0',
        'gateway_tokens_total{endpoint="chat",kind="prompt",model="m"} 30.0',
        'gateway_tokens_total{endpoint="chat",kind="completion",model="m"} 15.0',
        'gateway_request_seconds_bucket{endpoint="chat",le="0.025",model="m"} 0.0',
        'gateway_request_seconds_bucket{endpoint="chat",le="0.05",model="m"} 3.0',
        'gateway_request_seconds_bucket{endpoint="chat",le="+Inf",model="m"} 3.0',
        'gateway_request_seconds_count{endpoint="chat",model="m"} 3.0',
        "gateway_requests_in_flight 1.0",
        'gateway_worker_up{model="m",worker="w:1"} 1.0',
        'gateway_worker_in_flight{model="m",worker="w:1"} 3.0',
        'gateway_info{version="1.2.3"} 1.0',
    ):
        assert line in text, line
