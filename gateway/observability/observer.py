"""What happens with a request's record when the request has ended."""

import time

from gateway.errors import GatewayError
from gateway.observability.logs import RequestLog
from gateway.observability.metrics import NO_ENDPOINT, Metrics
from gateway.observability.record import RequestRecord
from gateway.observability.routing_metrics import RoutingMetrics
from gateway.observability.usage import UsageRecorder
from gateway.values import RequestId


class RequestObserver:
    """Turns each request's record into its log line, its metrics and its tenant's usage."""

    def __init__(self, metrics: Metrics, routing: RoutingMetrics, log: RequestLog, usage: UsageRecorder) -> None:
        self._metrics = metrics
        self._routing = routing
        self._log = log
        self._usage = usage

    def begin(self) -> None:
        """Count a request that begins."""
        self._metrics.begin()

    def end(self, record: RequestRecord) -> None:
        """Log and count a request that has ended."""
        now = time.monotonic()
        self._metrics.end(record, now)
        if record.queued_s is not None:
            self._routing.waited(record)
        self._usage.record(record)
        self._log.write(record, now)

    def refused(self, request_id: RequestId, error: GatewayError) -> None:
        """Log and count a request that nobody served: not HTTP, or of no path."""
        record = RequestRecord(request_id, NO_ENDPOINT, time.monotonic())
        record.status = error.status
        record.error = error.code or error.type
        self._metrics.begin()
        self.end(record)
