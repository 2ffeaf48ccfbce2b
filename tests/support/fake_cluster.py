"""The part of a Kubernetes API server that keeps EndpointSlices: lists in pages, watches, and what goes wrong there.

As the real one: every change has a version, a watch begins after one, and versions that are too old are answered with
410. Besides it can lose an event, forget its history, break its watches, answer nonsense or nothing at all.
"""

import json
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.slices import SERVICE, bookmark, endpoint_slice, event, gone, slice_list

SERVICE_LABEL = "kubernetes.io/service-name"
Trouble = Literal["none", "status 403", "status 410", "status 500", "nonsense", "silence"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    path: str
    query: dict[str, str]
    token: str

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query


class FakeCluster:
    """``with FakeCluster() as cluster: … cluster.url``; every method may be called from the test's thread."""

    def __init__(self, *, namespace: str = "default", certificate: Path | None = None) -> None:
        """`certificate`: a file with the server's, and its key, for TLS."""
        self.namespace = namespace
        self.page_size: int | None = None
        """Smaller pages than are asked for, which real servers may send."""
        self.asked: list[Asked] = []
        self.watches = 0
        """Open at the moment."""
        self.trouble: Trouble = "none"
        self.gone_in_stream = True
        """How a watch of a version that is too old is answered: by an event, or by the status 410."""
        self._slices: dict[str, dict[str, Any]] = {}
        self._version = 100
        self._events: list[tuple[int, str, bytes]] = []
        self._oldest = 100
        self._epoch = 0
        self._changed = threading.Condition()
        self._closing = False
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # the name that http.server calls
                cluster.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        scheme = "http"
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, name="fake-cluster", daemon=True)
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def put(
        self,
        name: str,
        addresses: Iterable[str],
        *,
        tell: bool = True,
        port: int = 8000,
        ready: bool = True,
        service: str = SERVICE,
    ) -> None:
        """Add or change a slice of a Service; without `tell` no watch hears of it."""
        with self._changed:
            self._version += 1
            item = endpoint_slice(name, addresses, version=self._version, port=port, ready=ready)
            item["metadata"]["labels"][SERVICE_LABEL] = service
            kind = "MODIFIED" if name in self._slices else "ADDED"
            self._slices[name] = item
            self._note(service, event(kind, item), tell)

    def names(self, service: str = SERVICE) -> set[str]:
        """The names of a Service's slices."""
        with self._changed:
            return {name for name, item in self._slices.items() if _service_of(item) == service}

    def delete(self, name: str, *, tell: bool = True) -> None:
        """Delete a slice; without `tell` the event is lost, as when a watch's connection breaks unseen."""
        with self._changed:
            self._version += 1
            item = self._slices.pop(name)
            item["metadata"]["resourceVersion"] = str(self._version)
            self._note(_service_of(item), event("DELETED", item), tell)

    def bookmark(self) -> None:
        """Move every watch's version on."""
        with self._changed:
            self._version += 1
            self._note("", bookmark(self._version), tell=True)

    def compact(self, *, in_stream: bool = True) -> None:
        """Forget all history and break all watches: those that come back are answered with 410."""
        with self._changed:
            self._version += 1
            self._events.clear()
            self._oldest = self._version
            self.gone_in_stream = in_stream
            self._epoch += 1
            self._changed.notify_all()

    def break_watches(self) -> None:
        """End all watches in the middle of their streams."""
        with self._changed:
            self._epoch += 1
            self._changed.notify_all()

    @property
    def lists(self) -> int:
        return sum(not asked.is_watch for asked in list(self.asked))

    def _note(self, service: str, line: bytes, tell: bool) -> None:
        """`service` empty: for the watches of all."""
        if tell:
            self._events.append((self._version, service, line))
        self._changed.notify_all()

    # Answers, each on a thread of its own

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        asked = Asked(parts.path, query, handler.headers.get("authorization", ""))
        self.asked.append(asked)
        wanted = f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}/endpointslices"
        try:
            label, _, service = query.get("labelSelector", "").partition("=")
            if parts.path != wanted or label != SERVICE_LABEL:
                _send(handler, 404, b'{"kind":"Status","message":"not found"}')
            elif self.trouble != "none":
                self._fail(handler)
            elif asked.is_watch:
                self._watch(handler, service, int(query["resourceVersion"]))
            else:
                self._list(handler, service, query)
        except OSError:  # the client went away
            handler.close_connection = True

    def _fail(self, handler: BaseHTTPRequestHandler) -> None:
        if self.trouble == "silence":
            handler.close_connection = True
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self.trouble != "silence")
        elif self.trouble == "nonsense":
            _send(handler, 200, b"<html>a proxy's page</html>")
        else:
            status = int(self.trouble.removeprefix("status "))
            _send(handler, status, json.dumps({"kind": "Status", "message": "no luck", "code": status}).encode())

    def _list(self, handler: BaseHTTPRequestHandler, service: str, query: dict[str, str]) -> None:
        with self._changed:
            names = sorted(name for name, item in self._slices.items() if _service_of(item) == service)
            start = 0
            if token := query.get("continue"):
                epoch, _, position = token.partition(":")
                if int(epoch) != self._epoch:
                    _send(handler, 410, b'{"kind":"Status","code":410,"reason":"Expired"}')
                    return
                start = int(position)
            size = len(names)
            if limit := int(query.get("limit", "0")):
                size = min(limit, self.page_size or limit)
            more = f"{self._epoch}:{start + size}" if start + size < len(names) else ""
            page = [self._slices[name] for name in names[start : start + size]]
            body = slice_list(page, version=self._version, continue_token=more)
        _send(handler, 200, body)

    def _watch(self, handler: BaseHTTPRequestHandler, service: str, version: int) -> None:
        with self._changed:
            epoch = self._epoch
            too_old = version < self._oldest
            self.watches += not too_old
        if too_old and not self.gone_in_stream:
            _send(handler, 410, b'{"kind":"Status","code":410,"reason":"Expired"}')
            return
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        if too_old:
            _chunk(handler, gone())
            _chunk(handler, b"")
            return
        try:
            self._follow(handler, service, version, epoch)
        finally:
            with self._changed:
                self.watches -= 1
            handler.close_connection = True

    def _follow(self, handler: BaseHTTPRequestHandler, service: str, version: int, epoch: int) -> None:
        def over() -> bool:
            return self._closing or self._epoch != epoch or self.trouble != "none"

        while True:
            with self._changed:
                while not over() and not (fresh := self._after(version, service)):
                    self._changed.wait(timeout=0.2)
                if over():
                    return
            for at, line in fresh:
                _chunk(handler, line)
                version = at

    def _after(self, version: int, service: str) -> list[tuple[int, bytes]]:
        return [(at, line) for at, of, line in self._events if at > version and of in ("", service)]


def _service_of(item: dict[str, Any]) -> str:
    service: str = item["metadata"]["labels"][SERVICE_LABEL]
    return service


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def _chunk(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
