"""Runs the openai-node suite in node/ against the gateway; each of its tests is told in the report when it fails."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.sim_worker import SimWorker

SUITE = Path(__file__).parent / "node"
INSTALL_DEADLINE_S = 180
SUITE_DEADLINE_S = 120


@pytest.fixture(scope="module")
def node() -> str:
    """The path of node, with the suite's packages installed as they are locked."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs node and npm")
    installed = SUITE / "node_modules" / ".package-lock.json"
    lock = SUITE / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        done = subprocess.run(
            [npm, "ci"], cwd=SUITE, capture_output=True, text=True, timeout=INSTALL_DEADLINE_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return node


def test_openai_node(node: str, gateway: GatewayProcess, hasty_gateway: GatewayProcess, worker: SimWorker) -> None:
    """All tests under node/ pass; they run one after another, because they share the worker."""
    environment = {
        **os.environ,
        "GATEWAY_URL": gateway.url,
        "HASTY_GATEWAY_URL": hasty_gateway.url,
        "GATEWAY_KEY": TEST_KEY,
        "WORKER_URL": worker.url,
    }
    suites = sorted(str(path) for path in SUITE.glob("*.test.js"))
    outputs = []
    for suite in suites:
        done = subprocess.run(
            [node, "--test", "--test-reporter=spec", suite],
            cwd=SUITE,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SUITE_DEADLINE_S,
            check=False,
        )
        print(done.stdout)
        if done.returncode != 0:
            outputs.append(done.stdout + done.stderr)
    assert suites
    assert not outputs, "\n".join(outputs)
