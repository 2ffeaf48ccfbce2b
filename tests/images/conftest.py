"""The programs that judge images and Compose files, and the build's context as Docker would see it."""

from pathlib import Path

import pytest

from deploy.local.places import Places
from tests.support.image_build import build_context

PLACES = Places.from_environment()


def _tool(name: str) -> Path:
    path = PLACES.image_tools_venv / "bin" / name
    assert path.exists(), f"{path} is missing: deploy/local/test --ring images makes it"
    return path


@pytest.fixture(scope="session")
def hadolint() -> Path:
    """The Dockerfile linter."""
    return _tool("hadolint")


@pytest.fixture(scope="session")
def docker_compose() -> Path:
    """Docker Compose, whose `config` needs no engine: it checks against the schema and shows what would run."""
    return _tool("docker-compose")


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a build may copy."""
    target = tmp_path_factory.mktemp("context")
    build_context(PLACES.checkout, target)
    return target
