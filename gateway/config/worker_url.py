"""What the URL of a worker must look like, in the file and in the admin API."""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252})")


def worker_url(text: str) -> str:
    """Return it as `scheme://host[:port]`. Raises ValueError, which says what it must be and quotes nothing of it."""
    try:
        parts = urlsplit(text)
        url, fault = _base_url(parts), _url_fault(parts)
    except ValueError:
        url, fault = "", "is not a valid URL: look at its host and port"
    if fault is not None:
        raise ValueError(fault)
    return url


def _base_url(parts: SplitResult) -> str:
    """Raises ValueError for a port that isn't one."""
    host = parts.hostname or ""
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://[{host}]{port}" if ":" in host else f"{parts.scheme}://{host}{port}"


def _url_fault(parts: SplitResult) -> str | None:
    faults = (
        (parts.scheme not in {"http", "https"}, "must be http://host:port or https://host:port"),
        ("@" in parts.netloc, "must not hold credentials; give the worker's key as `api_key`"),
        (not _is_host(parts.hostname or ""), "must have a host name or an address"),
        (parts.port == 0, "must have a port from 1 to 65535"),
        (parts.path not in {"", "/"}, "must have no path: the gateway appends vLLM's own, `/v1` included"),
        (bool(parts.query or parts.fragment), "must have no query and no fragment"),
    )
    return next((message for broken, message in faults if broken), None)


def _is_host(host: str) -> bool:
    if ":" not in host:
        return _HOST_NAME.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
