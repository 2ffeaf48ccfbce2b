"""`deploy/local/test`: what the tests need, then every ring of them. Continuous integration runs just this."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local import environments, processes
from deploy.local.engine import free_port
from deploy.local.engines_command import GEMMA3, GEMMA4_DOUBLE
from deploy.local.places import Places, python_of
from deploy.local.processes import Child
from deploy.local.progress import SetupError, Step
from deploy.local.supervision import supervised

RINGS = ("unit", "property", "helm", "images", "contract", "bench", "integration", "engine")
RINGS_WITHOUT_CLOCK = ("unit", "property", "helm", "images")  # run while the engines start
OPENAI_TESTS = "tests/contract/**/test_openai_python*.py"
FRAMEWORK_TESTS = "tests/contract/agents/frameworks/test_*.py"
PROVIDER_TESTS = "tests/contract/providers/test_*.py"
NODE_SUITES = ("tests/contract/node", "tests/contract/agents/node")
ENGINES_DEADLINE_S = 900.0
NO_TESTS = 5  # pytest's own status for it
# Commands and files that tests need, by ring, and the Debian packages that have them.
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
SYSTEM_TOOLS = {
    "contract": {"node": "nodejs", "npm": "npm"},
    "integration": {"redis-server": "redis-server", "nginx": "nginx", NGINX_STREAM: "libnginx-mod-stream"},
    "images": {"redis-server": "redis-server"},
    "helm": {"redis-server": "redis-server"},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of pytest; exit status 5, no test found, is a failure like any other."""

    ring: str
    status: int
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 only if every ring passed."""
    parser = argparse.ArgumentParser(
        prog="deploy/local/test",
        description="Install what the tests need and run them, ring by ring. Real engines start in the background "
        "while the first rings run.",
        epilog="GEMMA3_URL, GEMMA4_DOUBLE_URL: engines that run already (deploy/local/engines), instead of new ones. "
        "GEMMA_GATEWAY_HOME: where engine, weights and logs are kept (default ~/.cache/gemma-gateway).",
    )
    parser.add_argument("--ring", action="append", choices=RINGS, help="only this ring; may be repeated")
    parser.add_argument(
        "--full", action="store_true", help="more examples and seeds, which takes minutes (TESTS_FULL=1)"
    )
    options = parser.parse_args(arguments)
    rings = [ring for ring in RINGS if ring in (options.ring or RINGS)]
    if options.full:
        os.environ["TESTS_FULL"] = "1"
    places = Places.from_environment()
    return supervised(lambda children: _test(rings, places, children), interrupted=130)


def _test(rings: Sequence[str], places: Places, children: list[Child]) -> int:
    """Prepare, then run the rings in order. The rings that watch the clock wait until the engines have started."""
    announcement = places.home / f"engines-{os.getpid()}.env"
    announcement.unlink(missing_ok=True)
    with Step("test packages") as step:
        environments.development_environment(places, step)
    engines = _start_engines(rings, places, announcement)
    if engines is not None:
        children.append(engines)
    _prepare(rings, places)
    outcomes: list[Outcome] = []
    for ring in rings:
        if engines is not None and ring not in RINGS_WITHOUT_CLOCK:
            os.environ.update(_wait_for_engines(engines, announcement))
            engines = None
        outcomes.append(_run_ring(ring, f"tests/{ring}", places.gateway_venv, places, children))
        if ring == "contract":
            outcomes.append(_run_ring("contract, openai 2", OPENAI_TESTS, places.openai2_venv, places, children))
            outcomes.append(_run_ring("contract, agents", FRAMEWORK_TESTS, places.agents_venv, places, children))
            outcomes.append(_run_ring("contract, providers", PROVIDER_TESTS, places.providers_venv, places, children))
    announcement.unlink(missing_ok=True)
    return _report(outcomes)


def _start_engines(rings: Sequence[str], places: Places, announcement: Path) -> Child | None:
    """Install and start the real engines in the background, on ports of their own."""
    if "engine" not in rings or {GEMMA3.variable, GEMMA4_DOUBLE.variable} <= os.environ.keys():
        return None
    ports = ["--gemma3-port", str(free_port()), "--gemma4-port", str(free_port())]
    return processes.launch(
        "engines",
        [sys.executable, "-m", "deploy.local.engines_command", *ports, "--announce", announcement],
        log=places.logs / "engines.log",
        directory=places.checkout,
    )


def _wait_for_engines(engines: Child, announcement: Path) -> dict[str, str]:
    """The variables by which the engine ring finds the engines, as soon as both answer."""
    deadline = time.monotonic() + ENGINES_DEADLINE_S
    with Step("engines") as step:
        while not announcement.exists():
            if not engines.running or time.monotonic() > deadline:
                raise SetupError(f"The engines did not start.\n{engines.last_lines()}\nLog: {engines.log}")
            step.update(engines.last_lines(1).strip())
            time.sleep(0.5)
        step.ready("ready")
    return dict(line.split("=", 1) for line in announcement.read_text().splitlines())


def _prepare(rings: Sequence[str], places: Places) -> None:
    """What single rings need beyond the development environment."""
    _install_system_tools(rings, places)
    if {"helm", "engine"} & set(rings):
        with Step("helm") as step:
            environments.helm_environment(places, step)
    if "images" in rings:
        with Step("image tools") as step:
            environments.image_tools_environment(places, step)
    if "contract" in rings:
        with Step("openai 2") as step:
            environments.openai2_environment(places, step)
        with Step("agent frameworks") as step:
            environments.agents_environment(places, step)
        with Step("LiteLLM") as step:
            environments.providers_environment(places, step)
        with Step("node packages") as step:
            for suite in NODE_SUITES:
                install = ["npm", "ci", "--no-audit", "--no-fund"]
                _run(install, "npm", places, step, directory=places.checkout / suite)


def _install_system_tools(rings: Sequence[str], places: Places) -> None:
    """Debian packages that are missing, where we may install them; elsewhere the tests say what they miss."""
    tools = {command: package for ring in rings for command, package in SYSTEM_TOOLS.get(ring, {}).items()}
    missing = sorted({package for tool, package in tools.items() if not (Path(tool).exists() or shutil.which(tool))})
    if not missing:
        return
    with Step("system packages") as step:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise SetupError(f"Please install: {' '.join(missing)}")
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "update", "-qq"], "apt-update", places, step, environment=environment)
        _run(["apt-get", "install", "-y", "-qq", *missing], "apt-install", places, step, environment=environment)
        step.ready(f"installed {' '.join(missing)}")


def _run(
    command: Sequence[str],
    name: str,
    places: Places,
    step: Step,
    *,
    environment: dict[str, str] | None = None,
    directory: Path | None = None,
) -> None:
    log = places.logs / f"{name}.log"
    child = processes.launch(name, command, log=log, environment=environment, directory=directory)
    processes.run(child, on_poll=lambda _: step.update("installing"), failure=f"{' '.join(command)} failed:")


def _run_ring(title: str, pattern: str, venv: Path, places: Places, children: list[Child]) -> Outcome:
    """One pytest process over what `pattern` matches, its output on ours."""
    print(f"\n=== {title} ===", flush=True)
    started = time.monotonic()
    found = sorted(places.checkout.glob(pattern))
    if not found:
        print(f"no tests match {pattern}", flush=True)
        return Outcome(title, NO_TESTS, 0)
    child = processes.launch(title, [python_of(venv), "-m", "pytest", *found], log=None, directory=places.checkout)
    children.append(child)
    status = child.process.wait()
    processes.stop([child])
    return Outcome(title, status, time.monotonic() - started)


def _report(outcomes: Sequence[Outcome]) -> int:
    print()
    for outcome in outcomes:
        print(f"  {outcome.ring:<20} {'passed' if outcome.status == 0 else 'FAILED'} ({outcome.seconds:.0f} s)")
    return 0 if outcomes and all(outcome.status == 0 for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
