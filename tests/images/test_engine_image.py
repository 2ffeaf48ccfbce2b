"""The CPU engine's image, built step by step without Docker; its packages take minutes, so only with `--full`."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from deploy.local.places import Places
from tests.support.image_build import build_stage, read_dockerfile, stage_environment

DOCKERFILE = Places.from_environment().checkout / "deploy" / "docker" / "engine-cpu.Dockerfile"
BUILD, FINAL = read_dockerfile(DOCKERFILE)[1]
WITHOUT_ROOT = ("unshare", "--user", "--map-user=65532", "--map-group=65532", "--")

pytestmark = pytest.mark.skipif("TESTS_FULL" not in os.environ, reason="installs vLLM again: deploy/local/test --full")


def test_it_has_a_vllm_that_runs(context: Path) -> None:
    """Every step runs; then the image's ENTRYPOINT starts as a user whom no file of it belongs to."""
    folder = Path(tempfile.mkdtemp(prefix="engine-image-"))
    try:
        folder.chmod(0o755)
        prefix = folder / "opt" / "engine"
        prefix.parent.mkdir()
        arguments = {"PREFIX": str(prefix)}
        built = build_stage(BUILD, context, folder / "build", arguments)
        path = {"PATH": os.environ["PATH"]}
        environment = stage_environment(FINAL, path, arguments) | {"PATH": f"{prefix}/bin:{os.environ['PATH']}"}
        assert "gcc" not in built.output
        program, *command = json.loads(FINAL.one("ENTRYPOINT").argument)
        told = subprocess.run(
            [*WITHOUT_ROOT, prefix / "bin" / program, *command, "--help"],
            cwd="/",
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert told.returncode == 0, told.stderr[-3000:]
        assert "usage: vllm serve" in told.stdout
    finally:
        shutil.rmtree(folder)
