"""Reads the items of `models[].workers` that tell where workers are found."""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from gateway.config.model import Discovered, DnsWorkers, KubernetesService, KubernetesWorkers, Secret
from gateway.config.section import Form, Section

MAX_PORT: Final = 65_535
MAX_WEIGHT: Final = 1_000
_DNS_NAME: Final = Form(
    re.compile(r"(?=.{1,253}\.?\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}))*\.?"),
    "a host name, or a service name such as _http._tcp.vllm.example",
)
_LABEL: Final = Form(re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"), "a name of Kubernetes, such as vllm-gemma")
_API_KEY: Final = Form(re.compile(r"[!-~]{1,4096}"), "visible ASCII characters without spaces")
_API: Final = Form(re.compile(r"https?://[!-~]{1,2048}"), "a URL such as http://127.0.0.1:8001")


def read_discovered(section: Section) -> Discovered | None:
    """One item with `dns` or `kubernetes`; None for one that has neither."""
    if section.has("dns") and section.has("kubernetes"):
        section.report("kubernetes", "can't stand beside `dns`: each has an item of its own")
    if section.has("kubernetes"):
        return _read_kubernetes(section)
    return _read_dns(section) if section.has("dns") else None


def _read_dns(section: Section) -> DnsWorkers:
    name = section.text("dns", _DNS_NAME)
    port = section.optional_integer("port", low=1, high=MAX_PORT)
    if _is_address(name):
        section.report("dns", "must be a name; write an address as `url`")
    elif name.startswith("_") and section.has("port"):
        section.report("port", "comes from the SRV records of a service name: leave it out")
    elif name and not name.startswith("_") and not section.has("port"):
        section.report("port", "is required beside a host name")
    return DnsWorkers(dns=name, port=port, weight=_weight(section), api_key=_api_key(section))


def _read_kubernetes(section: Section) -> KubernetesWorkers:
    inner = section.child("kubernetes")
    port = inner.take("port")
    if isinstance(port, str) and not port.isdecimal():
        found: str | int | None = inner.optional_text("port", _LABEL)
    else:
        found = inner.optional_integer("port", low=1, high=MAX_PORT)
    service = KubernetesService(
        service=inner.text("service", _LABEL),
        namespace=inner.optional_text("namespace", _LABEL),
        port=found,
        api=_read_api(inner),
    )
    inner.close()
    return KubernetesWorkers(service, weight=_weight(section), api_key=_api_key(section))


def _read_api(section: Section) -> str | None:
    text = section.optional_text("api", _API)
    if text is None:
        return None
    try:
        parts = urlsplit(text)
        fault = bool(parts.username or parts.password or parts.query or parts.fragment) or not parts.hostname
        _ = parts.port  # raises for one that is none
    except ValueError:
        fault = True
    if fault:
        section.report("api", "must be http://host:port, without credentials: only a proxy that adds them can be used")
        return None
    return text.rstrip("/")


def _weight(section: Section) -> float:
    return section.number("weight", 1, low=0.001, high=MAX_WEIGHT)


def _api_key(section: Section) -> Secret | None:
    text = section.optional_text("api_key", _API_KEY)
    return None if text is None else Secret(text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
