"""The chart as helm renders it: objects to look into, the gateway's file in it, and Kubernetes' judgement of both.

helm itself and Kubernetes' schemas come from the environment that `deploy/local/test` makes; `HELM` names another helm.
"""

import functools
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import yaml

from deploy.local.places import Places

CHART: Final = Path(__file__).resolve().parents[2] / "helm" / "gemma-gateway"
EXAMPLES: Final = tuple(sorted((CHART / "examples").glob("*.yaml")))
PLACES: Final = Places.from_environment()
RELEASE: Final = "demo"

Object = dict[str, Any]


def helm() -> str:
    """The program. Raises AssertionError where there is none."""
    program = os.environ.get("HELM") or str(PLACES.helm_venv / "bin" / "helm")
    assert Path(program).exists(), f"no {program}: run `deploy/local/test --ring helm` once, or set HELM"
    return program


class HelmError(Exception):
    """helm refused; the text is what it wrote."""


def run_helm(*arguments: str, stdin: str = "") -> str:
    """What helm writes to its standard output. Raises HelmError."""
    done = subprocess.run([helm(), *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise HelmError(done.stderr)
    return done.stdout


@dataclass(frozen=True, slots=True)
class Rendering:
    """The objects of one release."""

    objects: tuple[Object, ...]

    def of_kind(self, kind: str) -> list[Object]:
        """Return all objects of a kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def get(self, kind: str, name: str) -> Object:
        """Return the object `demo-gemma-gateway{name}`. Raises KeyError."""
        full = f"{RELEASE}-gemma-gateway{name}"
        for item in self.of_kind(kind):
            if item["metadata"]["name"] == full:
                return item
        raise KeyError(f"no {kind} {full}; there are {[item['metadata']['name'] for item in self.of_kind(kind)]}")

    def has(self, kind: str) -> bool:
        """Tell whether there is any object of a kind."""
        return bool(self.of_kind(kind))

    @property
    def gateway_file(self) -> str:
        """The gateway's configuration file."""
        text: str = self.get("ConfigMap", "-config")["data"]["gateway.yaml"]
        return text

    def engines(self) -> list[Object]:
        """Return the pod templates that run `vllm serve`, whatever kind of object holds them."""
        return [pod for pod in self.pods() if pod["spec"]["containers"][0]["name"] == "engine"]

    def pods(self) -> Iterator[Object]:
        """Every pod, and every template of pods."""
        for item in self.objects:
            yield from _pods_in(item)


def _pods_in(item: Object) -> Iterator[Object]:
    if item["kind"] == "Pod":
        yield item
    elif item["kind"] == "LeaderWorkerSet":
        template = item["spec"]["leaderWorkerTemplate"]
        yield template["leaderTemplate"]
        yield template["workerTemplate"]
    elif "template" in item.get("spec", {}) and "spec" in item["spec"]["template"]:
        yield item["spec"]["template"]


def container(pod: Object, name: str | None = None) -> Object:
    """One container of a pod or template; the first one without a name."""
    found: Object = next(item for item in pod["spec"]["containers"] if name in (None, item["name"]))
    return found


def environment(item: Object) -> dict[str, Any]:
    """A container's variables: their values, or where they come from."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in item.get("env", [])}


def arguments_of(pod: Object) -> dict[str, str]:
    """The flags of `vllm serve` with their values; the checkpoint stands under ``""``."""
    arguments: Sequence[str] = container(pod)["args"]
    flags: dict[str, str] = {"": arguments[0]}
    for position, text in enumerate(arguments):
        if text.startswith("--"):
            following = arguments[position + 1 : position + 2]
            flags[text] = following[0] if following and not following[0].startswith("--") else ""
    return flags


def render(values: Mapping[str, Any] | Path, *flags: str) -> Rendering:
    """Render the chart with a file of values, or with values; one helm process for the same ones. Raises HelmError."""
    text = values.read_text() if isinstance(values, Path) else json.dumps(values)
    return _render(text, flags)


@functools.cache
def _render(values: str, flags: tuple[str, ...]) -> Rendering:
    text = run_helm("template", RELEASE, str(CHART), "--namespace", "gemma", "--values", "-", *flags, stdin=values)
    return Rendering(tuple(item for item in yaml.safe_load_all(text) if item))


@functools.cache
def kubernetes_versions() -> Mapping[str, Path]:
    """The folders with Kubernetes' schemas, by minor version such as ``1.34``, unknown fields refused."""
    folder = next(PLACES.helm_venv.glob("lib/python*/site-packages/kubernetes_validate/kubernetes-json-schema"))
    return {path.name[1:].rpartition(".")[0]: path for path in folder.glob("v*-local-strict")}


@functools.cache
def _kubernetes_validator(version: str, kind: str, api_version: str) -> jsonschema_rs.Draft7Validator | None:
    """The judge of one kind; None where this Kubernetes doesn't have it."""
    folder = kubernetes_versions()[version]
    group, _, name = api_version.rpartition("/")
    parts = [kind.lower(), *([group.split(".")[0]] if group else []), name]
    file = folder / ("-".join(parts) + ".json")
    if not file.exists():
        return None
    schema = json.loads(file.read_text().replace("_definitions.json#/", f"json-schema:///{version}#/"))
    definitions = _definitions(version)
    return jsonschema_rs.Draft7Validator(schema, retriever=lambda _uri: definitions)


@functools.cache
def _definitions(version: str) -> Any:
    return json.loads((kubernetes_versions()[version] / "_definitions.json").read_text())


def kubernetes_problems(item: Object, version: str) -> list[str] | None:
    """What Kubernetes of that version would refuse; None for an object that isn't Kubernetes' own."""
    validator = _kubernetes_validator(version, item["kind"], item["apiVersion"])
    if validator is None:
        return None
    name = f"{item['kind']}/{item['metadata']['name']}"
    return [f"{name} at {'.'.join(map(str, e.instance_path))}: {e.message}" for e in validator.iter_errors(item)]


CUSTOM: Final = Path(__file__).resolve().parents[1] / "helm" / "crds.yaml"


@functools.cache
def _custom_validators() -> Mapping[str, jsonschema_rs.Draft7Validator]:
    """By ``apiVersion kind``: the judge of a custom resource's `spec`."""
    schemas = yaml.safe_load(CUSTOM.read_text())
    return {name: jsonschema_rs.Draft7Validator(schema) for name, schema in schemas.items()}


def object_problems(item: Object, version: str) -> list[str]:
    """What the API server would refuse of an object, Kubernetes' own or a custom one. Raises KeyError for others."""
    problems = kubernetes_problems(item, version)
    if problems is not None:
        return problems
    validator = _custom_validators()[f"{item['apiVersion']} {item['kind']}"]
    return [
        f"{item['kind']} at {error.instance_path}: {error.message}" for error in validator.iter_errors(item["spec"])
    ]
