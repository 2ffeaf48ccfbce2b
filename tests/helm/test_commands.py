"""Commands that the chart writes itself, run as processes."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import redis

from tests.support.gateway_process import TEST_KEY, GatewayProcess, gateway_config
from tests.support.gateway_view import wait_until_up
from tests.support.helm_chart import container, environment, render
from tests.support.sim_worker import SimWorker

MODEL = "google/gemma-3-4b-it"
VALUES = {
    "secrets": {"existingSecret": "gateway-keys"},
    "redis": {"enabled": True, "passwordVariable": "REDIS_PASSWORD"},
    "models": [{"name": MODEL, "engine": {}}],
}


def _run_test_pod(url: str, key: str) -> subprocess.CompletedProcess[str]:
    pod = render(VALUES).get("Pod", "-test")
    item = container(pod)
    program, *flags = item["command"]
    assert program == "python"
    variables = {**os.environ, **{name: str(value) for name, value in environment(item).items() if name != "API_KEY"}}
    variables |= {"GATEWAY_URL": url, "API_KEY": key, "DEADLINE_S": "20"}
    command = [sys.executable, *flags, *item["args"]]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)


def test_the_test_pod_chats(
    start_sim_worker: Callable[..., SimWorker], start_gateway: Callable[..., GatewayProcess]
) -> None:
    """It lists the models and gets an answer; with a wrong key it fails and says why."""
    worker = start_sim_worker(model=MODEL)
    gateway = start_gateway(gateway_config(worker.url, model=MODEL))
    wait_until_up(gateway)
    good = _run_test_pod(gateway.url, TEST_KEY)
    assert good.returncode == 0, good.stdout + good.stderr
    assert f"{MODEL} answers:" in good.stdout
    bad = _run_test_pod(gateway.url, "wrong-key-0123456789")
    assert bad.returncode != 0
    assert "401" in bad.stderr


def test_redis_asks_for_its_password(tmp_path: Path) -> None:
    """Given to it by its standard input: its arguments don't show it."""
    rendering = render(VALUES)
    item = container(rendering.get("Deployment", "-redis")["spec"]["template"])
    settings = tmp_path / "redis.conf"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = rendering.get("ConfigMap", "-redis")["data"]["redis.conf"].replace("port 6379", f"port {port}")
    settings.write_text(text.replace("dir /tmp", f"dir {tmp_path}"))
    script = item["args"][0].replace("/etc/redis/redis.conf", str(settings))
    shell = shutil.which("sh") or "sh"
    password = "secret-0123456789"
    variables = {**os.environ, "REDIS_PASSWORD": password}
    process = subprocess.Popen([shell, *item["command"][1:], script], env=variables, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ready to accept connections" in line:
                break
        assert password not in Path(f"/proc/{process.pid}/cmdline").read_text()
        with redis.Redis(port=port, password=password) as client:
            assert client.ping() is True
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with redis.Redis(port=port) as stranger:
            try:
                stranger.ping()
            except redis.AuthenticationError:
                refused = True
            else:
                refused = False
        assert refused
    finally:
        process.terminate()
        process.communicate(timeout=10)
