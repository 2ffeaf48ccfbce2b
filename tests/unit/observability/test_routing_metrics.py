"""What `/metrics` tells of queues, retries and workers that are left out."""

import asyncio

from prometheus_client import CollectorRegistry, generate_latest

from gateway.config.model import QueueSettings
from gateway.observability.record import RequestRecord
from gateway.observability.routing_metrics import RoutingMetrics
from gateway.routing.breaker import MIN_FAILURES
from gateway.routing.fleet import ServedModel
from gateway.values import ModelName, RequestId
from tests.support.fleets import make_model, make_workers


def rendered(metrics: RoutingMetrics) -> str:
    registry = CollectorRegistry()
    registry.register(metrics)
    return generate_latest(registry).decode()


def ended(model: ServedModel, queued_s: float, attempts: int) -> RequestRecord:
    """The record of a request that had to wait."""
    record = RequestRecord(RequestId("r"), "chat", 0.0, model=ModelName(model.name))
    record.queued_s, record.attempts = queued_s, attempts
    return record


def test_waits_are_counted_by_what_became_of_them() -> None:
    """One that got its place, one that gave up: each in its histogram; the length is what waits now."""

    async def scenario() -> None:
        model = make_model(make_workers(1), name="google/gemma-3-4b-it", queue=QueueSettings(max_in_flight=1))
        metrics = RoutingMetrics(lambda: [model])
        metrics.waited(ended(model, 0.2, 1))
        metrics.waited(ended(model, 7.0, 0))
        assert model.room is not None
        waiting = asyncio.create_task(model.room.wait("acme", 1e12))  # type: ignore[arg-type]  # a tenant
        await asyncio.sleep(0)
        text = rendered(metrics)
        assert 'gateway_queue_length{model="google/gemma-3-4b-it"} 1.0' in text
        assert 'gateway_queue_wait_seconds_count{model="google/gemma-3-4b-it",outcome="served"} 1.0' in text
        assert 'gateway_queue_wait_seconds_sum{model="google/gemma-3-4b-it",outcome="given_up"} 7.0' in text
        waiting.cancel()

    asyncio.run(scenario())


def test_a_model_without_a_queue_has_no_length() -> None:
    """No series says 0 where nothing can wait."""
    text = rendered(RoutingMetrics(lambda: [make_model(make_workers(1))]))
    assert "gateway_queue_length{" not in text


def test_workers_that_are_left_out_are_named() -> None:
    """An open breaker and a full worker can be seen, and retries with those that there was no budget for."""
    workers = make_workers(4)
    model = make_model(workers)
    for _ in range(MIN_FAILURES):
        workers[0].failed(1.0, 1.0)
    workers[1].rest(1.0)
    assert model.may_retry((), 1.0)
    assert not model.may_retry(workers, 1.0)
    while model.may_retry(workers[:1], 1.0):
        pass
    lines = rendered(RoutingMetrics(lambda: [model])).splitlines()
    told = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
    name = model.name
    assert [told[f'gateway_worker_breaker_open{{model="{name}",worker="w{n}"}}'] for n in range(4)] == [1, 0, 0, 0]
    assert [told[f'gateway_worker_resting{{model="{name}",worker="w{n}"}}'] for n in range(4)] == [0, 1, 0, 0]
    assert told[f'gateway_retries_total{{model="{name}",outcome="retried"}}'] == 100
    assert told[f'gateway_retries_total{{model="{name}",outcome="over_budget"}}'] == 1


def test_refusals_are_counted_by_status() -> None:
    """What an operator has to mend; a worker that refused nothing has no series."""
    model = make_model(make_workers(2))
    assert [model.workers[0].refused(401), model.workers[0].refused(401)] == [1, 2]
    text = rendered(RoutingMetrics(lambda: [model]))
    assert f'gateway_worker_refusals_total{{model="{model.name}",status="401",worker="w0"}} 2.0' in text
    assert 'worker="w1"' not in "".join(line for line in text.splitlines() if "refusals" in line)


def test_canaries_are_counted_where_they_are_on() -> None:
    """By outcome; a model without `canary_s` has no series of them."""
    watched = make_model(make_workers(1), canary_s=5.0)
    watched.workers[0].pulse.canaries["failed"] += 2
    text = rendered(RoutingMetrics(lambda: [watched]))
    name = watched.name
    assert f'gateway_worker_canaries_total{{model="{name}",outcome="failed",worker="w0"}} 2.0' in text
    assert f'gateway_worker_canaries_total{{model="{name}",outcome="answered",worker="w0"}} 0.0' in text
    assert "gateway_worker_canaries_total{" not in rendered(RoutingMetrics(lambda: [make_model(make_workers(1))]))
