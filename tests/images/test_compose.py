"""The Compose files, through Docker Compose itself: valid, closed, and wired so that the services find each other."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
import yaml

from deploy.local.engine import free_port
from deploy.local.places import Places
from tests.support.gateway_process import GatewayProcess
from tests.support.gateway_view import wait_for, wait_until_up
from tests.support.plain_http import Answer, ask
from tests.support.sim_worker import Settings, SimWorker

FOLDER = Places.from_environment().checkout / "deploy" / "compose"
FILES = {"gpu": ["compose.yaml"], "cpu": ["compose.yaml", "compose.cpu.yaml"]}
SECRETS = {"GATEWAY_API_KEY", "GATEWAY_ADMIN_KEY", "REDIS_PASSWORD"}
Resolve = Callable[[str], dict[str, Any]]


def compose(program: Path, kind: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`docker compose config` with these variables and none of this machine's."""
    files = [part for name in FILES[kind] for part in ("--file", str(FOLDER / name))]
    return subprocess.run(
        [program, *files, "--env-file", os.devnull, "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `make-env` writes."""
    folder = tmp_path_factory.mktemp("compose")
    script = folder / "make-env"
    script.write_bytes((FOLDER / "make-env").read_bytes())
    script.chmod(0o755)
    subprocess.run([script], check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
    first = (folder / ".env").read_text()
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    subprocess.run([script], check=True, capture_output=True, env={"PATH": os.environ["PATH"]})
    assert (folder / ".env").read_text() == first, "a second run keeps the secrets"
    lines = [line for line in first.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def resolve(docker_compose: Path, variables: dict[str, str]) -> Resolve:
    """The services of one kind of machine, by name, as Docker Compose would start them."""

    def resolved(kind: str) -> dict[str, Any]:
        ran = compose(docker_compose, kind, variables)
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr == ""
        services: dict[str, Any] = json.loads(ran.stdout)["services"]
        return services

    return resolved


def test_secrets_are_fresh(variables: dict[str, str]) -> None:
    """Three different ones, of 24 random bytes each."""
    secrets = {variables[name].removeprefix("gk-local-") for name in SECRETS}
    assert len(secrets) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", secret) for secret in secrets)


@pytest.mark.parametrize("missing", sorted(SECRETS))
def test_without_secrets_nothing_starts(docker_compose: Path, variables: dict[str, str], missing: str) -> None:
    """Docker Compose refuses, and says which command makes the missing one."""
    ran = compose(docker_compose, "gpu", {**variables, missing: ""})
    assert ran.returncode != 0
    assert missing in ran.stderr
    assert "deploy/compose/make-env" in ran.stderr


def test_a_wrong_file_is_refused(docker_compose: Path, tmp_path: Path) -> None:
    """The schema is looked at: an unknown key of a service is an error."""
    wrong = tmp_path / "compose.yaml"
    wrong.write_text("services: {a: {image: a, helthcheck: {}}}")
    ran = subprocess.run([docker_compose, "--file", wrong, "config"], capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "helthcheck" in ran.stderr


@pytest.mark.parametrize("kind", FILES)
def test_services_are_closed(resolve: Resolve, kind: str) -> None:
    """No capabilities, no new privileges, bounded logs, a health check; ours and Redis on a read-only root."""
    services = resolve(kind)
    assert services.keys() == {"gateway", "redis", "engine"}
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service.get("privileged") is None, name
        assert service.get("read_only") or (name, kind) == ("engine", "gpu")
        assert "healthcheck" in service or name == "gateway", "the gateway's is in its image"


@pytest.mark.parametrize("kind", FILES)
def test_only_the_gateway_is_reached(resolve: Resolve, kind: str) -> None:
    """It is published on the loopback address; Redis and the engine share a network with it and nobody else."""
    services = resolve(kind)
    assert [name for name, service in services.items() if service.get("ports")] == ["gateway"]
    assert [port["host_ip"] for port in services["gateway"]["ports"]] == ["127.0.0.1"]
    assert services["redis"]["networks"].keys() == {"store"}
    assert services["engine"]["networks"].keys() == {"engines"}


@pytest.mark.parametrize("kind", FILES)
def test_secrets_stay_out_of_arguments(resolve: Resolve, variables: dict[str, str], kind: str) -> None:
    """They go by environment; what anybody on the machine may read has none."""
    for service in resolve(kind).values():
        shown = json.dumps({part: service.get(part) for part in ("command", "entrypoint", "healthcheck", "labels")})
        assert not any(variables[name] in shown for name in SECRETS)


@pytest.mark.parametrize("kind", FILES)
def test_streams_end_before_the_container(resolve: Resolve, kind: str) -> None:
    """Docker waits longer than the gateway and the engine drain."""
    services = resolve(kind)
    drain_s = yaml.safe_load((FOLDER / "gateway.yaml").read_text())["server"]["drain_s"]
    assert seconds(services["gateway"]["stop_grace_period"]) > drain_s
    (flag,) = [each for each in services["engine"]["command"] if each.startswith("--shutdown-timeout=")]
    assert seconds(services["engine"]["stop_grace_period"]) > float(flag.split("=")[1])


def test_the_machine_decides_the_engine(resolve: Resolve) -> None:
    """With a GPU it is upstream's image on that GPU; without, our CPU build, without a compiler and so eager."""
    gpu, cpu = resolve("gpu")["engine"], resolve("cpu")["engine"]
    assert re.fullmatch(r"docker\.io/vllm/vllm-openai:v\d+\.\d+\.\d+", gpu["image"])
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert "deploy" not in cpu
    assert cpu["build"]["dockerfile"] == "deploy/docker/engine-cpu.Dockerfile"
    assert "--enforce-eager" in cpu["command"]
    assert not any("parser" in flag for flag in (*gpu["command"], *cpu["command"]))


@dataclass(frozen=True, slots=True)
class Running:
    gateway: GatewayProcess
    worker: SimWorker
    redis_port: int


@pytest.fixture
def running(resolve: Resolve, tmp_path: Path) -> Iterator[Running]:
    """The services as processes: Redis by its entrypoint, a simulated engine, the gateway with the mounted file.

    Names of services become loopback addresses; nothing else is changed.
    """
    services = resolve("gpu")
    redis, port = services["redis"], free_port()
    entrypoint = [part.replace("$$", "$") for part in redis["entrypoint"]]
    environment = {**redis["environment"], "REDIS_PORT": str(port), "REDIS_DATA": str(tmp_path)}
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(entrypoint, env={"PATH": os.environ["PATH"], **environment}, stdout=subprocess.DEVNULL)
        )
        stack.callback(process.terminate)
        health = redis["healthcheck"]["test"][1].replace("$$", "$")
        ask_health = {**os.environ, **environment}
        wait_for(
            lambda: subprocess.run(["sh", "-c", health], env=ask_health, check=False).returncode == 0, "Redis is up"
        )
        command_line = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert command_line.startswith("redis-server")
        assert redis["environment"]["REDIS_PASSWORD"] not in command_line
        worker = stack.enter_context(SimWorker(Settings(model=services["engine"]["command"][0])))
        text = (FOLDER / "gateway.yaml").read_text()
        text = text.replace("@redis:6379", f"@127.0.0.1:{port}").replace("http://engine:8000", worker.url)
        gateway = stack.enter_context(
            GatewayProcess(yaml.safe_load(text), environment=services["gateway"]["environment"])
        )
        wait_until_up(gateway)
        yield Running(gateway, worker, port)


def test_it_answers(running: Running, variables: dict[str, str]) -> None:
    """A chat call with the key from .env; the limits' counts are in Redis, behind its password."""
    gateway, worker = running.gateway, running.worker
    body = {"model": "gemma", "messages": [{"role": "user", "content": "Hello"}]}
    answer = chat(gateway, body, variables["GATEWAY_API_KEY"])
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"] == "Hello"
    assert len(worker.generation_requests) == 1
    assert chat(gateway, body, "wrong-key-0123456789").status == 401
    stranger = redis_client.Redis(port=running.redis_port)
    with contextlib.closing(stranger), pytest.raises(redis_client.AuthenticationError):
        stranger.ping()
    password = variables["REDIS_PASSWORD"]
    with contextlib.closing(redis_client.Redis(port=running.redis_port, password=password)) as client:
        assert any(b"gw" in key for key in client.scan_iter())


def chat(gateway: GatewayProcess, body: object, key: str) -> Answer:
    return ask(gateway, "/v1/chat/completions", body, headers={"authorization": f"Bearer {key}"})


def test_the_file_is_a_good_configuration(resolve: Resolve) -> None:
    """`gateway check` finds nothing wrong, with the environment that the container gets."""
    environment = {"PATH": os.environ["PATH"], **resolve("gpu")["gateway"]["environment"]}
    command = [sys.executable, "-m", "gateway", "check", "--config", str(FOLDER / "gateway.yaml")]
    checked = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_chart_has_the_same_redis(resolve: Resolve) -> None:
    """One version of it is what was tried, on one machine and in a cluster."""
    values = yaml.safe_load((FOLDER.parents[1] / "helm" / "gemma-gateway" / "values.yaml").read_text())
    image = values["redis"]["image"]
    name, _, _ = resolve("gpu")["redis"]["image"].partition("@")
    assert name == f"{image['repository']}:{image['tag']}"


def seconds(duration: str) -> float:
    """A duration as Docker Compose writes it: 40s, 1m15s."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", duration))
