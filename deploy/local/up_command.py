"""`deploy/local/up`: engine and gateway on this machine, installed when needed, stopped together."""

import argparse
import os
import secrets
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from deploy.local import engine, environments, processes, weights
from deploy.local.places import Places, python_of
from deploy.local.processes import Child
from deploy.local.progress import SetupError, Step
from deploy.local.supervision import supervised, watch
from deploy.local.welcome import welcome

SIM_MODEL = "google/gemma-3-270m-it"
GATEWAY_DEADLINE_S = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 after Ctrl-C or SIGTERM, 1 when something failed or ended by itself."""
    options = _options(arguments)
    places = Places.from_environment()
    return supervised(lambda children: _up(options, places, children), interrupted=0)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="deploy/local/up",
        description="Install and start a vLLM engine with a small real Gemma, and the gateway in front of it. "
        "Ctrl-C stops both.",
        epilog="GEMMA_GATEWAY_HOME: where engine, weights, logs and key are kept (default ~/.cache/gemma-gateway). "
        "HF_TOKEN: with it, google/gemma-3-270m-it comes from the hub; without, the packaged Gemma 3 270M is used.",
    )
    parser.add_argument(
        "--engine",
        choices=("auto", "cpu", "gpu", "sim"),
        default="auto",
        help="auto takes the GPU if there is one; sim is a simulated worker that starts at once and only echoes",
    )
    parser.add_argument("--port", type=int, default=8080, help="of the gateway (default %(default)s)")
    parser.add_argument("--engine-port", type=int, default=8100, help="of the engine (default %(default)s)")
    return parser.parse_args(arguments)


def _up(options: argparse.Namespace, places: Places, children: list[Child]) -> NoReturn:
    """Install, start, print, then watch until something ends."""
    for port, flag in ((options.port, "--port"), (options.engine_port, "--engine-port")):
        _need_free_port(port, flag)
    print("Gemma Gateway", flush=True)
    with Step("gateway packages") as step:
        environments.gateway_environment(places, step)
    if options.engine == "sim":
        checkpoint = None
        children.append(_start_simulation(options.engine_port, places))
    else:
        spec = _engine_spec(options, places)
        checkpoint = spec.checkpoint
        children.append(engine.start(spec, places))
    with Step("engine") as step:
        engine.wait_until_ready(children[0], _url(options.engine_port), step.update)
        step.ready(f"ready on {_url(options.engine_port)}")
    key = _api_key(places.api_key)
    model = checkpoint.model if checkpoint else SIM_MODEL
    tools_model = checkpoint.adapter.model if checkpoint and checkpoint.adapter else None
    children.append(_start_gateway(options, places, model, tools_model, key))
    _wait_for_gateway(children[1], options.port)
    pretrained = model == weights.PACKAGED_MODEL
    base_url = f"{_url(options.port)}/v1"
    print(welcome(base_url, model, key, tools_model=tools_model, pretrained=pretrained), flush=True)
    watch(children)


def _engine_spec(options: argparse.Namespace, places: Places) -> engine.EngineSpec:
    gpu = options.engine != "cpu" and engine.gpu_present()
    if options.engine == "gpu" and not gpu:
        raise SetupError("No GPU answers: nvidia-smi --list-gpus fails or is missing.")
    with Step("engine packages") as step:
        venv = engine.install(places, step, gpu=gpu)
    with Step("weights") as step:
        checkpoint = weights.small_gemma(places, venv, step)
    return engine.EngineSpec(checkpoint, options.engine_port, gpu=gpu)


def _start_simulation(port: int, places: Places) -> Child:
    return processes.launch(
        "simulated worker",
        [python_of(places.gateway_venv), "-m", "tests.support.sim_worker", "--port", str(port), "--model", SIM_MODEL],
        log=places.logs / "sim-worker.log",
        directory=places.checkout,
    )


def _start_gateway(options: argparse.Namespace, places: Places, model: str, tools_model: str | None, key: str) -> Child:
    """The key goes by environment: arguments can be read by everybody on the machine."""
    config = places.checkout / "deploy" / "local" / ("gateway-tools.yaml" if tools_model else "gateway.yaml")
    return processes.launch(
        "gateway",
        [python_of(places.gateway_venv), "-m", "gateway", "serve", "--config", config, "--port", str(options.port)],
        log=places.logs / "gateway.log",
        environment={
            "GEMMA_GATEWAY_MODEL": model,
            "GEMMA_GATEWAY_TOOLS_MODEL": tools_model or "",
            "GEMMA_GATEWAY_ENGINE_URL": _url(options.engine_port),
            "GEMMA_GATEWAY_API_KEY": key,
        },
        directory=places.checkout,
    )


def _wait_for_gateway(gateway: Child, port: int) -> None:
    with Step("gateway") as step:
        deadline = time.monotonic() + GATEWAY_DEADLINE_S
        while not engine.answers(f"{_url(port)}/readyz"):
            if not gateway.running:
                raise SetupError(f"The gateway stopped while starting.\n{gateway.last_lines()}\nLog: {gateway.log}")
            if time.monotonic() > deadline:
                raise SetupError(f"The gateway is not ready after {GATEWAY_DEADLINE_S:.0f} s. Log: {gateway.log}")
            step.update("starting")
            time.sleep(0.1)
        step.ready(f"ready on {_url(port)}")


def _url(port: int) -> str:
    return f"http://{engine.HOST}:{port}"


def _need_free_port(port: int, flag: str) -> None:
    """Asked before the long steps. vLLM shares its port (SO_REUSEPORT), so two would answer by turns, not fail."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((engine.HOST, port))
        except OSError as error:
            raise SetupError(f"Port {port} is taken ({error.strerror}); {flag} picks another.") from error


def _api_key(file: Path) -> str:
    """The key of this machine, made at the first start and readable by its owner only."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        key = f"gk-local-{secrets.token_urlsafe(24)}"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
            output.write(f"{key}\n")
        return key


if __name__ == "__main__":
    sys.exit(main())
