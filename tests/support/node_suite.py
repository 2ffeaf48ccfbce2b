"""Suites of node's own test runner, with their packages as they are locked."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

_INSTALL_DEADLINE_S = 180
_SUITE_DEADLINE_S = 120


def installed_node(folder: Path) -> str:
    """The path of node, with the packages of `folder` installed; skips the test where there is no node."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs node and npm")
    installed = folder / "node_modules" / ".package-lock.json"
    lock = folder / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        done = subprocess.run(
            [npm, "ci"], cwd=folder, capture_output=True, text=True, timeout=_INSTALL_DEADLINE_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return node


def run_suite(node: str, suite: Path, environment: Mapping[str, str]) -> str:
    """Runs one file of tests; returns what failed, or an empty text."""
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", suite],
        cwd=suite.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=_SUITE_DEADLINE_S,
        check=False,
    )
    print(done.stdout)
    return done.stdout + done.stderr if done.returncode else ""
