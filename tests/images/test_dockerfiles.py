"""What every image of ours keeps to, read from the Dockerfiles."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from deploy.local.places import Places
from tests.support.image_build import Stage, read_dockerfile

FOLDER = Places.from_environment().checkout / "deploy" / "docker"
DOCKERFILES = sorted(FOLDER.glob("*.Dockerfile"))
PINNED = re.compile(r"[a-z0-9.]+(?:/[a-z0-9._-]+)+:[\w.-]+@sha256:[0-9a-f]{64}")

pytestmark = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def final_stage(path: Path) -> Stage:
    return read_dockerfile(path)[1][-1]


def lint(hadolint: Path, path: Path) -> str:
    ran = subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


def test_hadolint_has_nothing_to_say(path: Path, hadolint: Path) -> None:
    """Its rules, and ShellCheck's for the RUN steps."""
    assert lint(hadolint, path) == ""


def test_hadolint_would_say_it(path: Path, hadolint: Path, tmp_path: Path) -> None:
    """The linter is awake: it objects to the same file with a careless step."""
    careless = tmp_path / path.name
    careless.write_text(path.read_text() + "\nUSER root\nRUN cd /tmp && pip install requests && echo $HOME/*\n")
    assert {"DL3042", "DL3013", "DL3003"} <= set(re.findall(r"DL\d+", lint(hadolint, careless)))


def test_bases_are_pinned(path: Path) -> None:
    """Every stage begins from a tag and the digest behind it, by an argument that a build can replace."""
    arguments, stages = read_dockerfile(path)
    assert arguments.keys() == {"PYTHON_IMAGE"}
    assert all(PINNED.fullmatch(stage.base) for stage in stages)


def test_nobody_is_root(path: Path) -> None:
    """By number, so that Kubernetes can tell; and the last one who is set."""
    users = [each.argument for each in final_stage(path).all("USER")]
    assert users == ["65532:65532"]


def test_the_program_gets_the_signals(path: Path) -> None:
    """Exec form: no shell stands between the container's runtime and the program."""
    stage = final_stage(path)
    assert isinstance(json.loads(stage.one("ENTRYPOINT").argument), list)
    for each in stage.all("CMD"):
        assert isinstance(json.loads(each.argument), list)
    assert stage.one("STOPSIGNAL").argument == "SIGTERM"


def test_it_can_be_asked_how_it_is(path: Path) -> None:
    """A HEALTHCHECK in exec form, with a deadline."""
    check = final_stage(path).one("HEALTHCHECK")
    assert {"interval", "timeout", "start-period"} <= check.flags.keys()
    assert isinstance(json.loads(check.argument.removeprefix("CMD").strip()), list)


def test_it_says_what_it_is(path: Path) -> None:
    """Labels of the OCI's annotations."""
    labels = " ".join(each.argument for each in final_stage(path).all("LABEL"))
    found = set(re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", labels))
    assert {"title", "licenses", "version", "revision", "base.name"} <= found


def test_nothing_is_built_in_the_final_stage(path: Path) -> None:
    """What compiles or downloads Python packages happens in a stage that is thrown away."""
    steps = " ".join(each.argument for each in final_stage(path).all("RUN"))
    assert not re.search(r"\b(pip|gcc|g\+\+|build-essential|curl|wget)\b", steps)


def test_packages_come_by_hash(path: Path) -> None:
    """Every pip install names hashes, or installs what the build itself made, and compiles nothing."""
    steps = [step.argument for stage in read_dockerfile(path)[1] for step in stage.all("RUN")]
    installs = [part for step in steps for part in step.split("&&") if re.search(r"\bpip\b.* install\b", part)]
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-index" in install, install
        assert "--only-binary :all:" in install or "--no-index" in install, install
