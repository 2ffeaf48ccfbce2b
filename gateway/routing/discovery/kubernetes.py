"""Asking a Kubernetes API server for the endpoints of a Service: the connection, the token, the patience.

What is asked and what the answers mean is decided in `slices.py`. Whatever goes wrong here, the endpoints known before
stay in use: an API server that is away must not take the workers with it.
"""

import asyncio
import contextlib
import json
import logging
import random
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2

from gateway.config.model import KubernetesService
from gateway.routing.discovery.endpoint import Endpoint, Publish
from gateway.routing.discovery.slices import ListRequest, SliceFeed

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a Pod finds its service account's token, namespace and the cluster's CA."""
IN_CLUSTER: Final = "https://kubernetes.default.svc"
RELIST_S: Final = 60.0
"""A change that the server never told is found out after this long."""
LIST_TIMEOUT_S: Final = 10.0
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
SETTLED_S: Final = 5.0
"""A list and watch that have lasted so long end a row of failures."""
MAX_LIST_BYTES: Final = 64 * 1024 * 1024
_GONE: Final = 410

logger = logging.getLogger("gateway.discovery")


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How the API server is reached."""

    url: str = IN_CLUSTER
    account: Path | None = ACCOUNT
    """Folder of a service account; None: neither token nor CA, as behind `kubectl proxy`."""

    @classmethod
    def of(cls, settings: KubernetesService) -> "ClusterAccess":
        """Return what the configuration says: the cluster that this Pod is in, or a proxy's URL."""
        return cls() if settings.api is None else cls(settings.api, None)

    def headers(self) -> dict[str, str]:
        """Return the token, read anew each time: the kubelet replaces it every hour. Raises OSError."""
        if self.account is None:
            return {}
        token = (self.account / "token").read_text(encoding="ascii").strip()
        return {"authorization": f"Bearer {token}"}

    def namespace(self) -> str:
        """Return the Pod's own namespace."""
        if self.account is None:
            return "default"
        return (self.account / "namespace").read_text(encoding="ascii").strip()

    def tls(self) -> ssl.SSLContext:
        """Return what the server's certificate is checked with. Raises OSError without the account's CA."""
        if self.account is None:
            return ssl.create_default_context()
        return ssl.create_default_context(cafile=str(self.account / "ca.crt"))


class _RefusedError(Exception):
    """The API server answered with a status that is not 200."""

    def __init__(self, status: int, path: str, body: bytes) -> None:
        self.status = status
        hint = ": its service account may not list and watch endpointslices there" if status == 403 else ""
        super().__init__(f"{path} answered {status}{hint or _message(body)}")


class KubernetesSource:
    """Follows one Service; `run` never returns."""

    def __init__(
        self,
        settings: KubernetesService,
        access: ClusterAccess,
        publish: Publish,
        *,
        rng: random.Random,
        relist_s: float = RELIST_S,
    ) -> None:
        self._settings = settings
        self._access = access
        self._publish = publish
        self._rng = rng
        self._relist_s = relist_s
        self._feed = SliceFeed(settings.port)
        self._told: frozenset[Endpoint] | None = None
        self.problem = "the API server was not asked yet"
        """What keeps it from knowing; empty when all is well."""

    async def run(self) -> None:
        """List and watch until cancelled."""
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            began = loop.time()
            try:
                async with await self._client() as http:
                    await self._cycle(http)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, _RefusedError) as error:
                self._note(f"{error}" or type(error).__name__)
            if loop.time() - began > SETTLED_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s * (0.5 + self._rng.random()))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _client(self) -> httpx2.AsyncClient:
        tls = await asyncio.to_thread(self._access.tls)
        return httpx2.AsyncClient(base_url=self._access.url, verify=tls, timeout=LIST_TIMEOUT_S, trust_env=False)

    async def _cycle(self, http: httpx2.AsyncClient) -> None:
        """List all slices, then watch until it is time to list again, or the watch is of no use any more."""
        path = await asyncio.to_thread(self._path)
        while isinstance(request := self._feed.request, ListRequest):
            await self._list(http, path, request)
        self._tell()
        self._note("")
        loop = asyncio.get_running_loop()
        until = loop.time() + self._relist_s * (0.9 + 0.2 * self._rng.random())
        try:
            async with asyncio.timeout_at(until):
                while not isinstance(self._feed.request, ListRequest):
                    await self._watch(http, path, self._feed.request.resource_version)
        except TimeoutError:
            pass  # of the whole cycle: time to list again
        finally:
            self._feed.relist()

    async def _list(self, http: httpx2.AsyncClient, path: str, request: ListRequest) -> None:
        parameters = {"labelSelector": self._selector, "limit": str(request.limit), "continue": request.continue_token}
        chosen = {name: value for name, value in parameters.items() if value not in ("", "0")}
        async with http.stream("GET", path, params=chosen, headers=self._access.headers()) as reply:
            body = bytearray()
            async for piece in reply.aiter_bytes():
                body += piece
                if len(body) > MAX_LIST_BYTES:
                    raise ValueError(f"{path} answered more than {MAX_LIST_BYTES} bytes")
        if reply.status_code == _GONE and request.continue_token:
            self._feed.expired()
        elif reply.status_code != 200:
            raise _RefusedError(reply.status_code, path, bytes(body))
        else:
            self._feed.take_page(bytes(body))

    async def _watch(self, http: httpx2.AsyncClient, path: str, version: str) -> None:
        """Follow one watch to its end, which the server may set at any time."""
        parameters = {
            "labelSelector": self._selector,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(max(1, round(2 * self._relist_s))),
        }
        timeout = httpx2.Timeout(LIST_TIMEOUT_S, read=None)  # the whole cycle has its end
        heard = False
        headers = self._access.headers()
        async with http.stream("GET", path, params=parameters, headers=headers, timeout=timeout) as reply:
            if reply.status_code == _GONE:
                self._feed.expired()
                return
            if reply.status_code != 200:
                raise _RefusedError(reply.status_code, path, (await reply.aread())[:10_000])
            with contextlib.suppress(httpx2.ReadError, httpx2.RemoteProtocolError):  # cut off: an end like others
                async for piece in reply.aiter_bytes():
                    heard = True
                    self._feed.feed(piece)
                    self._tell()
                    if isinstance(self._feed.request, ListRequest):
                        return
        self._feed.finish()
        if not heard:
            await asyncio.sleep(FIRST_PAUSE_S)

    @property
    def _selector(self) -> str:
        return f"kubernetes.io/service-name={self._settings.service}"

    def _path(self) -> str:
        namespace = self._settings.namespace or self._access.namespace()
        return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"

    def _tell(self) -> None:
        """Publish the endpoints when they have changed, never before the first list is complete."""
        if not self._feed.synced:
            return
        endpoints = self._feed.endpoints
        if endpoints != self._told:
            self._told = endpoints
            self._publish(endpoints)

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            logger.warning("discovery of the Kubernetes Service %s: %s", self._settings.service, problem)
        elif self.problem and not problem:
            logger.info("discovery of the Kubernetes Service %s works", self._settings.service)
        self.problem = problem


def _message(body: bytes) -> str:
    """Return the reason that a Status object gives."""
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {str(message)[:200]}"
