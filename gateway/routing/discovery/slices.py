"""What a Kubernetes API server tells of a Service's EndpointSlices, read as it comes. No I/O.

A list gives all slices and the resource version they are of; a watch gives every change after that version, one JSON
object a line. What the watch has told is forgotten whenever it can't be gone on with: the server no longer has the
version (410 Gone), an error event, a line that is no event. Then everything is listed anew, and what is known stays in
use until the list is complete. The owner asks for a list from time to time in any case, so that a change the server
never told is found out.

Source: Kubernetes API concepts, "Efficient detection of changes"; discovery.k8s.io/v1.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from gateway.routing.discovery.endpoint import Endpoint

PAGE_SIZE: Final = 500
MAX_LINE_BYTES: Final = 4_194_304
"""Far above a slice of 1,000 endpoints."""

_JSON_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class ListRequest(NamedTuple):
    """Ask for a page of all slices. `limit` 0: for all of them at once."""

    limit: int
    continue_token: str = ""


class WatchRequest(NamedTuple):
    """Ask for the changes after a version."""

    resource_version: str


class _Metadata(Struct, rename="camel"):
    name: str = ""
    resource_version: str = ""


class _ListMetadata(Struct, rename="camel"):
    resource_version: str = ""
    continue_token: str | None = msgspec.field(default=None, name="continue")


class _Conditions(Struct):
    ready: bool | None = None


class _Address(Struct):
    addresses: list[str] = []
    conditions: _Conditions | None = None

    @property
    def ready(self) -> bool:
        """Whether it takes new connections; an unknown state counts as ready (EndpointConditions)."""
        return self.conditions is None or self.conditions.ready is not False


class _Port(Struct):
    name: str | None = None
    port: int | None = None


class _Slice(Struct, rename="camel"):
    metadata: _Metadata
    address_type: str = "IPv4"
    endpoints: list[_Address] | None = None
    ports: list[_Port] | None = None


class _SliceList(Struct):
    metadata: _ListMetadata
    items: list[_Slice] | None = None


class _Event(Struct):
    type: str
    object: msgspec.Raw


class _Bookmark(Struct):
    metadata: _Metadata


_LIST: Final = msgspec.json.Decoder(_SliceList)
_EVENT: Final = msgspec.json.Decoder(_Event)
_SLICE: Final = msgspec.json.Decoder(_Slice)
_BOOKMARK: Final = msgspec.json.Decoder(_Bookmark)


class SliceFeed:
    """The endpoints of one Service. `request` tells what the API server is to be asked next.

    After a list: `take_page`. During a watch: `feed` with every piece, until `request` is another or the stream ends,
    then `finish`. When the server answers 410: `expired`.
    """

    def __init__(self, port: str | int | None) -> None:
        """`port`: number or name of the Service's port; None: the only one, or the first."""
        self.request: ListRequest | WatchRequest = ListRequest(PAGE_SIZE)
        self.synced = False
        """Whether a list was ever complete."""
        self._port = port
        self._slices: dict[str, _Slice] = {}
        self._listed: dict[str, _Slice] = {}
        """Of the pages that have come."""
        self._line = bytearray()

    def take_page(self, body: bytes) -> None:
        """Take a page of a list. Raises ValueError for one that can't be read."""
        try:
            page = _LIST.decode(body)
        except _JSON_ERRORS as error:
            raise ValueError("not a list of EndpointSlices") from error
        self._listed.update((item.metadata.name, item) for item in page.items or ())
        if page.metadata.continue_token:
            limit = self.request.limit if isinstance(self.request, ListRequest) else PAGE_SIZE
            self.request = ListRequest(limit, page.metadata.continue_token)
            return
        self._slices, self._listed = self._listed, {}
        self._line.clear()
        self.synced = True
        self.request = WatchRequest(page.metadata.resource_version)

    def feed(self, data: bytes) -> None:
        """Take a piece of a watch's stream, cut anywhere."""
        self._line += data
        while (end := self._line.find(b"\n")) >= 0 and isinstance(self.request, WatchRequest):
            line = bytes(self._line[:end])
            del self._line[: end + 1]
            if line.strip():
                self._take_event(line, self.request)
        if len(self._line) > MAX_LINE_BYTES:
            self.relist()

    def finish(self) -> None:
        """The watch's stream has ended: a line that is cut off will come again with the next watch."""
        self._line.clear()

    def expired(self) -> None:
        """The server no longer has the version or the page: list anew, without pages if it was one of these."""
        paged = isinstance(self.request, ListRequest) and self.request.continue_token
        self.relist(limit=0 if paged else PAGE_SIZE)

    def relist(self, *, limit: int = PAGE_SIZE) -> None:
        """List everything anew; what is known stays until then."""
        self._listed.clear()
        self._line.clear()
        self.request = ListRequest(limit)

    @property
    def endpoints(self) -> frozenset[Endpoint]:
        """All that take new requests. Of a Service with both address families, each Pod once: by IPv4."""
        families: dict[str, set[Endpoint]] = {"IPv4": set(), "IPv6": set()}
        for each in self._slices.values():
            if each.address_type in families:
                families[each.address_type].update(self._ready_in(each))
        return frozenset(families["IPv4"] or families["IPv6"])

    def _ready_in(self, each: _Slice) -> Iterator[Endpoint]:
        port = self._port_of(each)
        if port is None:
            return
        for endpoint in each.endpoints or ():
            if endpoint.ready and endpoint.addresses:
                yield Endpoint(endpoint.addresses[0], port)

    def _port_of(self, each: _Slice) -> int | None:
        """The number of the port meant. A slice has the Pods' ports, which a number of the file is compared with."""
        for port in each.ports or ():
            if self._port is None or self._port in (port.port, port.name):
                return port.port
        return None

    def _take_event(self, line: bytes, watch: WatchRequest) -> None:
        try:
            event = _EVENT.decode(line)
            version = _apply(event, self._slices)
        except _JSON_ERRORS:
            self.relist()
            return
        if version is None:
            self.relist()
        else:
            self.request = WatchRequest(version or watch.resource_version)


def _apply(event: _Event, slices: dict[str, _Slice]) -> str | None:
    """Apply an event and return the version it leads to; None for an error, after which the watch is of no use."""
    kind: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"] | Any = event.type
    match kind:
        case "ADDED" | "MODIFIED":
            changed = _SLICE.decode(event.object)
            slices[changed.metadata.name] = changed
            return changed.metadata.resource_version
        case "DELETED":
            gone = _SLICE.decode(event.object)
            slices.pop(gone.metadata.name, None)
            return gone.metadata.resource_version
        case "BOOKMARK":
            return _BOOKMARK.decode(event.object).metadata.resource_version
        case _:
            return None
