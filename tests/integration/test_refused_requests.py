"""What is refused before an endpoint sees it leaves a log line and a count all the same."""

import pytest

from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import log_line, metric, wait_for
from tests.support.raw_http import RawClient, ask, request
from tests.support.sim_worker import SimWorker

REFUSED = {
    "not HTTP": (b"nonsense\r\n\r\n", 400, "invalid_request_error"),
    "large head": (request(headers=b"x-large: " + b"x" * 70_000 + b"\r\n"), 431, "request_headers_too_large"),
    "unknown path": (request(path="/v1/unknown"), 404, "model_not_found"),
    "wrong method": (request(path="/v1/models", method="PUT"), 405, "method_not_allowed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_logged_and_counted(shared_gateway: GatewayProcess, name: str) -> None:
    """Under the endpoint `none`, whatever the client sent; the answer's request id finds the line."""
    data, status, error = REFUSED[name]
    labels = {"endpoint": "none", "model": "none", "status": str(status)}
    before = metric(shared_gateway, "gateway_requests_total", **labels)
    answer = ask(shared_gateway.port, data)
    assert answer.status == status
    line = log_line(shared_gateway, answer.headers["x-request-id"])
    assert (line["endpoint"], line["status"], line["error"]) == ("none", status, error)
    assert metric(shared_gateway, "gateway_requests_total", **labels) == before + 1
    assert metric(shared_gateway, "gateway_requests_in_flight") == 0


def test_a_body_that_breaks_off_is_one_line(shared_gateway: GatewayProcess) -> None:
    """A request that turns out malformed in its body is refused by the protocol and recorded by its endpoint, once."""
    before = metric(shared_gateway, "gateway_requests_total", endpoint="none")
    with RawClient(shared_gateway.port) as client:
        head = b"x-request-id: broken-body\r\ntransfer-encoding: chunked\r\n"
        client.send(request(headers=head, sized=False))
        client.send(b"5\r\nhello\r\n")
        wait_for(lambda: metric(shared_gateway, "gateway_requests_in_flight") == 1, "the body is waited for")
        client.send(b"no size\r\n")
        assert client.read_answer().status == 400
    line = log_line(shared_gateway, "broken-body")
    assert (line["endpoint"], line["cause"]) == ("chat", "the request is malformed")
    assert metric(shared_gateway, "gateway_requests_total", endpoint="none") == before


def test_a_gateway_without_keys_says_so(sim_worker: SimWorker) -> None:
    """`--no-auth` is worth a warning at each start."""
    config = gateway_config(f"http://127.0.0.1:{sim_worker.port}")
    with GatewayProcess(config, arguments=["--no-auth"]) as gateway:
        assert ask(gateway.port, request(path="/v1/models", method="GET", key=b"")).status == 200
    warnings = [line["message"] for line in gateway.logs if line["level"] == "warning"]
    assert any("--no-auth" in message for message in warnings)
