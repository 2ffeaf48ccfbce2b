"""Runs the openai-node suite in node/ against the gateway; each of its tests is told in the report when it fails."""

from pathlib import Path

from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.node_suite import installed_node, run_suite
from tests.support.sim_worker import SimWorker

FOLDER = Path(__file__).parent / "node"


def test_openai_node(gateway: GatewayProcess, hasty_gateway: GatewayProcess, worker: SimWorker) -> None:
    """All tests under node/ pass; they run one after another, because they share the worker."""
    node = installed_node(FOLDER)
    environment = {
        "GATEWAY_URL": gateway.url,
        "HASTY_GATEWAY_URL": hasty_gateway.url,
        "GATEWAY_KEY": TEST_KEY,
        "WORKER_URL": worker.url,
    }
    suites = sorted(FOLDER.glob("*.test.js"))
    assert suites
    failures = [failed for suite in suites if (failed := run_suite(node, suite, environment))]
    assert not failures, "\n".join(failures)
