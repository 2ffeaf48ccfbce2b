"""The kubelet's part: a pod as a process that is started, probed, and ended as Kubernetes ends it."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .plan import PodPlan, Probe, WiringError
from .service import HOST

_PROBE_TIMEOUT_S = 1.0
_SIM_WORKER = (sys.executable, "-m", "tests.support.sim_worker")
_CHECKOUT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a pod went: its exit status, and whether it had to be killed when the grace was over."""

    status: int
    killed: bool
    log: str


class Pod:
    """A running pod. Its port is another one than in the container: pods share the loopback address."""

    def __init__(self, plan: PodPlan, folder: Path) -> None:
        self.plan = plan
        self.ready = False
        self.leaving = False
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port: int = probe.getsockname()[1]
        self._log = folder / "log"
        command = _command(plan, self.port, folder)
        programs = Path(sys.executable).parent
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env={**plan.environment, "PATH": f"{programs}:{os.environ['PATH']}"},
                cwd=_CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self._process.pid

    def matches(self, selector: dict[str, str]) -> bool:
        return selector.items() <= dict(self.plan.labels).items()

    def serves(self, target: str | int) -> bool:
        """Whether a Service's `targetPort` is one of the container's ports, by name or by number."""
        return target in self.plan.ports or target in self.plan.ports.values()

    def probe(self) -> None:
        """Asks the readiness probe once. Raises AssertionError with the log when the process has ended by itself."""
        if self._process.poll() is not None and not self.leaving:
            raise AssertionError(f"{self.name} ended with {self._process.returncode}:\n{self.log[-4000:]}")
        if self.plan.readiness is None:
            self.ready = True
            return
        if not self.serves(self.plan.readiness.port):
            raise WiringError(f"{self.name}: the probe asks port {self.plan.readiness.port}, which it doesn't have")
        self.ready = _answers(self.plan.readiness, self.port)

    def end(self) -> Ended:
        """preStop, SIGTERM, and SIGKILL when the grace, which preStop is part of, is over."""
        began = time.monotonic()
        time.sleep(self.plan.pre_stop_s)
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(max(began + self.plan.grace_s - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            self.kill()
            return Ended(self._process.returncode, killed=True, log=self.log)
        return Ended(status, killed=False, log=self.log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self, timeout_s: float) -> int:
        """Of a pod that runs to its end."""
        return self._process.wait(timeout_s)


def _command(plan: PodPlan, port: int, folder: Path) -> list[str]:
    """The pod's own command, told its port on the loopback address; an engine's becomes a simulated worker's."""
    match plan.component:
        case "gateway":
            return [*plan.command, "--host", HOST, "--port", str(port)]
        case "engine":
            return [*_SIM_WORKER, "--port", str(port), *_simulated(plan)]
        case "redis":
            for file in folder.glob("*/redis.conf"):
                file.write_text(f"{file.read_text()}\nport {port}\nbind {HOST}\n")
            return plan.command
        case _:
            return plan.command


def _simulated(plan: PodPlan) -> list[str]:
    """What a simulated worker takes from the arguments of `vllm serve`."""
    flags = dict(zip(plan.command, [*plan.command[1:], ""], strict=True))
    if plan.command[:2] != ["vllm", "serve"] or "--served-model-name" not in flags:
        raise WiringError(f"{plan.name}: not a `vllm serve` with a name: {plan.command}")
    arguments = ["--model", flags["--served-model-name"]]
    if flags.get("--max-model-len", "auto").isdecimal():
        arguments += ["--max-model-len", flags["--max-model-len"]]
    if "VLLM_API_KEY" in plan.environment:
        arguments += ["--api-key-env", "VLLM_API_KEY"]
    return arguments


def _answers(probe: Probe, port: int) -> bool:
    if probe.path is None:
        try:
            socket.create_connection((HOST, port), _PROBE_TIMEOUT_S).close()
        except OSError:
            return False
        return True
    connection = http.client.HTTPConnection(HOST, port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", probe.path, headers={"connection": "close"})
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
