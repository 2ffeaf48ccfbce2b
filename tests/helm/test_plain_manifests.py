"""The manifests without Helm are the chart's, and the pages about platforms name commands that work."""

import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.support.helm_chart import kubernetes_problems, kubernetes_versions, run_helm

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "deploy" / "k8s"
MANIFESTS = FOLDER / "gemma-gateway.yaml"
PAGES = sorted(FOLDER.glob("*.md"))
PROGRAMS = {"docker", "export", "gcloud", "helm", "kubectl", "oc", "sudo"}


def commands(page: Path) -> list[list[str]]:
    blocks = re.findall(r"^```\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]


INSTALLS = [each for page in PAGES for each in commands(page) if each[:2] == ["helm", "install"]]


def test_they_are_what_the_chart_renders(tmp_path: Path) -> None:
    """`deploy/k8s/render` would change nothing."""
    again = tmp_path / "again.yaml"
    subprocess.run([FOLDER / "render", again], check=True)
    assert again.read_text() == MANIFESTS.read_text(), "run deploy/k8s/render and commit what it writes"


def test_kubernetes_accepts_them() -> None:
    """By the newest schemas, without a namespace of their own."""
    newest = max(kubernetes_versions(), key=lambda version: tuple(map(int, version.split("."))))
    objects = [each for each in yaml.safe_load_all(MANIFESTS.read_text()) if each]
    assert {"Deployment", "Service", "ConfigMap"} <= {each["kind"] for each in objects}
    assert [problem for each in objects for problem in kubernetes_problems(each, newest) or []] == []
    assert all("namespace" not in each["metadata"] for each in objects)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_files_that_are_there(page: Path) -> None:
    """Commands begin with a known program, and what they read exists."""
    for words in commands(page):
        assert words[0] in PROGRAMS, words
        for option, value in pairwise(words):
            if option in ("--values", "--filename"):
                assert (CHECKOUT / value).is_file(), value


@pytest.mark.parametrize("install", INSTALLS, ids=lambda words: "-".join(Path(word).stem for word in words[4:]))
def test_installs_render(install: list[str]) -> None:
    """Each `helm install` is one that the chart's schema and checks let through, under the name in the page."""
    arguments = [str(CHECKOUT / word) if (CHECKOUT / word).exists() else word for word in install[2:]]
    rendered = run_helm("template", *arguments)
    assert "name: gemma-gemma-gateway\n" in rendered
    if any("openshift" in word for word in install):
        assert not re.search(r"runAsUser|runAsGroup|fsGroup:", rendered)
