"""Which addresses an engine may be sent to for a client's media."""

import asyncio
import ipaddress

import pytest

from gateway.errors import InvalidRequest
from gateway.pipeline.media import MAX_HOSTS, check_media, fetched_urls, is_public


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public(address: str) -> None:
    """Addresses of the internet."""
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_not_public(address: str) -> None:
    """Loopback, private, link-local (metadata services), shared, multicast; behind IPv6's disguises too."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x.png",
        "http://localhost:8000/metrics",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::1]:80/",
        "http://[::ffff:169.254.169.254]/latest/meta-data",
        "http://user@127.0.0.1/",
        "http://no-such-host.invalid/x",
        "http://[broken/",
        "http://host:99999/",
        "http://" + "a" * 300 + ".example/",
    ],
)
def test_refused(url: str) -> None:
    """Whatever names an internal host, or none, is the client's error."""
    with pytest.raises(InvalidRequest) as caught:
        asyncio.run(check_media({url: "image_url"}))
    assert caught.value.param == "messages"
    assert url not in caught.value.message


def test_many_hosts() -> None:
    """One request can't make the gateway resolve a thousand names."""
    with pytest.raises(InvalidRequest):
        asyncio.run(check_media({f"http://h{n}.invalid/": "image_url" for n in range(MAX_HOSTS + 1)}))


def test_only_what_is_fetched() -> None:
    """Data URLs and text need no network."""
    parts = [
        {"type": "text", "text": "http://127.0.0.1/"},
        {"type": "image_url", "image_url": {"url": "DATA:image/png;base64,AA=="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "video_url", "video_url": {"url": "http://example.com/a.mp4"}},
    ]
    assert fetched_urls([{"role": "user", "content": parts}, {"role": "user", "content": "x"}]) == {
        "https://example.com/a.png": "image_url",
        "http://example.com/a.mp4": "video_url",
    }
