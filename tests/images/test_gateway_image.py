"""The gateway's image, built step by step without Docker, then run as a container would run it."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.engine import answers, free_port
from deploy.local.places import Places
from tests.support.gateway_view import wait_for
from tests.support.image_build import Built, build_stage, confined, read_dockerfile, stage_environment

DOCKERFILE = Places.from_environment().checkout / "deploy" / "docker" / "gateway.Dockerfile"
BUILD, FINAL = read_dockerfile(DOCKERFILE)[1]
NOBODY = "65532"
CONFIG = """
models: [{name: google/gemma-3-4b-it, workers: [{url: "http://127.0.0.1:9"}]}]
tenants: [{id: acme, keys: [{id: acme, secret: "${ACME_KEY}"}]}]
"""


@dataclass(frozen=True, slots=True)
class Image:
    """What the final stage holds of ours: `prefix` is where the build put it."""

    prefix: Path
    build: Built
    environment: dict[str, str]

    @property
    def site_packages(self) -> Path:
        (found,) = self.prefix.glob("lib/python3*/site-packages")
        return found


def build(context: Path, folder: Path) -> Image:
    prefix = folder / "opt" / "gateway"
    prefix.parent.mkdir(exist_ok=True)
    arguments = {"PREFIX": str(prefix)}
    built = build_stage(BUILD, context, folder / "build", arguments)
    path = {"PATH": os.environ["PATH"]}
    environment = stage_environment(FINAL, {**path, "HOME": "/nonexistent", "TMPDIR": "/nonexistent"}, arguments)
    return Image(prefix, built, environment | {"PATH": f"{prefix}/bin:{os.environ['PATH']}"})


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that everybody may read, as an image is: pytest's own are closed to other users."""
    path = Path(tempfile.mkdtemp(prefix="gateway-image-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def image(context: Path, folder: Path) -> Image:
    return build(context, folder)


def start(image: Image, port: int, config: Path) -> subprocess.Popen[bytes]:
    """ENTRYPOINT and CMD, confined as a container is."""
    command = json.loads(FINAL.one("CMD").argument)
    assert command[command.index("--port") + 1] == "8080"
    command[command.index("--config") + 1] = str(config)
    command[command.index("--port") + 1] = str(port)
    program = image.prefix / "bin" / json.loads(FINAL.one("ENTRYPOINT").argument)[0]
    return subprocess.Popen(
        confined([program, *command]),
        cwd="/",
        env={**image.environment, "ACME_KEY": "test-key-0123456789"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def uids(process: subprocess.Popen[bytes]) -> str:
    """Inside its own user namespace, which is the innermost of those that a confined process lives in."""
    return Path(f"/proc/{process.pid}/uid_map").read_text().split()[0]


def healthy(image: Image, port: int) -> bool:
    """The image's own HEALTHCHECK."""
    (program,) = json.loads(FINAL.one("HEALTHCHECK").argument.removeprefix("CMD").strip())
    return subprocess.run([program, str(port)], env=image.environment, capture_output=True, check=False).returncode == 0


def test_it_serves_and_drains(image: Image, folder: Path) -> None:
    """Without root, without a home, with nothing it may write to: it serves, is found healthy, and ends with 0."""
    config = folder / "gateway.yaml"
    config.write_text(CONFIG)
    before = digest_of(image.prefix)
    port = free_port()
    process = start(image, port, config)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/healthz") or process.poll() is not None, "it serves", 30)
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert healthy(image, port)
        assert os.geteuid() != 0 or uids(process) == NOBODY
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        output = process.communicate()[0].decode()
    assert f"gateway ready on http://0.0.0.0:{port}" in output
    assert "test-key" not in output
    assert digest_of(image.prefix) == before


def test_nobody_answers(image: Image) -> None:
    """The HEALTHCHECK says so when the gateway is gone, and when something else answers with an error."""
    assert not healthy(image, free_port())


def test_only_what_the_lock_names_is_in_it(image: Image) -> None:
    """The installed packages are the lock's, and the gateway: no LiteLLM, no vLLM, no build tools, no pip."""
    lock = (DOCKERFILE.parents[2] / "requirements.lock").read_text()
    named = {line.split("==")[0] for line in lock.splitlines() if "==" in line}
    found = {path.name.split("-")[0].replace("_", "-").lower() for path in image.site_packages.glob("*.dist-info")}
    assert found - named == {"gemma-gateway"}
    assert named - found <= {"async-timeout", "colorama", "httpx2-jsfetch", "typing-extensions"}, (
        "markers of a platform"
    )


def test_no_compiler_ran(image: Image) -> None:
    """Every dependency came as a wheel, for the other platform too."""
    assert "Building wheel for gemma-gateway" in image.build.output or "Building wheels" in image.build.output
    assert "Running setup.py" not in image.build.output
    assert "gcc" not in image.build.output


def test_python_need_not_write(image: Image) -> None:
    """Every module is compiled already, checked by content and not by a time stamp that a layer may change."""
    for source in image.site_packages.rglob("*.py"):
        compiled = list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc"))
        assert compiled, f"{source} is not compiled"
        assert compiled[0].read_bytes()[4:8] == b"\x01\x00\x00\x00", f"{compiled[0]} is checked by its time stamp"


def test_the_wheel_is_the_same_again(image: Image) -> None:
    """Built a second time, later, the gateway's wheel has the same bytes."""
    (step,) = [each for each in BUILD.all("RUN") if " wheel " in each.argument]
    (wheel,) = (image.build.workdir / "dist").glob("*.whl")
    first = wheel.read_bytes()
    time.sleep(2.1)  # time stamps in a wheel have steps of two seconds
    command = step.argument.split("&&")[0]
    subprocess.run(["/bin/sh", "-c", command], env=image.build.environment, cwd=image.build.workdir, check=True)
    assert wheel.read_bytes() == first


@pytest.mark.skipif("TESTS_FULL" not in os.environ, reason="builds the whole image again: deploy/local/test --full")
def test_the_image_is_the_same_again(image: Image, context: Path, folder: Path) -> None:
    """A second build from the same commit and locks has the same files with the same bytes."""
    first = digest_of(image.prefix)
    kept = image.prefix.rename(folder / "first")
    shutil.rmtree(folder / "build")
    shutil.rmtree(folder / "home")
    assert digest_of(build(context, folder).prefix) == first
    shutil.rmtree(kept)


def test_litellm_only_when_asked(image: Image, context: Path, folder: Path) -> None:
    """`--build-arg PROVIDERS=1` runs the step that installs it; without, the step does nothing."""
    (step,) = [each for each in BUILD.all("RUN") if "PROVIDERS" in each.argument]
    calls = folder / "calls"
    calls.mkdir()
    pip = calls / "pip"
    pip.write_text('#!/bin/sh\necho "$@" >>"$0.log"\n')
    pip.chmod(0o755)
    for providers in ("0", "1"):
        environment = {**image.build.environment, "PROVIDERS": providers, "PATH": f"{calls}:{os.environ['PATH']}"}
        subprocess.run(["/bin/sh", "-c", step.argument], env=environment, cwd=context, check=True)
        assert pip.with_suffix(".log").exists() is (providers == "1")
    (call,) = pip.with_suffix(".log").read_text().splitlines()
    lock = call.split("--requirement ")[1]
    assert "litellm==" in (context / "deploy" / "local" / lock).read_text()


def digest_of(tree: Path) -> dict[str, str]:
    """Every file below `tree` with the hash of its bytes and its mode; links with their targets."""
    return {
        str(path.relative_to(tree)): str(path.readlink())
        if path.is_symlink()
        else f"{path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(tree.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
