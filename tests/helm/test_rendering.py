"""Every example renders into objects that Kubernetes and the gateway accept."""

from pathlib import Path

import pytest

from gateway.config.load import parse_settings
from gateway.routing.catalog import VARIANTS
from tests.support.helm_chart import CHART, EXAMPLES, kubernetes_problems, kubernetes_versions, render, run_helm

OLDEST, NEWEST = "1.30", max(kubernetes_versions(), key=lambda version: tuple(map(int, version.split("."))))

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


@each_example
def test_helm_lints_it(example: Path) -> None:
    """Warnings count."""
    run_helm("lint", "--strict", str(CHART), "--values", str(example))


@each_example
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_accepts_it(example: Path, version: str) -> None:
    """By the schemas of the oldest and the newest Kubernetes, unknown fields refused."""
    problems = [kubernetes_problems(item, version) for item in render(example).objects]
    assert [problem for found in problems if found for problem in found] == []


@each_example
def test_the_gateway_accepts_its_file(example: Path) -> None:
    """Every variable that the file names is set, as the Secret would."""
    rendering = render(example)
    settings = parse_settings(rendering.gateway_file, {"GATEWAY_API_KEY": "gk-example-0123456789"}, VARIANTS)
    assert settings.server.host == "0.0.0.0"
