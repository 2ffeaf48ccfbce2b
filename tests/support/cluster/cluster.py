"""The control plane's part: Services, Deployments, endpoints, and a rolling restart."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from tests.support.fake_cluster import FakeCluster

from .plan import Object, Objects, WiringError, plan_pod
from .pods import Ended, Pod
from .service import HOST, ServiceProxy

_PROBE_INTERVAL_S = 0.1
_READY_DEADLINE_S = 60.0


class Cluster:
    """``with Cluster(objects) as cluster: … cluster.url(service)``. All pods are ready inside the block.

    `endpoint_lag_s` is the time that passes from the moment a pod is told to go until the Services know.
    """

    def __init__(self, objects: Objects, *, endpoint_lag_s: float = 0.0, api: FakeCluster | None = None) -> None:
        """`api`: an API server that is to have the Services' EndpointSlices."""
        self._objects = objects
        self._api = api
        self._lag_s = endpoint_lag_s
        self._stack = ExitStack()
        self._folder = Path()
        self._services: dict[str, tuple[Object, ServiceProxy]] = {}
        self._pods: list[Pod] = []
        self._leaving: dict[Pod, float] = {}
        """When the Services learn that a pod is going."""
        self._started = 0
        self._closing = threading.Event()
        self._controller = threading.Thread(target=self._control, name="endpoints", daemon=True)
        self._enders = ThreadPoolExecutor(max_workers=8, thread_name_prefix="end")
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._folder = Path(self._stack.enter_context(TemporaryDirectory(prefix="cluster-")))
        try:
            for service in self._objects.of_kind("Service"):
                proxy = self._stack.enter_context(ServiceProxy())
                self._services[service["metadata"]["name"]] = (service, proxy)
            for component in ("redis", "engine", "gateway"):
                for deployment in self._deployments(component):
                    for _ in range(deployment["spec"]["replicas"]):
                        self._start(deployment["spec"]["template"], deployment["metadata"]["name"])
            self._controller.start()
            self.wait_until(lambda: all(proxy.endpoints for _, proxy in self._services.values()), "Services have pods")
            self.wait_until(lambda: all(pod.ready for pod in self._pods), "pods are ready")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def url(self, service: str, port: int) -> str:
        """Where a Service is reached. Raises WiringError when it has no such port."""
        return f"http://{self._address(service, port)}"

    def pods(self, component: str) -> list[Pod]:
        """Those that are not leaving."""
        return [pod for pod in self._pods if pod.plan.component == component and not pod.leaving]

    def end(self, pod: Pod) -> Future[Ended]:
        """Deletes a pod: it is told to go now, and the Services learn of it after the lag."""
        self._leaving[pod] = time.monotonic() + self._lag_s
        pod.leaving = True
        return self._enders.submit(pod.end)

    def restart(self, component: str) -> list[Ended]:
        """A rolling restart, one more pod at a time and none less: a new one is ready before an old one goes."""
        ended: list[Future[Ended]] = []
        (deployment,) = self._deployments(component)
        strategy = deployment["spec"]["strategy"]["rollingUpdate"]
        if (strategy["maxSurge"], strategy["maxUnavailable"]) != (1, 0):
            raise WiringError(f"{component} would be restarted otherwise: {strategy}")
        for old in self.pods(component):
            new = self._start(deployment["spec"]["template"], deployment["metadata"]["name"])
            self.wait_until(lambda new=new: new.ready, f"{new.name} is ready")  # type: ignore[misc]  # bound early
            ended.append(self.end(old))
        return [each.result() for each in ended]

    def replace(self, old: Pod) -> Pod:
        """Start another pod of the same Deployment, and delete the old one when the new one is ready."""
        owner = old.name.rpartition("-")[0]
        (deployment,) = [each for each in self._objects.of_kind("Deployment") if each["metadata"]["name"] == owner]
        new = self._start(deployment["spec"]["template"], owner)
        self.wait_until(lambda: new.ready, f"{new.name} is ready")
        self.end(old).result()
        return new

    def run(self, pod: Object, timeout_s: float = 60.0) -> tuple[int, str]:
        """Runs a pod to its end: its exit status and its log."""
        started = self._start(pod, pod["metadata"]["name"])
        started.leaving = True
        status = started.wait(timeout_s)
        self._pods.remove(started)
        return status, started.log

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _READY_DEADLINE_S
        while not condition():
            if self._failure is not None:
                raise self._failure
            if time.monotonic() > deadline:
                logs = "\n".join(f"{pod.name}: ready={pod.ready}\n{pod.log[-1500:]}" for pod in self._pods)
                raise TimeoutError(f"waited in vain until {what}\n{logs}")
            time.sleep(0.02)

    @property
    def refused(self) -> Mapping[str, int]:
        """Connections that each Service had to refuse."""
        return {name: proxy.refused for name, (_, proxy) in self._services.items()}

    def endpoints(self, service: str) -> tuple[int, ...]:
        """The ports of a Service's ready pods."""
        return self._services[service][1].endpoints

    def _deployments(self, component: str) -> list[Object]:
        found = self._objects.of_kind("Deployment")
        return [each for each in found if each["metadata"]["labels"]["app.kubernetes.io/component"] == component]

    def _start(self, template: Object, owner: str) -> Pod:
        self._started += 1
        name = f"{owner}-{self._started}"
        folder = self._folder / name
        folder.mkdir()
        pod = Pod(plan_pod(template, name, self._objects, folder, self._address), folder)
        self._pods.append(pod)
        return pod

    def _address(self, service: str, port: int) -> str:
        if service not in self._services:
            raise WiringError(f"no Service {service}")
        found, proxy = self._services[service]
        if port not in (each["port"] for each in found["spec"]["ports"]):
            raise WiringError(f"the Service {service} has no port {port}")
        return f"{HOST}:{proxy.port}"

    def _control(self) -> None:
        """Probe the pods and keep the Services' endpoints, until the cluster is closed."""
        while not self._closing.wait(_PROBE_INTERVAL_S):
            try:
                for pod in [pod for pod in self._pods if not pod.leaving]:
                    pod.probe()
                for service, proxy in self._services.values():
                    pods = [pod for pod in self._pods if self._is_endpoint(pod, service)]
                    proxy.use([pod.port for pod in pods])
                    if self._api is not None:
                        self._slice(self._api, service["metadata"]["name"], pods)
            except (AssertionError, WiringError) as failure:
                self._failure = failure
                return

    def _slice(self, api: FakeCluster, service: str, pods: list[Pod]) -> None:
        """Keep a slice for each pod: a slice has one port, and pods differ by it here."""
        wanted = {f"{service}-{pod.port}": pod.port for pod in pods}
        for name in api.names(service) - wanted.keys():
            api.delete(name)
        for name in wanted.keys() - api.names(service):
            api.put(name, [HOST], port=wanted[name], service=service)

    def _is_endpoint(self, pod: Pod, service: Object) -> bool:
        if not (pod.ready and pod.matches(service["spec"]["selector"])):
            return False
        if pod.leaving and time.monotonic() >= self._leaving.get(pod, 0.0):
            return False
        return all(pod.serves(each["targetPort"]) for each in service["spec"]["ports"])

    def _close(self) -> None:
        self._closing.set()
        if self._controller.ident is not None:
            self._controller.join()
        for pod in self._pods:
            pod.kill()
        self._enders.shutdown()
        self._stack.close()
