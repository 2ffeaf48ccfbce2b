"""`deploy/local/train-tool-adapter`: make the committed adapter anew, or another one."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.local import engine, environments, processes, weights
from deploy.local.places import Places, python_of
from deploy.local.processes import Child
from deploy.local.progress import SetupError, Step
from deploy.local.supervision import supervised

TEST_PROMPTS = Path("tests", "data", "tool_adapter_prompts.yaml")
"""What the adapter is asked by its test: no word of it is drawn for the training."""

_TRAINING = ("rank", "rate", "seed", "threads", "minutes", "start", "average")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 when the adapter is written."""
    parser = argparse.ArgumentParser(
        prog="deploy/local/train-tool-adapter",
        description="Train a LoRA adapter with which Gemma 3 270M calls tools, on synthetic dialogues whose prompts "
        "the gateway's own dialect writes. No GPU: 6 GB of memory, and 5 seconds a step on two "
        "cores, so two hours by default.",
        epilog="tests/engine/test_tool_adapter.py measures the result: deploy/local/test --full --ring engine.",
    )
    parser.add_argument("--output", type=Path, help="where to write it (default: over the committed one)")
    parser.add_argument("--steps", type=int, default=1400, help="(default %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="dialogues a step (default %(default)s)")
    parser.add_argument("--rank", type=int, default=8, help="of the adapter; 8 makes 4 MB (default %(default)s)")
    parser.add_argument("--rate", type=float, default=1.2e-3, help="the highest learning rate (default %(default)s)")
    parser.add_argument("--minutes", type=float, help="end after this time, however many steps that is")
    parser.add_argument("--start", type=lambda text: Path(text).resolve(), help="an adapter to go on with")
    parser.add_argument(
        "--average", type=float, metavar="SHARE", help="with --start: of the new weights, the rest is the old ones'"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the dialogues and the weights (default %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="1 where other work runs (default %(default)s)"
    )
    options = parser.parse_args(arguments)
    return supervised(lambda children: _train(options, Places.from_environment(), children), interrupted=130)


def _train(options: argparse.Namespace, places: Places, children: list[Child]) -> int:
    """Prepare the engine's environment and weights, then train in a process that has PEFT besides."""
    with Step("gateway packages") as step:
        environments.gateway_environment(places, step)
    with Step("engine packages") as step:
        venv = engine.install(places, step, gpu=False)
    with Step("weights") as step:
        checkpoint = weights.packaged_gemma(places, venv, step)
    if checkpoint.template is None:
        raise SetupError("The packaged Gemma has no chat template.")
    output = (options.output or places.adapters / weights.TOOLS_MODEL).resolve()
    with tempfile.TemporaryDirectory(dir=places.home, prefix="training-") as folder:
        packages, dialogues = Path(folder, "packages"), Path(folder, "dialogues.jsonl")
        with Step("training packages") as step:
            _install_peft(packages, venv, places, step)
        with Step("dialogues") as step:
            _write_dialogues(dialogues, checkpoint, options, places, step)
        child = processes.launch(
            "training",
            [
                *(python_of(venv), "-m", "deploy.local.adapter_training"),
                *("--model", checkpoint.directory, "--template", checkpoint.template),
                *("--dialogues", dialogues, "--output", output),
                *_given(options),
            ],
            log=None,
            environment={"PYTHONPATH": str(packages), "HF_HUB_OFFLINE": "1"},
            directory=places.checkout,
        )
        children.append(child)
        return child.process.wait()


def _given(options: argparse.Namespace) -> list[str]:
    """What the training itself is told, of what was said here."""
    values = {name: getattr(options, name) for name in _TRAINING}
    return [part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))]


def _write_dialogues(
    file: Path, checkpoint: weights.Checkpoint, options: argparse.Namespace, places: Places, step: Step
) -> None:
    """In the gateway's environment, since the gateway's dialect writes the prompts."""
    command: list[str | Path] = [
        python_of(places.gateway_venv),
        "-m",
        "deploy.local.tool_messages",
        "--groups",
        str(options.steps),
    ]
    command += ["--size", str(options.batch), "--seed", str(options.seed), "--output", file]
    command += ["--tokenizer", checkpoint.directory / "tokenizer.json", "--held-out", places.checkout / TEST_PROMPTS]
    child = processes.launch("dialogues", command, log=places.logs / "dialogues.log", directory=places.checkout)
    processes.run(child, on_poll=lambda _: step.update("writing"), failure="Writing the dialogues failed:")


def _install_peft(target: Path, venv: Path, places: Places, step: Step) -> None:
    lock = places.locks / "training.lock"
    arguments = ["--require-hashes", "--no-deps", "--target", str(target), "--requirement", str(lock)]
    environments.install(venv, arguments, places=places, step=step)


if __name__ == "__main__":
    sys.exit(main())
