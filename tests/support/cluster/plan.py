"""From a rendered pod to what a process needs: command, environment, files, ports, probe and grace. Starts nothing."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Object = dict[str, Any]
Address = Callable[[str, int], str]
"""`host:port` where a Service's port is reached."""

_EXPANDED: Final = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_HOST_AND_PORT: Final = re.compile(r"(?<=[/@])([a-z0-9][a-z0-9.-]*):(\d+)(?![\w.])")
NAMESPACE: Final = "default"


class WiringError(Exception):
    """The objects don't fit together: a name that nothing has, a key that isn't there."""


class Objects:
    """What was rendered, and the Secrets that the chart expects to find."""

    def __init__(self, rendered: list[Object], secrets: Mapping[str, Mapping[str, str]]) -> None:
        self.rendered = rendered
        made = {each["metadata"]["name"]: each.get("stringData", {}) for each in self.of_kind("Secret")}
        self._secrets: dict[str, Mapping[str, str]] = {**made, **secrets}
        self._maps = {each["metadata"]["name"]: each.get("data", {}) for each in self.of_kind("ConfigMap")}

    def of_kind(self, kind: str) -> list[Object]:
        return [each for each in self.rendered if each["kind"] == kind]

    def secret(self, name: str) -> Mapping[str, str]:
        return _found(self._secrets, name, "Secret")

    def config_map(self, name: str) -> Mapping[str, str]:
        return _found(self._maps, name, "ConfigMap")


@dataclass(frozen=True, slots=True)
class Probe:
    """An HTTP GET, or only a connection when there is no path."""

    port: str | int
    path: str | None


@dataclass(frozen=True, slots=True)
class PodPlan:
    """One container, ready to be started."""

    name: str
    labels: Mapping[str, str]
    command: list[str]
    environment: dict[str, str]
    ports: Mapping[str, int]
    """Container ports by name."""
    readiness: Probe | None
    pre_stop_s: float
    grace_s: float

    @property
    def component(self) -> str:
        return self.labels["app.kubernetes.io/component"]


def plan_pod(pod: Object, name: str, objects: Objects, folder: Path, address: Address) -> PodPlan:
    """Mount the pod's volumes below `folder` and resolve everything. Raises WiringError.

    Paths of mounts become paths below `folder`, and Services' addresses those that `address` gives, in the command, the
    environment and the mounted files.
    """
    spec = pod["spec"]
    (container,) = spec["containers"]
    mounts = _mounts(container, spec.get("volumes", []), folder)
    places = {mount["mountPath"]: mounts[mount["name"]] for mount in container.get("volumeMounts", [])}

    longest_first = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
    mounted = re.compile(rf"(?<![\w.-])(?:{longest_first})(?![\w.-])" if places else r"(?!)")

    def placed(text: str) -> str:
        text = mounted.sub(lambda found: str(places[found[0]]), text)
        return _HOST_AND_PORT.sub(lambda found: _reached(found, address), text)

    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            for key, text in objects.config_map(volume["configMap"]["name"]).items():
                (mounts[volume["name"]] / key).write_text(placed(text))
    environment = _environment(container, name, objects)
    words = [*container.get("command", []), *container.get("args", [])]
    if not words:
        raise WiringError(f"{name}: the image's own command is not known here")
    lifecycle = container.get("lifecycle", {})
    return PodPlan(
        name=name,
        labels=pod["metadata"].get("labels", {}),
        command=[placed(_expanded(word, environment)) for word in words],
        environment={key: placed(value) for key, value in environment.items()},
        ports={each["name"]: each["containerPort"] for each in container.get("ports", [])},
        readiness=_probe(container.get("readinessProbe")),
        pre_stop_s=lifecycle.get("preStop", {}).get("sleep", {}).get("seconds", 0),
        grace_s=spec.get("terminationGracePeriodSeconds", 30),
    )


def _mounts(container: Object, volumes: list[Object], folder: Path) -> dict[str, Path]:
    """A folder for each volume. Raises WiringError for a mount of a volume that isn't there."""
    made: dict[str, Path] = {}
    for volume in volumes:
        made[volume["name"]] = folder / volume["name"]
        made[volume["name"]].mkdir()
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in made:
            raise WiringError(f"no volume {mount['name']} for {mount['mountPath']}")
    return made


def _environment(container: Object, name: str, objects: Objects) -> dict[str, str]:
    """`envFrom` first, then `env`, as the kubelet does."""
    environment: dict[str, str] = {"HOSTNAME": name}
    for source in container.get("envFrom", []):
        if "secretRef" in source:
            environment.update(objects.secret(source["secretRef"]["name"]))
        else:
            environment.update(objects.config_map(source["configMapRef"]["name"]))
    for entry in container.get("env", []):
        value = _value(entry, name, objects)
        if value is not None:
            environment[entry["name"]] = _expanded(value, environment)
    return environment


def _value(entry: Object, name: str, objects: Objects) -> str | None:
    """None for an optional key that isn't there."""
    if "valueFrom" not in entry:
        return str(entry.get("value", ""))
    ((kind, source),) = entry["valueFrom"].items()
    match kind:
        case "fieldRef":
            fields = {"metadata.name": name, "metadata.namespace": NAMESPACE, "status.podIP": "127.0.0.1"}
            return fields[source["fieldPath"]]
        case "secretKeyRef" | "configMapKeyRef":
            values = objects.secret(source["name"]) if kind == "secretKeyRef" else objects.config_map(source["name"])
            if source["key"] in values:
                return values[source["key"]]
            if source.get("optional"):
                return None
            raise WiringError(f"{entry['name']}: {source['name']} has no key {source['key']}")
        case _:
            raise WiringError(f"{entry['name']}: {kind} is not known here")


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)`; what isn't set stays as it is."""
    return _EXPANDED.sub(lambda found: environment.get(found[1], found[0]), text)


def _reached(found: re.Match[str], address: Address) -> str:
    """A Service's address, also by its long name; addresses of this machine stay."""
    host, port = found[1], int(found[2])
    if host in ("127.0.0.1", "localhost", "0.0.0.0"):
        return found[0]
    short, _, rest = host.partition(".")
    if rest not in ("", NAMESPACE, f"{NAMESPACE}.svc", f"{NAMESPACE}.svc.cluster.local"):
        raise WiringError(f"{host} is outside of this cluster")
    return address(short, port)


def _probe(given: Object | None) -> Probe | None:
    if given is None:
        return None
    if "httpGet" in given:
        return Probe(given["httpGet"]["port"], given["httpGet"]["path"])
    return Probe(given["tcpSocket"]["port"], None)


def _found(values: Mapping[str, Mapping[str, str]], name: str, kind: str) -> Mapping[str, str]:
    if name not in values:
        raise WiringError(f"no {kind} {name}")
    return values[name]
