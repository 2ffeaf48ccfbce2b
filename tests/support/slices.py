"""EndpointSlices as a Kubernetes API server writes them."""

import json
from collections.abc import Iterable
from typing import Any

SERVICE = "vllm"


def endpoint_slice(
    name: str,
    addresses: Iterable[str],
    *,
    version: int = 1,
    port: int | None = 8000,
    port_name: str | None = "http",
    ready: bool | None = True,
    family: str = "IPv4",
) -> dict[str, Any]:
    """A slice with one endpoint per address, all of one state."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "default",
            "resourceVersion": str(version),
            "labels": {"kubernetes.io/service-name": SERVICE},
        },
        "addressType": family,
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": ready, "serving": ready, "terminating": False},
                "targetRef": {"kind": "Pod", "name": f"pod-{address}"},
            }
            for address in addresses
        ],
        "ports": [{"name": port_name, "port": port, "protocol": "TCP", "appProtocol": None}],
    }


def slice_list(slices: Iterable[dict[str, Any]], *, version: int, continue_token: str = "") -> bytes:
    """A page of a list."""
    metadata = {"resourceVersion": str(version)} | ({"continue": continue_token} if continue_token else {})
    page = {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata}
    return json.dumps(page | {"items": list(slices)}).encode()


def event(kind: str, thing: dict[str, Any]) -> bytes:
    """A line of a watch."""
    return json.dumps({"type": kind, "object": thing}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    """The line that only moves the version on."""
    return event("BOOKMARK", {"kind": "EndpointSlice", "metadata": {"resourceVersion": str(version)}})


def gone() -> bytes:
    """The line of a watch whose version the server no longer has."""
    status = {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old"}
    return event("ERROR", status)
