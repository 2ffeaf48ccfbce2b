"""Addresses of media that a worker would fetch for a client.

An URL in a request makes the engine open a connection: without a check, a client could reach what only the engine can
(metadata services, internal hosts). So every host of an `http(s)` URL must resolve to public addresses only. The engine
resolves the name again when it fetches; where names are under a client's control, start it with
`--allowed-media-domains` and `VLLM_MEDIA_URL_ALLOW_REDIRECTS=0` as well, or let it reach no network: `data:` URLs need
none.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.errors import InvalidRequest

RESOLVE_TIMEOUT_S = 2.0
MAX_HOSTS = 32
"""Different hosts in one request."""


def fetched_urls(messages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the URLs that the engine would fetch, each with the place it stands at in the worker's messages."""
    found: dict[str, str] = {}
    for message in messages:
        content: str | list[dict[str, Any]] | None = message.get("content")
        if not isinstance(content, list):
            continue
        for part in content:
            media: dict[str, str] | None = part.get("image_url") or part.get("video_url")
            if media is not None and not media["url"][:5].lower().startswith("data:"):
                found.setdefault(media["url"], str(part["type"]))
    return found


async def check_media(urls: Mapping[str, str], param: str = "messages") -> None:
    """Resolve the hosts of URLs and refuse those that are not public. Raises InvalidRequest for `param`."""
    hosts: dict[tuple[str, int], str] = {}
    for url, kind in urls.items():
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            host, port = None, 0
        if not host:
            raise InvalidRequest(f"An URL of this request's {kind} parts can't be read.", param=param)
        hosts.setdefault((host, port), kind)
    if len(hosts) > MAX_HOSTS:
        raise InvalidRequest(f"The media of one request may come from {MAX_HOSTS} hosts at most.", param=param)
    try:
        async with asyncio.TaskGroup() as group:
            for (host, port), kind in hosts.items():
                group.create_task(_check_host(host, port, kind, param), name=f"resolve {host}")
    except ExceptionGroup as refusals:
        raise refusals.exceptions[0] from None


async def _check_host(host: str, port: int, kind: str, param: str) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        found = []
    addresses = {ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found}
    if not addresses or not all(is_public(address) for address in addresses):
        raise InvalidRequest(
            f"The host of an {kind} part can't be used: only public hosts are fetched. Send the media as a data URL.",
            param=param,
        )


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is one of the public internet, also behind IPv6's ways to write an IPv4 address."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return is_public(inner)
        if address in ipaddress.ip_network("64:ff9b::/96"):
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address.is_global and not address.is_multicast
